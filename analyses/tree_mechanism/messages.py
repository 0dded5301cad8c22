"""Which messages a run holds, uses and needs, stage by stage: probes, interchange and erasure of single messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from mechbp.errors import TooFewSequences
from mechbp.hooks import capture, to_array
from mechbp.methods.interchange.das import STEPS, learn_rotation
from mechbp.methods.interchange.interchange import NOTHING, MessageTest, erase, interchange
from mechbp.methods.interchange.leace import leace
from mechbp.methods.interchange.pairs import Pairs
from mechbp.methods.interchange.subspaces import Subspace, at_leaves, mean_subspace, probe_subspace
from mechbp.methods.probing.grid import ProbeGrid
from mechbp.methods.statistics.intervals import Interval, bootstrap_ratio
from mechbp.models.architectures import HookedTransformer
from mechbp.models.objectives import training_evidence
from mechbp.models.runs import Run
from mechbp.models.tasks import shown
from mechbp.study import Study
from mechbp.theory.tree.message_pairs import Message, MessagePairs, message_pairs

ROTATION, MEANS, PROBE, LEACE, PLACEBO = "learned rotation", "conditional means", "ridge probe", "LEACE", ", placebo"
MISMATCHED, RANDOM_INIT = "rotation learnt from mismatched answers", "rotation learnt on random weights"


def stages(run: Run) -> list[str]:
    """Return the hooks between blocks: what the first block reads, then every block's output."""
    return ["blocks.0.hook_resid_pre", *(f"blocks.{layer}.hook_resid_post" for layer in range(run.config.model.n_layers))]


def writing_stage(run: Run, depth: int) -> int:
    """Return the stage at which the construction has the upward message of `depth`: after as many blocks as it is levels up."""
    return min(run.process.depth - depth, run.config.model.n_layers)


Cell = tuple[int, int]
"""(stage, depth)."""


@dataclass(frozen=True, eq=False)
class MessageGrid:
    """Every test of one kind of message."""

    run: Run
    message: Message
    pairs: Mapping[int, MessagePairs]
    """By depth; depths without enough pairs are missing everywhere."""
    present: Interval
    """R² [stage, depth] of ridge probes of each leaf's own ancestor's message, held out."""
    present_control: Interval
    """The same on random weights."""
    written: Mapping[Cell, MessageTest]
    erased: Mapping[Cell, MessageTest]
    controls: Mapping[int, Mapping[str, MessageTest]]
    """By depth, at the writing stage: rotations learnt from mismatched answers, and on random weights."""

    @property
    def depths(self) -> list[int]:
        """Depths tested, from the root down."""
        return list(self.pairs)

    def explained(self, study: Study, edit: str) -> Interval:
        """Return the share explained by one edit, [stage, depth]."""
        tests = self.erased if edit.startswith(LEACE) else self.written
        return self._table(lambda cell: tests[cell].explained(edit, self._rng(study, cell)))

    def side_effect(self, study: Study, edit: str) -> Interval:
        """Return the rise of KL at the bystander, nats, [stage, depth]; NaN where there is no bystander."""

        def rise(cell: Cell) -> Interval:
            if self.pairs[cell[1]].bystander is None:
                nan = np.array(np.nan)
                return Interval(nan, nan, nan, len(self.pairs[cell[1]]))
            return self.written[cell].side_effect(edit, self._rng(study, cell))

        return self._table(rise)

    def control(self, study: Study, depth: int, name: str) -> Interval:
        """Return the share explained by a control at the writing stage."""
        return self.controls[depth][name].explained(name, self._rng(study, (writing_stage(self.run, depth), depth)))

    def above_mismatched(self, study: Study, depth: int) -> Interval:
        """Return how much more the learned rotation explains than one learnt from mismatched answers, on the same pairs."""
        cell = (writing_stage(self.run, depth), depth)
        matched, mismatched = self.written[cell].target_kl_nats, self.controls[depth][MISMATCHED].target_kl_nats
        return bootstrap_ratio(mismatched[MISMATCHED] - matched[ROTATION], matched[NOTHING], self._rng(study, cell))

    def _rng(self, study: Study, cell: Cell) -> np.random.Generator:
        return study.rng(self.run.name, "message interval", self.message, *cell)

    def _table(self, value: Callable[[Cell], Interval]) -> Interval:
        n_stages = len(stages(self.run))
        columns = [Interval.stack([value((stage, depth)) for stage in range(n_stages)], axis=0) for depth in self.depths]
        return Interval.stack(columns, axis=1)


