"""Interchange and erasure judged on the compiled model: faithful at the slot that is read, null at every other one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analyses.compiled_bp.criteria import CRITERIA
from analyses.compiled_bp.probes import level_names, message_names, stages
from mechbp.figures.intervals import points
from mechbp.hooks import capture, to_array
from mechbp.methods.interchange.answer_heads import proportional_reading
from mechbp.methods.interchange.continuation import pair_activations
from mechbp.methods.interchange.das import learn_rotation
from mechbp.methods.interchange.interchange import WHOLE, erase, interchange
from mechbp.methods.interchange.leace import Eraser, leace
from mechbp.methods.interchange.sensitivity import sensitive_subspace
from mechbp.methods.interchange.subspaces import Subspace, at_leaves, mean_subspace, probe_subspace, slot_subspace
from mechbp.methods.statistics.intervals import Interval
from mechbp.models.compiled.bp import CompiledBP
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import listed
from mechbp.study import Study
from mechbp.theory.tree.message_pairs import MessagePairs, message_pairs

SLOT = "its slot"
PLACEBO = ", placebo"
BEYOND_MEANS = "rotation beyond conditional means"
FOUND = {
    "rotation": "learned rotation",
    "sensitive": "most sensitive directions",
    "means": "conditional means",
    "probe": "ridge probe",
}
FEWER, RANDOM_START = "rotation of a dimension fewer", "rotation from a random start"
"""Controls of the search: it cannot hold an unnormalised message, or is not told where to begin."""
RANDOM_START_LEVELS = (1, 2)
"""Where the search from a random start is shown; at the leaf runs differ along the slot alone."""


@dataclass(frozen=True, eq=False)
class SlotTests:
    """Share explained by writing every slot at every stage, for the message of one level."""

    level: int
    pairs: MessagePairs
    written: np.ndarray
    """[slot, stage]."""
    erased: np.ndarray
    """[stage]: the slot of that stage's upward message set to a constant."""

    def truth(self, compiled: CompiledBP) -> tuple[np.ndarray, np.ndarray]:
        """Return where [slot, stage] writing is the message, and where it is nothing, by construction.

        Before block s + 1 the message of the ancestor s levels up, at all tokens below the node, determines that of the node
        if s <= level. A slot that nothing reads any more, or not yet, or at the query only, is nothing. What is left over, the
        upward message of an ancestor above the node at some of its tokens, is part of another message.
        """
        names = list(compiled.slots)
        depth = compiled.tree.depth
        right = np.zeros((len(names), depth + 1), bool)
        part = right.copy()
        for stage in range(depth):
            row = names.index(f"upward {stage}")
            right[row, stage], part[row, stage] = stage <= self.level, stage > self.level
        return right, ~right & ~part


def study_causal(study: Study, compiled: CompiledBP) -> tuple[list[Claim], Section]:
    """Write and erase the message of every level at every slot and stage, and where methods look for it by themselves."""
    levels = range(compiled.tree.depth)
    tests = [_slot_tests(study, compiled, level) for level in levels]
    handles = {level: _handles(study, compiled, tests[level]) for level in levels}
    text = (
        "Pairs of sequences, a message of one node written from one run into the other at the positions below the node, and "
        "the answer held against belief propagation with that message replaced, as in the study of trained models. Here "
        "every slot of the residual stream is written by itself, at every stage: by construction the answer is exact for one "
        "slot per stage and untouched for all others. Erasing sets the slot to the same number for every symbol.",
        "Subspaces found by methods are another matter, since they are found from activations in which older messages still "
        "stand and the message's scale varies. A learned rotation finds the slot if it may keep what it starts from: the "
        "directions to which the answer is most sensitive, among those along which runs differ, as many as the message has. From "
        "a random start, or one dimension short, it does not: a low share says that the method has not found the slot, not that "
        "there is none.",
    )
    figures = (_slot_figure(compiled, tests), _handle_figure(compiled, handles))
    claims = [_written_claim(compiled, tests), _erased_claim(compiled, tests)]
    claims += [_search_claim(compiled, handles), _handles_claim(compiled, handles)]
    return claims, Section("tools-causal", "Interchange and erasure, where the truth is known", text, figures)


def slot_eraser(compiled: CompiledBP, name: str) -> Eraser:
    """Return the eraser that sets a slot to 1 for every symbol, a message that says nothing."""
    d = compiled.slots.d_model
    dims = compiled.slots[name].dims
    mean = np.zeros((compiled.tree.n_leaves, d))
    removed = np.zeros((compiled.tree.n_leaves, d, d))
    mean[:, dims] = 1
    removed[:, dims, dims] = np.eye(dims.stop - dims.start)
    return Eraser("constant", mean, removed)


