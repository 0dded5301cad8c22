"""Claims about copy suppression: what the suppressor leaves alone, whether it calibrates, and whether it suppresses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from analyses.sorting_circuits.criteria import CRITERIA
from analyses.sorting_circuits.suppression import AS_IT_IS, JUDGED, Suppression
from mechbp.report.claim import Claim
from mechbp.report.parts import estimate

WITHOUT = f"suppressor, {JUDGED}"
WITHOUT_COPIER = f"copier, {JUDGED}"
NONE = "no run is labelled copy-suppression: 0 runs"


def suppression_claims(found: Sequence[Suppression], known: Sequence[Suppression] = ()) -> list[Claim]:
    """Return the three claims.

    found: runs labelled copy-suppression, which decide, and runs labelled both, which stand beside them. known: the same numbers
    of compiled suppressors.
    """
    judged = [one for one in found if one.sorter.label == "suppression"]
    beside = [one for one in found if one.sorter.label != "suppression"]
    return [_suppressor(judged, beside, known), _calibrates(judged, beside, known), _preserved(judged, beside, known)]


def _suppressor(judged: Sequence[Suppression], beside: Sequence[Suppression], known: Sequence[Suppression]) -> Claim:
    def line(one: Suppression) -> str:
        change = one.changes[WITHOUT]
        return (
            f"without the suppressor accuracy changes by {estimate(change['accuracy'], 4)}, entropy by "
            f"{estimate(change['entropy_nats'], 3, 'nats')}; without the copier accuracy is "
            f"{estimate(one.table[WITHOUT_COPIER]['accuracy'])}"
        )

    parts: dict[str, Callable[[Suppression], float]] = {
        "without the suppressor accuracy changes by": lambda one: float(one.changes[WITHOUT]["accuracy"].mean),
        "entropy in nats by": lambda one: float(one.changes[WITHOUT]["entropy_nats"].mean),
        "accuracy without the copier": lambda one: float(one.table[WITHOUT_COPIER]["accuracy"].mean),
    }
    changes = [one.changes[WITHOUT] for one in judged]
    return CRITERIA.claim(
        "suppressor",
        id="suppressor",
        statement="Without its suppressing head a model answers as often rightly, and its entropy changes; without the copying "
        "head it no longer sorts.",
        reference="Urdshals and Urdshals 2025, as recalled: removing the suppressor leaves accuracy and changes entropy; "
        "removing the copier destroys accuracy",
        measured=_lines(judged, beside, line, parts),
        control=_known(known, line),
        numbers={
            "accuracy_change": [float(one["accuracy"].mean) for one in changes],
            "entropy_low": [float(one["entropy_nats"].low) for one in changes],
            "entropy_high": [float(one["entropy_nats"].high) for one in changes],
            "without_copier": [float(one.table[WITHOUT_COPIER]["accuracy"].mean) for one in judged],
        }
        if judged
        else None,
        figure="fig-suppression-ablations" if judged or beside else "",
    )


def _calibrates(judged: Sequence[Suppression], beside: Sequence[Suppression], known: Sequence[Suppression]) -> Claim:
    def line(one: Suppression) -> str:
        whole, cut = one.calibration[AS_IT_IS], one.calibration[WITHOUT]
        return (
            f"calibration error {float(whole.error.mean):.4f} with the suppressor, {float(cut.error.mean):.4f} without, gain "
            f"{estimate(one.gain, 4)}; were both calibrated, the errors would be {whole.floor:.4f} and {cut.floor:.4f}"
        )

    parts: dict[str, Callable[[Suppression], float]] = {"gain": lambda one: float(one.gain.mean)}

    return CRITERIA.claim(
        "calibrates",
        id="calibrates",
        statement="The suppressing head makes confidence fit accuracy better.",
        reference="Urdshals and Urdshals 2025: copy suppression mostly calibrates confidence",
        measured=_lines(judged, beside, line, parts),
        control=_known(known, line),
        numbers={"gain_low": [float(one.gain.low) for one in judged]} if judged else None,
        figure="fig-suppression-calibration" if judged or beside else "",
    )


def _preserved(judged: Sequence[Suppression], beside: Sequence[Suppression], known: Sequence[Suppression]) -> Claim:
    def line(one: Suppression) -> str:
        return (
            f"{estimate(one.kept['answer'])} of the change of entropy is left ({float(one.kept['anywhere'].mean):.3f} with "
            f"attention to the named values where they stand in the list as well)"
        )

    parts: dict[str, Callable[[Suppression], float]] = {
        "share of the change of entropy that is left": lambda one: float(one.kept["answer"].mean)
    }

    return CRITERIA.claim(
        "suppression-preserved",
        id="suppression-preserved",
        statement="What the suppressing head does to entropy is suppression of values already named.",
        reference="Urdshals and Urdshals 2025: heads resemble the copy-suppression heads of GPT-2, of whose effect an ablation "
        "of this kind keeps .769, as recalled",
        measured=_lines(judged, beside, line, parts),
        control=_known(known, line),
        numbers={"kept": [float(one.kept["answer"].mean) for one in judged]} if judged else None,
        figure="fig-suppression-ablations" if judged or beside else "",
    )


def _lines(
    judged: Sequence[Suppression],
    beside: Sequence[Suppression],
    line: Callable[[Suppression], str],
    parts: Mapping[str, Callable[[Suppression], float]],
) -> str:
    """One line per run that decides; those labelled both in one line, from the least to the largest."""
    lines = [f"{one.sorter.name}: {line(one)}" for one in judged] or [NONE]
    if beside:
        found = [f"{name} {min(map(part, beside)):.3f} to {max(map(part, beside)):.3f}" for name, part in parts.items()]
        runs = "run" if len(beside) == 1 else "runs"
        lines.append(f"beside, {len(beside)} {runs} labelled both, at the values that are opposed: {', '.join(found)}")
    return "\n".join(lines)


def _known(known: Sequence[Suppression], line: Callable[[Suppression], str]) -> str:
    return "\n".join(f"{one.sorter.name}: {line(one)}" for one in known) or "none: no compiled sorter was measured"
