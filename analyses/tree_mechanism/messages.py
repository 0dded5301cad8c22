"""Which messages a run holds, uses and needs, stage by stage: probes, interchange and erasure of single messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from analyses.tree_mechanism.message_grid import (
    LEACE,
    MEANS,
    MISMATCHED,
    PROBE,
    RANDOM_INIT,
    ROTATION,
    Cell,
    MessageGrid,
    Refit,
    stages,
    writing_stage,
)
from mechbp.errors import TooFewSequences
from mechbp.hooks import to_array
from mechbp.methods.interchange.continuation import PairActivations, pair_activations
from mechbp.methods.interchange.das import learn_rotation
from mechbp.methods.interchange.interchange import MessageTest, erase, interchange
from mechbp.methods.interchange.leace import Eraser, leaces
from mechbp.methods.interchange.pairs import Pairs
from mechbp.methods.interchange.sensitivity import sensitive_subspace
from mechbp.methods.interchange.subspaces import Subspace, at_leaves, mean_subspaces, probe_subspaces
from mechbp.methods.patching.plain_capture import captured
from mechbp.methods.probing.grid import ProbeGrid
from mechbp.methods.statistics.intervals import Interval
from mechbp.models.architectures import HookedTransformer
from mechbp.models.runs import Run
from mechbp.models.tasks.tree import training_evidence
from mechbp.study import Study
from mechbp.theory.tree.message_pairs import Message, MessagePairs, child_sides, message_pairs

REFITS = 3
"""Of every learnt subspace that a verdict rests on, each on pairs of its own, drawn with replacement from those for learning."""
STEPS, QUICK_STEPS = 60, 3
"""Of learning; from conditional means, 100 explain no more."""


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
    study: Study,
    run: Run,
    read: ProbeGrid | None,
    message: Message,
    handles: Mapping[tuple[Message, int], Sequence[Handles]],
    *,
    brief: bool = False,
    one_mask: bool = False,
) -> MessageGrid:
    """Write and erase the messages of every depth at every stage; `read` says what probes find there, nothing if None.

    Subspaces are learned where the message is judged, fitted ones tested at every stage; `brief`: all of them, and erasers, at
    the writing stage alone, whole vectors at every stage. `one_mask`: on pairs that hide the leaf asked for and no other, the
    same for all runs of a process.
    Raises TooFewSequences where no depth has enough pairs.
    """
    pairs: dict[int, MessagePairs] = {}
    tests = _Tests()
    for depth in _inner_depths(run):
        study.stage(f"{run.name}: {message} messages of depth {depth}{', one mask' if one_mask else ''}")
        try:
            held_out, training = (
                _draw(study, run, depth, message, part, n, one_mask)
                for part, n in {"pairs": study.size(512, 24), "training pairs": study.size(1536, 48)}.items()
            )
        except TooFewSequences:
            continue
        pairs[depth] = held_out
        _test_depth(study, run, depth, held_out, training, handles[message, depth], tests, brief=brief)
    if not pairs:
        raise TooFewSequences(f"no depth of {run.name} has enough pairs whose exact answer its {message} messages move")
    present = _present(run, read, message, list(pairs), "model")
    control = _present(run, read, message, list(pairs), "random_init")
    return MessageGrid(
        run, message, pairs, present, control, tests.written, tests.erased, tests.refits, tests.random_init, tests.chosen
    )


def _draw(study: Study, run: Run, depth: int, message: Message, part: str, n: int, one_mask: bool) -> MessagePairs:
    """Pairs masked as in training; all that hide one leaf are the same whatever the run."""
    process, objective = run.process, run.config.objective
    assert objective.task != "next-token"
    rng = study.rng("one mask" if one_mask else run.name, message, part, depth)
    several = objective.mask == "rate" and not one_mask
    rates = (objective.mask_rate_low, objective.mask_rate_high) if several else (0.0, 0.0)
    return message_pairs(process, objective.task, depth, n, rng, message=message, mask_rates=rates, bystander=not one_mask)


def probed_stages(run: Run) -> list[str]:
    """Return the hooks that probes read in place of `stages`: the token embedding comes without its position."""
    return ["hook_embed", *stages(run)[1:]]


def _inner_depths(run: Run) -> range:
    """Depths whose nodes send messages that belief propagation at the run's level has."""
    return range(max(run.process.filter_level, 1), run.process.depth + 1)


