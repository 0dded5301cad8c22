"""Which messages a run holds, uses and needs, stage by stage: probes, interchange and erasure of single messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from analyses.shared.residual_stream import between_blocks
from mechbp.errors import TooFewSequences
from mechbp.hooks import to_array
from mechbp.methods.interchange.continuation import PairActivations, pair_activations
from mechbp.methods.interchange.das import STEPS, learn_rotation
from mechbp.methods.interchange.interchange import NOTHING, MessageTest, erase, interchange
from mechbp.methods.interchange.leace import Eraser, leaces
from mechbp.methods.interchange.pairs import Pairs
from mechbp.methods.interchange.subspaces import Subspace, at_leaves, mean_subspaces, probe_subspaces
from mechbp.methods.patching.plain_capture import captured
from mechbp.methods.probing.grid import ProbeGrid
from mechbp.methods.statistics.intervals import Interval, bootstrap_ratio
from mechbp.models.architectures import HookedTransformer
from mechbp.models.runs import Run
from mechbp.models.tasks.tree import training_evidence
from mechbp.study import Study
from mechbp.theory.tree.message_pairs import Message, MessagePairs, message_pairs

ROTATION, MEANS, PROBE, LEACE, PLACEBO = "learned rotation", "conditional means", "ridge probe", "LEACE", ", placebo"
MISMATCHED, RANDOM_INIT = "rotation learnt from mismatched answers", "rotation learnt on random weights"


def stages(run: Run) -> list[str]:
    """Return the hooks between blocks: what the first block reads, then every block's output."""
    return list(between_blocks(run.config.model.n_layers).values())


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
    _known: dict[tuple[str, Cell], dict[str, Interval]] = field(default_factory=dict, init=False, repr=False)
    """Intervals found so far: kind and cell -> edit -> interval."""

    @property
    def depths(self) -> list[int]:
        """Depths tested, from the root down."""
        return list(self.pairs)

    def explained(self, study: Study, edit: str) -> Interval:
        """Return the share explained by one edit, [stage, depth]."""
        tests = self.erased if edit.startswith(LEACE) else self.written
        kind = "erased" if edit.startswith(LEACE) else "written"
        return self._table(lambda cell: self._shares(study, kind, cell, tests[cell])[edit])

    def side_effect(self, study: Study, edit: str) -> Interval:
        """Return the rise of KL at the bystander, nats, [stage, depth]; NaN where there is no bystander."""

        def rise(cell: Cell) -> Interval:
            if self.pairs[cell[1]].bystander is None:
                nan = np.array(np.nan)
                return Interval(nan, nan, nan, len(self.pairs[cell[1]]))
            if ("side effects", cell) not in self._known:
                self._known["side effects", cell] = self.written[cell].all_side_effects(self._rng(study, cell))
            return self._known["side effects", cell][edit]

        return self._table(rise)

    def control(self, study: Study, depth: int, name: str) -> Interval:
        """Return the share explained by a control at the writing stage."""
        cell = (writing_stage(self.run, depth), depth)
        return self._shares(study, name, cell, self.controls[depth][name])[name]

    def above_mismatched(self, study: Study, depth: int) -> Interval:
        """Return how much more the learned rotation explains than one learnt from mismatched answers, on the same pairs."""
        cell = (writing_stage(self.run, depth), depth)
        matched, mismatched = self.written[cell].target_kl_nats, self.controls[depth][MISMATCHED].target_kl_nats
        return bootstrap_ratio(mismatched[MISMATCHED] - matched[ROTATION], matched[NOTHING], self._rng(study, cell))

    def _shares(self, study: Study, kind: str, cell: Cell, test: MessageTest) -> dict[str, Interval]:
        """Shares explained by all edits of one test; figures and claims read them many times."""
        if (kind, cell) not in self._known:
            self._known[kind, cell] = test.all_explained(self._rng(study, cell))
        return self._known[kind, cell]

    def _rng(self, study: Study, cell: Cell) -> np.random.Generator:
        return study.rng(self.run.name, "message interval", self.message, *cell)

    def _table(self, value: Callable[[Cell], Interval]) -> Interval:
        n_stages = len(stages(self.run))
        columns = [Interval.stack([value((stage, depth)) for stage in range(n_stages)], axis=0) for depth in self.depths]
        return Interval.stack(columns, axis=1)


@dataclass(frozen=True)
class Handles:
    """What one message is written and erased by at one stage, fitted without the model's answers."""

    means: Subspace
    probe: Subspace
    eraser: Eraser