def study_messages(study: Study, run: Run, read: ProbeGrid, message: Message) -> MessageGrid:
    """Write and erase the messages of every depth at every stage; `read` says what probes find there.

    Raises TooFewSequences where no depth has enough pairs.
    """
    process, task, objective = run.process, run.config.objective.task, run.config.objective
    assert task != "next-token"
    sample = process.sample(study.size(4000, 400), study.rng(run.name, "message fit"))
    evidence = training_evidence(objective, process, sample.tokens, study.rng(run.name, "message masks"))
    beliefs, inputs = getattr(process.beliefs(evidence), message), shown(process, task, evidence)
    captured = capture(run.model, inputs, stages(run))
    activations = [to_array(captured[hook]) for hook in stages(run)]
    rates = (objective.mask_rate_low, objective.mask_rate_high) if objective.mask == "rate" else (0.0, 0.0)
    sizes = {"pairs": study.size(512, 24), "training pairs": study.size(1536, 48)}
    pairs: dict[int, MessagePairs] = {}
    tests: tuple[dict, dict, dict] = ({}, {}, {})
    for depth in range(max(process.filter_level, 1), process.depth + 1):
        study.stage(f"{run.name}: {message} messages of depth {depth}")
        try:
            held_out, training = (
                message_pairs(
                    process, task, depth, n, study.rng(run.name, message, part, depth), message=message, mask_rates=rates
                )
                for part, n in sizes.items()
            )
        except TooFewSequences:
            continue
        pairs[depth] = held_out
        _test_depth(study, run, depth, held_out, training, activations, beliefs[depth], tests)
    if not pairs:
        raise TooFewSequences(f"no depth of {run.name} has enough pairs whose exact answer its {message} messages move")
    present, control = (_present(run, read, message, list(pairs), source) for source in ("model", "random_init"))
    written, erased, controls = tests
    return MessageGrid(run, message, pairs, present, control, written, erased, controls)


def _test_depth(
    study: Study,
    run: Run,
    depth: int,
    pairs: MessagePairs,
    training: MessagePairs,
    activations: list[np.ndarray],
    beliefs: np.ndarray,
    tests: tuple[dict, dict, dict],
) -> None:
    """Fill in the cells of one depth: interchange, erasure, and the controls at the writing stage."""
    written, erased, controls = tests
    dims, control = run.process.vocab_size - 1, run.untrained(seed=1)
    messages = at_leaves(beliefs, run.process.n_leaves)
    for stage, (hook, found) in enumerate(zip(stages(run), activations, strict=True)):
        rng = study.rng(run.name, pairs.message, "subspaces", depth, stage)

        def learnt(model: HookedTransformer, on: Pairs, hook: str = hook, rng: np.random.Generator = rng) -> Subspace:
            return learn_rotation(model, on, hook, dims, rng=rng, steps=study.size(STEPS, 3))

        subspaces = {
            ROTATION: learnt(run.model, training),
            MEANS: mean_subspace(found, messages, dims),
            PROBE: probe_subspace(found, messages, dims),
        }
        written[stage, depth] = interchange(run.model, pairs, hook, subspaces, rng=rng)
        erased[stage, depth] = erase(run.model, pairs, hook, {LEACE: leace(found, messages)}, rng=rng)
        if pairs.message == "upward" and stage == writing_stage(run, depth):
            mismatched, untrained = learnt(run.model, training.mismatched(rng)), learnt(control, training)
            controls[depth] = {
                MISMATCHED: interchange(run.model, pairs, hook, {MISMATCHED: mismatched}, rng=rng),
                RANDOM_INIT: interchange(control, pairs, hook, {RANDOM_INIT: untrained}, rng=rng),
            }


def _present(run: Run, read: ProbeGrid, message: Message, depths: list[int], source: str) -> Interval:
    """R² [stage, depth] from the page's probes, whose first hook is the token embedding without its position."""
    hooks = ["hook_embed", *stages(run)[1:]]
    rows = [read.hooks.index(hook) for hook in hooks]
    return Interval.stack([read.ancestor_mean("r2", f"{message} {d}", source)[rows] for d in depths], axis=1)
