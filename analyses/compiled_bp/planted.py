"""Methods judged on planted circuits: a redundant copy, a message that nothing reads, and a decoy that correlates with one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from analyses.compiled_bp.criteria import CRITERIA
from analyses.compiled_bp.interchange import slot_eraser
from mechbp.hooks import capture, to_array
from mechbp.methods.interchange.answer_heads import proportional_reading
from mechbp.methods.interchange.interchange import erase, interchange
from mechbp.methods.interchange.leace import Eraser
from mechbp.methods.interchange.pairs import Pairs
from mechbp.methods.interchange.subspaces import Subspace
from mechbp.methods.probing.ridge import Spectrum, fit_ridge
from mechbp.models.compiled.bp import CompiledBP
from mechbp.models.compiled.planted import correlated_decoy, redundant_copy, written_never_read
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.study import Study
from mechbp.theory.tree.message_pairs import MessagePairs, message_pairs

LEVEL = 2
"""Of the messages planted, counted from the leaf."""
READ = "read by a probe"
WRITTEN = "written"
ZEROED = "set to zero"
SILENCED = "silenced"
TOGETHER = "all silenced together"
METHODS = (READ, WRITTEN, ZEROED, SILENCED, TOGETHER)


@dataclass(frozen=True, eq=False)
class PlantTests:
    """What each method finds in the slots of one circuit that hold, or seem to hold, one message."""

    name: str
    compiled: CompiledBP
    n_pairs: int
    found: dict[str, dict[str, float]]
    """Slot -> method -> R² for the probe, else the share explained of the change to the exact answer."""


def study_plants(study: Study, tree: FilteredTree) -> tuple[list[Claim], Section]:
    """Plant three circuits at one level, and ask every method about every slot concerned."""
    plain = {"redundant copy": redundant_copy, "message never read": written_never_read, "correlated decoy": correlated_decoy}
    tests = [_tests(study, name, plant(tree, LEVEL)) for name, plant in plain.items()]
    text = (
        f"Three circuits planted in the construction, at the message {LEVEL} levels up; the answers are those of belief "
        "propagation as before. Redundant copy: two slots hold the message and every reader takes half of each. Never read: "
        "attention writes the sibling's message to a second slot that no weight reads. Decoy: a slot holds the message that "
        "the left child alone would send, which correlates with the message, and no weight reads it.",
        "Each method is asked about each slot alone. A probe reads the message, as it is held, from the slot's numbers. "
        "Written: the other run's value (interchange). Set to zero: zeros, against the answer without the message. Silenced: "
        "the same number for every symbol, a message that says nothing. Together: both slots at once.",
        "So: a probe says yes wherever a message stands, read or not, and to part of a decoy; no probe can tell. Setting "
        "slots to zero one at a time says that neither copy is needed, since half a message is the message at another scale, "
        "and zeros in the only slot that is read destroy the answer rather than take the message from it. Writing and "
        "silencing follow the reading weights, and find part of the effect in either copy. Only both slots together give all "
        "of it.",
    )
    claims = [_probe_claim(tests), _zero_claim(tests), _causal_claim(tests)]
    return claims, Section("tools-plants", "Planted circuits", text, (_figure(tests),))


def _tests(study: Study, name: str, compiled: CompiledBP) -> PlantTests:
    study.stage(f"planted: {name}")
    tree = compiled.tree
    rng = study.rng("tools", "planted", name)
    pairs = message_pairs(tree, "masked", tree.depth - LEVEL, study.size(400, 48), rng)
    slots = [fact.slot for fact in compiled.truth]
    if any(slot.startswith("sibling") for slot in slots):
        pairs = _seen_from_beside(pairs, tree)
    hook = compiled.slots[slots[0]].readable_from
    tokens = tree.sample(study.size(2000, 300), rng).tokens
    tokens = np.where(rng.random(tokens.shape) < 0.2, tree.mask_token, tokens)
    found = {slot: {READ: _read(compiled, tokens, slot, slots)} for slot in slots}
    every = {slot: [slot] for slot in slots} | {TOGETHER: slots}
    written = interchange(
        compiled.model, pairs, hook, {slot: _span(compiled, [slot]) for slot in slots}, rng=rng, reading=proportional_reading
    )
    erasers = {name: _joint(compiled, names) for name, names in every.items()}
    erasers |= {f"{slot} zero": replace(erasers[slot], mean=np.zeros_like(erasers[slot].mean)) for slot in slots}
    gone = erase(compiled.model, pairs, hook, erasers, rng=rng, reading=proportional_reading)
    for slot in slots:
        found[slot] |= {
            WRITTEN: float(written.explained(slot, rng).mean),
            ZEROED: float(gone.explained(f"{slot} zero", rng).mean),
            SILENCED: float(gone.explained(slot, rng).mean),
            TOGETHER: float(gone.explained(TOGETHER, rng).mean),
        }
    return PlantTests(name, compiled, len(pairs), found)


def _seen_from_beside(pairs: MessagePairs, tree: FilteredTree) -> Pairs:
    """Keep pairs whose query lies below the node's sibling, where the message is held after attention, and edit there."""
    width = 2 ** (tree.depth - pairs.depth)
    below = np.arange(tree.n_leaves) // width == (pairs.nodes ^ 1)[:, None]
    kept = below[np.arange(len(pairs)), pairs.query]
    return replace(pairs.at(kept), positions=below[kept], bystander=None, bystander_answer=None)