def _slot_tests(study: Study, compiled: CompiledBP, level: int) -> SlotTests:
    study.stage(f"interchange in the compiled model, level {level}")
    tree = compiled.tree
    rng = study.rng("tools", "interchange", level)
    pairs = message_pairs(tree, "masked", tree.depth - level, study.size(200, 16), rng)
    subspaces = {name: slot_subspace(name, compiled.slots.d_model, slot.dims) for name, slot in compiled.slots.items()}
    activations = pair_activations(compiled.model, pairs.base, pairs.source, set(stages(compiled)))
    written = []
    erased = []
    for stage, hook in enumerate(stages(compiled)):
        known = activations[hook]
        test = interchange(compiled.model, pairs, hook, subspaces, rng=rng, reading=proportional_reading, activations=known)
        written.append([float(test.explained(name, rng).mean) for name in subspaces])
        silent = {"slot": slot_eraser(compiled, f"upward {stage}")}
        gone = erase(compiled.model, pairs, hook, silent, rng=rng, reading=proportional_reading, activations=known)
        erased.append(float(gone.explained("slot", rng).mean))
    return SlotTests(level, pairs, np.array(written).T, np.array(erased))


def _handles(study: Study, compiled: CompiledBP, tests: SlotTests) -> dict[str, Interval]:
    """Share explained by the slot, by what methods find, and by placebos, where the message has just been written."""
    study.stage(f"subspaces found in the compiled model, level {tests.level}")
    tree = compiled.tree
    level = tests.level
    rng = study.rng("tools", "handles", tests.level)
    hook = stages(compiled)[level]
    q = tree.vocab_size
    dims = q - 1
    tokens = tree.sample(study.size(2000, 400), rng).tokens
    tokens = np.where(rng.random(tokens.shape) < 0.2, tree.mask_token, tokens)
    found = to_array(capture(compiled.model, tokens, hook)[hook])
    messages = at_leaves(tree.beliefs(tokens).upward[tree.depth - level], tree.n_leaves)
    training = message_pairs(tree, "masked", tree.depth - level, study.size(400, 100), rng)
    known = pair_activations(compiled.model, training.base, training.source, {hook})[hook]
    means = mean_subspace(found, messages, dims)

    def sensitive(k: int) -> Subspace:
        return sensitive_subspace(compiled.model, training, hook, k, rng=rng, reading=proportional_reading, activations=known)

    def learnt(k: int, *starts: Subspace) -> Subspace:
        return learn_rotation(
            compiled.model, training, hook, k, rng=rng, starts=starts, steps=study.size(40, 4),
            reading=proportional_reading, activations=known,
        )  # fmt: skip

    start = sensitive(q)
    subspaces = {
        SLOT: slot_subspace(SLOT, compiled.slots.d_model, compiled.slots[f"upward {level}"].dims),
        FOUND["rotation"]: learnt(q, start, means),
        FOUND["sensitive"]: start,
        FOUND["means"]: means,
        FOUND["probe"]: probe_subspace(found, messages, dims),
        FEWER: learnt(dims, sensitive(dims), means),
    }
    if level in RANDOM_START_LEVELS:
        subspaces[RANDOM_START] = learnt(q)
    written = interchange(compiled.model, tests.pairs, hook, subspaces, rng=rng, reading=proportional_reading)
    gone = erase(compiled.model, tests.pairs, hook, {"LEACE": leace(found, messages)}, rng=rng, reading=proportional_reading)
    shares = {name: written.explained(name, rng) for name in (WHOLE, *subspaces, f"{SLOT}{PLACEBO}")}
    means_kl = written.target_kl_nats[FOUND["means"]]
    return {**shares, "LEACE": gone.explained("LEACE", rng), BEYOND_MEANS: written.beyond(FOUND["rotation"], means_kl, rng)}


def _written_claim(compiled: CompiledBP, tests: list[SlotTests]) -> Claim:
    right = []
    wrong = []
    for test in tests:
        there, elsewhere = test.truth(compiled)
        right.append(test.written[there])
        wrong.append(test.written[elsewhere])
    faithful = np.concatenate(right)
    null = np.concatenate(wrong)
    return CRITERIA.claim(
        "tools-interchange",
        id="tools-interchange",
        statement="A message written into the slot that is read next is obeyed exactly, and written anywhere else it changes "
        "nothing.",
        reference=f"by construction: share explained 1 at {len(faithful)} pairs of slot and stage, 0 at {len(null)}",
        measured=f"at the right places at least 1 - {max(1 - faithful.min(), 0):.0e}, elsewhere at most "
        f"{np.abs(null).max():.0e}\nn = {min(len(test.pairs) for test in tests)} pairs per level, {len(tests)} levels",
        control="the wrong slots and stages are the control",
        numbers={"faithful_error": np.abs(faithful - 1).max(), "null_error": np.abs(null).max()},
        figure="fig-tools-slots",
    )