def fit_handles(study: Study, run: Run, messages: Sequence[Message]) -> dict[tuple[Message, int], list[Handles]]:
    """Fit the handles of every message and depth, stage by stage, on sequences masked as in training."""
    process, objective = run.process, run.config.objective
    study.stage(f"{run.name}: directions of messages")
    sample = process.sample(study.size(4000, 400), study.rng(run.name, "message fit"))
    evidence = training_evidence(objective, process, sample.tokens, study.rng(run.name, "message masks"))
    beliefs = process.beliefs(evidence)
    keys: list[tuple[Message, int]] = [(message, depth) for message in messages for depth in _inner_depths(run)]
    targets = [at_leaves(getattr(beliefs, message)[depth], process.n_leaves) for message, depth in keys]
    dims = process.vocab_size - 1
    found: dict[tuple[Message, int], list[Handles]] = {key: [] for key in keys}
    for activation in captured(run.model, run.task.inputs(process, evidence), stages(run)).values():
        array = to_array(activation)
        means = mean_subspaces(array, targets, dims)
        probes = probe_subspaces(array, targets, dims)
        erasers = leaces(array, targets)
        for key, mean, read, eraser in zip(keys, means, probes, erasers, strict=True):
            found[key].append(Handles(mean, read, eraser))
    return found


def study_messages(
    study: Study, run: Run, read: ProbeGrid, message: Message, handles: Mapping[tuple[Message, int], Sequence[Handles]]
) -> MessageGrid:
    """Write and erase the messages of every depth at every stage; `read` says what probes find there.

    Raises TooFewSequences where no depth has enough pairs.
    """
    process, task, objective = run.process, run.config.objective.task, run.config.objective
    assert task != "next-token"
    rates = (objective.mask_rate_low, objective.mask_rate_high) if objective.mask == "rate" else (0.0, 0.0)
    sizes = {"pairs": study.size(512, 24), "training pairs": study.size(1536, 48)}
    pairs: dict[int, MessagePairs] = {}
    tests: tuple[dict, dict, dict] = ({}, {}, {})
    for depth in _inner_depths(run):
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
        _test_depth(study, run, depth, held_out, training, handles[message, depth], tests)
    if not pairs:
        raise TooFewSequences(f"no depth of {run.name} has enough pairs whose exact answer its {message} messages move")
    present, control = (_present(run, read, message, list(pairs), source) for source in ("model", "random_init"))
    written, erased, controls = tests
    return MessageGrid(run, message, pairs, present, control, written, erased, controls)


def _inner_depths(run: Run) -> range:
    """Depths whose nodes send messages that belief propagation at the run's level has."""
    return range(max(run.process.filter_level, 1), run.process.depth + 1)


def _test_depth(
    study: Study,
    run: Run,
    depth: int,
    pairs: MessagePairs,
    training: MessagePairs,
    handles: Sequence[Handles],
    tests: tuple[dict, dict, dict],
) -> None:
    """Fill in the cells of one depth: interchange, erasure, and the controls at the writing stage."""
    written, erased, controls = tests
    dims, control = run.process.vocab_size - 1, run.untrained(seed=1)
    of_pairs, of_training = (pair_activations(run.model, on.base, on.source, stages(run)) for on in (pairs, training))
    for stage, (hook, handle) in enumerate(zip(stages(run), handles, strict=True)):
        rng = study.rng(run.name, pairs.message, "subspaces", depth, stage)
        own, fitted_on = of_pairs[hook], of_training[hook]

        def learnt(
            model: HookedTransformer,
            on: Pairs,
            activations: PairActivations | None,
            hook: str = hook,
            rng: np.random.Generator = rng,
        ) -> Subspace:
            return learn_rotation(model, on, hook, dims, rng=rng, steps=study.size(STEPS, 3), activations=activations)

        subspaces = {ROTATION: learnt(run.model, training, fitted_on), MEANS: handle.means, PROBE: handle.probe}
        written[stage, depth] = interchange(run.model, pairs, hook, subspaces, rng=rng, activations=own)
        erased[stage, depth] = erase(run.model, pairs, hook, {LEACE: handle.eraser}, rng=rng, activations=own)
        if pairs.message == "upward" and stage == writing_stage(run, depth):
            mismatched = learnt(run.model, training.mismatched(rng), fitted_on)
            untrained = learnt(control, training, None)
            controls[depth] = {
                MISMATCHED: interchange(run.model, pairs, hook, {MISMATCHED: mismatched}, rng=rng, activations=own),
                RANDOM_INIT: interchange(control, pairs, hook, {RANDOM_INIT: untrained}, rng=rng),
            }


def _present(run: Run, read: ProbeGrid, message: Message, depths: list[int], source: str) -> Interval:
    """R² [stage, depth] from the page's probes, whose first hook is the token embedding without its position."""
    hooks = ["hook_embed", *stages(run)[1:]]
    rows = [read.hooks.index(hook) for hook in hooks]
    return Interval.stack([read.own_mean("r2", f"{message} {d}", source)[rows] for d in depths], axis=1)