def _span(compiled: CompiledBP, names: list[str]) -> Subspace:
    """Return the coordinates of several slots as one subspace."""
    dims = np.concatenate([np.arange(compiled.slots.d_model)[compiled.slots[name].dims] for name in names])
    return Subspace(" and ".join(names), np.eye(compiled.slots.d_model)[None, :, dims])


def _joint(compiled: CompiledBP, names: list[str]) -> Eraser:
    """Return the eraser that silences several slots at once."""
    erasers = [slot_eraser(compiled, name) for name in names]
    return Eraser("constant", sum(eraser.mean for eraser in erasers), sum(eraser.removed for eraser in erasers))  # type: ignore[arg-type]


def _read(compiled: CompiledBP, tokens: np.ndarray, slot: str, slots: list[str]) -> float:
    """Held-out R² of ridge regression of the true message, in the unit of the slot that holds it, on one slot's numbers."""
    true = next(name for name in slots if name.rsplit(" ", 1)[-1] not in ("copy", "unread", "decoy"))
    captured = {name: to_array(capture(compiled.model, tokens, hook)[hook]) for name, hook in _hooks(compiled, slots).items()}
    features = captured[slot]
    targets = captured[true]
    cut = int(0.6 * len(tokens))
    held = int(0.8 * len(tokens))
    error = total = 0.0
    for position in range(compiled.tree.n_leaves):
        x = features[:, position, compiled.slots[slot].dims]
        y = np.ascontiguousarray(targets[:, position, compiled.slots[true].dims].T[:, None])
        spectrum = Spectrum.of(x[:cut])
        fit = fit_ridge(spectrum, y[..., :cut], spectrum.rotate(x[cut:held]), y[..., cut:held])
        guess = fit.predict(spectrum.rotate(x[held:]))
        error += float(np.square(guess - y[..., held:]).sum())
        total += float(np.square(y[..., held:] - y[..., :cut].mean(axis=-1, keepdims=True)).sum())
    return 1 - error / total


def _hooks(compiled: CompiledBP, slots: list[str]) -> dict[str, str]:
    return {name: compiled.slots[name].readable_from for name in slots}


def _told(tests: list[PlantTests], kind: Callable[[str], bool]) -> dict[str, dict[str, float]]:
    """What methods find in the slots whose name is of a kind."""
    return {slot: found for test in tests for slot, found in test.found.items() if kind(slot)}


def _sizes(tests: list[PlantTests]) -> str:
    return "n = " + ", ".join(f"{test.n_pairs} pairs ({test.name})" for test in tests)