@dataclass
class _Tests:
    """What is filled in depth by depth; see MessageGrid."""

    written: dict[Cell, MessageTest] = field(default_factory=dict)
    erased: dict[Cell, MessageTest] = field(default_factory=dict)
    refits: dict[int, list[Refit]] = field(default_factory=dict)
    random_init: dict[int, MessageTest] = field(default_factory=dict)
    chosen: dict[int, int] = field(default_factory=dict)


def _test_depth(
    study: Study,
    run: Run,
    depth: int,
    pairs: MessagePairs,
    training: MessagePairs,
    handles: Sequence[Handles],
    tests: _Tests,
    *,
    brief: bool,
) -> None:
    """Fill in the cells of one depth: interchange, erasure, refits and controls where the message is judged."""
    of_pairs, of_training = (pair_activations(run.model, on.base, on.source, stages(run)) for on in (pairs, training))
    upward = pairs.message == "upward"
    judged = writing_stage(run, depth) if upward else _best_stage(run, training, handles, of_training, study)
    tests.chosen[depth] = judged
    sides = child_sides(run.process, depth, pairs.base.shape[1])
    for stage, (hook, handle) in enumerate(zip(stages(run), handles, strict=True)):
        rng = study.rng(run.name, pairs.message, "subspaces", depth, stage)
        own = of_pairs[hook]

        def learnt(
            on: Pairs,
            known: PairActivations | None,
            model: HookedTransformer = run.model,
            hook: str = hook,
            means: Subspace | None = handle.means,
            rng: np.random.Generator = rng,
        ) -> Subspace:
            """From what other methods find, or, without `means`, from random directions."""
            dims, starts = run.process.vocab_size - 1, ()
            if means is not None:
                starts = (sensitive_subspace(model, on, hook, dims, rng=rng, groups=sides, activations=known), means)
            return learn_rotation(
                model, on, hook, dims, rng=rng, starts=starts, groups=sides,
                steps=study.size(STEPS, QUICK_STEPS), activations=known,
            )  # fmt: skip

        if stage != judged and brief:
            tests.written[stage, depth] = interchange(run.model, pairs, hook, {}, rng=rng, activations=own)
            continue
        subspaces = {MEANS: handle.means, PROBE: handle.probe}
        if stage == judged:
            subspaces = {ROTATION: learnt(training, of_training[hook]), **subspaces}
        tests.written[stage, depth] = interchange(run.model, pairs, hook, subspaces, rng=rng, activations=own)
        tests.erased[stage, depth] = erase(run.model, pairs, hook, {LEACE: handle.eraser}, rng=rng, activations=own)
        if not upward or stage != judged:
            continue
        wrong = learnt(training.mismatched(rng), of_training[hook], means=None)
        mismatched = interchange(run.model, pairs, hook, {MISMATCHED: wrong}, rng=rng, activations=own)
        tests.refits[depth] = []
        for refit in range(REFITS):
            again = subspaces[ROTATION] if refit == 0 else learnt(training.resampled(rng), None)
            test = interchange(run.model, pairs, hook, {ROTATION: again}, rng=rng, activations=own)
            tests.refits[depth].append(Refit(test, mismatched))
        if not brief:
            control = run.untrained(seed=1)
            untrained = learnt(training, None, control, means=None)
            tests.random_init[depth] = interchange(control, pairs, hook, {RANDOM_INIT: untrained}, rng=rng)


def _best_stage(
    run: Run, training: MessagePairs, handles: Sequence[Handles], known: Mapping[str, PairActivations], study: Study
) -> int:
    """The stage at which conditional means explain most on the pairs for learning, the last left out: it holds the answer."""
    rng = study.rng(run.name, training.message, "best stage", training.depth)
    candidates = stages(run)[:-1] or stages(run)
    kl = [
        interchange(run.model, training, hook, {MEANS: handle.means}, rng=rng, activations=known[hook]).target_kl_nats[MEANS]
        for hook, handle in zip(candidates, handles, strict=False)
    ]
    return int(np.argmin([values.mean() for values in kl]))


def _present(run: Run, read: ProbeGrid | None, message: Message, depths: list[int], source: str) -> Interval:
    """R² [stage, depth] from the page's probes, NaN where there are none."""
    if read is None or not (source == "model" or source in read.controls):
        nan = np.full((len(stages(run)), len(depths)), np.nan)
        return Interval(nan, nan, nan, 0)
    rows = [read.hooks.index(hook) for hook in probed_stages(run)]
    return Interval.stack([read.own_mean("r2", f"{message} {d}", source)[rows] for d in depths], axis=1)