def _erased_claim(compiled: CompiledBP, tests: list[SlotTests]) -> Claim:
    depth = compiled.tree.depth
    right = np.array([test.erased[stage] for test in tests for stage in range(test.level + 1)])
    last = np.array([test.erased[depth] for test in tests])
    return CRITERIA.claim(
        "tools-erasure",
        id="tools-erasure",
        statement="With the slot erased, the model answers what belief propagation answers without the message.",
        reference=f"by construction: share explained 1 in {len(right)} cases, 0 where nothing reads the slot",
        measured=f"at least 1 - {max(1 - right.min(), 0):.0e}\nn = {min(len(test.pairs) for test in tests)} pairs per level",
        control=f"the root's message, which nothing reads here, erased below the node: at most {np.abs(last).max():.0e}",
        numbers={"faithful_error": np.abs(right - 1).max(), "null_error": np.abs(last).max()},
        figure="fig-tools-slots",
    )


def _search_claim(compiled: CompiledBP, handles: dict[int, dict[str, Interval]]) -> Claim:
    """Whether the search for a subspace, as the study of trained models uses it, finds the slot."""
    names = level_names(compiled)
    learned, fewer = ([float(found[name].mean) for found in handles.values()] for name in (FOUND["rotation"], FEWER))
    above = [found[BEYOND_MEANS] for found in handles.values()]
    blind = [float(found[RANDOM_START].mean) for found in handles.values() if RANDOM_START in found]
    return CRITERIA.claim(
        "tools-search",
        id="tools-search",
        statement="Begun at the directions to which the answer is most sensitive, with as many dimensions as the message has, "
        "the search for a rotation ends in a subspace that works as the slot does.",
        reference="the slot itself: share explained 1; conditional means are what it has to beat, on the same pairs",
        measured=f"share explained, {names[0]} to {names[len(handles) - 1]}: {listed([f'{share:.3f}' for share in learned])}\n"
        f"n = {min(found[WHOLE].n for found in handles.values())} pairs per level",
        control=f"beyond conditional means: {listed([f'{float(found.low):.2f} or more' for found in above])}\n"
        f"one dimension fewer: {listed([f'{share:.2f}' for share in fewer])}\n"
        f"random start, {listed([names[level] for level in RANDOM_START_LEVELS])}: {listed([f'{share:.2f}' for share in blind])}",
        numbers={"missing": [1 - share for share in learned], "above_means_low": [float(found.low) for found in above]},
        figure="fig-tools-handles",
    )


def _handles_claim(compiled: CompiledBP, handles: dict[int, dict[str, Interval]]) -> Claim:
    names = level_names(compiled)

    def shares(name: str) -> str:
        return listed([f"{float(found[name].mean):.2f}" for found in handles.values()])

    methods = [*FOUND.values(), "LEACE"]
    return CRITERIA.claim(
        "tools-subspaces",
        id="tools-subspaces",
        statement="Methods that look for the subspace by themselves find one that works as the slot does.",
        reference=f"the slot itself: {shares(SLOT)}; a method counts if it explains "
        f"{CRITERIA['tools-subspaces'].bounds['good']} at every level",
        measured=f"share explained, {names[0]} to {names[len(handles) - 1]}:\n"
        + "\n".join(f"{name} {shares(name)}" for name in methods),
        control=f"a random subspace, change of the same norm: {shares(f'{SLOT}{PLACEBO}')}",
        numbers={"worst_explained": [min(float(found[name].mean) for found in handles.values()) for name in methods]},
        figure="fig-tools-handles",
    )


def _slot_figure(compiled: CompiledBP, tests: list[SlotTests]) -> FigureData:
    names = message_names(compiled)
    return FigureData(
        id="fig-tools-slots",
        kind="heatmap",
        title="Which slot, written when, carries the message",
        caption="Share of the exact change of the answer when one slot alone takes the other run's value at the positions "
        "below the node. For a message m levels up, `upward s` after block s <= m is all of it. Later ones belong to "
        "ancestors of the node and are written at some of their tokens only: part of another message.",
        alt="Heatmaps of the share explained, one per message: slots in rows, the block after which they are written in columns.",
        data={
            "rows": list(compiled.slots),
            "columns": [str(block) for block in range(compiled.tree.depth + 1)],
            "column_title": "written after block",
            "value_title": "share explained",
            "range": [0, 1],
            "panel_columns": 2,
            "panels": [{"title": names[test.level], "values": np.round(test.written, 3)} for test in tests],
        },
    )


def _handle_figure(compiled: CompiledBP, handles: dict[int, dict[str, Interval]]) -> FigureData:
    names = message_names(compiled)
    first = next(iter(handles.values()))
    return FigureData(
        id="fig-tools-handles",
        kind="bars",
        title="Which subspaces carry the message",
        caption="Share of the exact change with 95 % intervals over pairs, written where the message has just been computed; "
        "LEACE: share of the change to the answer without the message. Below 0: farther from the exact answer than no edit.",
        alt="Bars of the share explained with intervals, one series per subspace, grouped by message.",
        data={
            "y_title": "share explained",
            "y_range": [-1, 1.05],
            "categories": [names[level] for level in handles],
            "series": [
                {"name": name, **points([found[name] for found in handles.values()], "y"), "control": name.endswith(PLACEBO)}
                for name in first
                if name != BEYOND_MEANS and all(name in found for found in handles.values())
            ],
        },
    )