def _probe_claim(tests: list[PlantTests]) -> Claim:
    unread, decoy = (_told(tests, lambda slot, end=end: slot.endswith(end)) for end in (" unread", " decoy"))
    used = [
        f"{slot} {found[READ]:.2f}" for slot, found in _told(tests, lambda slot: not slot.endswith((" unread", " decoy"))).items()
    ]
    fooled = [min(found[READ] for found in told.values()) for told in (unread, decoy)]
    return CRITERIA.claim(
        "planted-probe",
        id="planted-probe",
        statement="Probes are fooled by the message that nothing reads, and in part by the decoy: they find both, and neither is "
        "used.",
        reference="by construction: no weight reads either slot",
        measured=f"R²: never read {fooled[0]:.2f}, decoy {fooled[1]:.2f}",
        control=f"slots that are read: {', '.join(used)}; written and silenced, the two change the answer by "
        f"{max(abs(found[method]) for told in (unread, decoy) for found in told.values() for method in (WRITTEN, SILENCED)):.0e}",
        numbers={"fooled_r2": fooled},
        figure="fig-tools-plants",
    )


def _zero_claim(tests: list[PlantTests]) -> Claim:
    (copies,) = (test for test in tests if test.name == "redundant copy")
    alone = [found[ZEROED] for found in copies.found.values()]
    both = max(found[TOGETHER] for found in copies.found.values())
    return CRITERIA.claim(
        "planted-zero",
        id="planted-zero",
        statement="Zeroing one slot at a time is fooled by the redundant copy: neither slot seems needed.",
        reference="by construction: each reader takes half of either; half a message is the same message",
        measured="share of the change to the answer without the message: "
        + ", ".join(f"{slot} {share:.2f}" for slot, share in zip(copies.found, alone, strict=True))
        + f"\nn = {copies.n_pairs} pairs",
        control=f"both silenced together: {both:.2f}",
        numbers={"alone": alone, "together": both},
        figure="fig-tools-plants",
    )


def _causal_claim(tests: list[PlantTests]) -> Claim:
    explained: dict[bool, list[float]] = {True: [], False: []}
    for test in tests:
        for fact in test.compiled.truth:
            explained[fact.used] += [test.found[fact.slot][method] for method in (WRITTEN, SILENCED)]
    return CRITERIA.claim(
        "planted-causal",
        id="planted-causal",
        statement="Writing and silencing a slot say that it is used exactly where some weight reads it, in all three circuits.",
        reference="by construction: both copies and the plain slots are read, the unread slot and the decoy are not",
        measured="share explained, written / silenced:\n"
        + "\n".join(
            f"{slot} {found[WRITTEN]:.2f} / {found[SILENCED]:.2f}" for test in tests for slot, found in test.found.items()
        )
        + f"\n{_sizes(tests)}",
        control="the slots that nothing reads are the control",
        numbers={"used": explained[True], "unused": explained[False]},
        figure="fig-tools-plants",
    )


def _figure(tests: list[PlantTests]) -> FigureData:
    facts = [(test, fact) for test in tests for fact in test.compiled.truth]
    return FigureData(
        id="fig-tools-plants",
        kind="heatmap",
        title="Which methods are fooled by which circuit",
        caption="Above: R² of the probe, shares explained of the others; negative shares, answers farther from the exact one "
        f"than without the edit, are coloured as 0. Below: what is so. {_sizes(tests)}.",
        alt="Two heatmaps, what methods find and what is so, with one row per slot of a planted circuit: methods in columns, "
        "facts in columns.",
        data={
            "rows": [f"{test.name}: {fact.slot}" for test, fact in facts],
            "columns": list(METHODS),
            "value_title": "R² or share",
            "range": [0, 1],
            "cell_text": True,
            "panel_columns": 1,
            "panels": [
                {
                    "title": "what methods find",
                    "values": np.round([[test.found[fact.slot][method] for method in METHODS] for test, fact in facts], 2),
                },
                {
                    "title": "what is so",
                    "columns": ["used", "needed, alone"],
                    "values": [[float(fact.used), float(fact.necessary)] for _, fact in facts],
                },
            ],
        },
    )
