"""The section on copy suppression: ablations, calibration, where the effect falls, and the diagonal against the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from analyses.shared.calibration import calibration_axes
from analyses.sorting_circuits.suppression import AS_IT_IS, JUDGED, ROLES, Suppression
from mechbp.figures.intervals import points
from mechbp.methods.circuits.kept_diagonal import KEPT, SCALES
from mechbp.methods.statistics.intervals import Interval
from mechbp.report.document import FigureData, Section
from mechbp.theory.sorting.head_ablation import STAND_INS

DRAWN = 6
"""Runs in figures with a row per run."""
CURVES = 2
"""Runs in figures with curves."""
PLACE = ("suppression", "What does the suppressing head do?")
COLUMNS = {
    "accuracy": "right",
    "list_accuracy": "lists",
    "rolled_out": "rolled out",
    "cross_entropy_nats": "CE",
    "entropy_nats": "entropy",
    "confidence": "confidence",
}


def suppression_section(found: Sequence[Suppression], known: Sequence[Suppression] = ()) -> Section:
    """Return the section; a skipped one where no run has a suppressing head."""
    if not found:
        return Section(*PLACE, (), (), "skipped", "no run here is labelled copy-suppression, or both modes")
    found = sorted(found, key=lambda one: one.sorter.label != "suppression")
    text = (
        "The copier and the suppressor are the best pair of heads, turned so that the second suppresses what the first copies. "
        "Each is replaced by nothing, by its mean position by position over other lists, and by twice that mean less itself. "
        "Criteria are about the mean: only what varies from list to list is then taken away. In runs labelled both, only answers "
        "count whose value one head copies and the other suppresses.",
        "Suppression alone: of the suppressor there is kept attention to values already named, and of what it writes to each the "
        "part along that value's direction in the unembedding, where it is negative; the rest is replaced by its mean. The share "
        "kept is the change of mean entropy from the model without the head to the model with this much of it, over the change "
        "to the whole model.",
        "Compiled sorters always answer rightly. A suppressor that reads the list, as the copier does, makes them less sure than "
        "they should be, so that the gain in calibration is negative, and none of its effect is suppression of values named "
        "before; one that reads the answer does nothing else.",
        *(_table(one) for one in [*found[:CURVES], *known]),
    )
    figures = (
        _ablations(found[:DRAWN], known),
        _calibration(found[:CURVES], known[:1]),
        _groups(found[:CURVES]),
        _parts([*found[:DRAWN], *known]),
    )
    return Section(*PLACE, text, figures)


def _table(one: Suppression) -> str:
    """All means of one run, line by line."""
    columns = [name for name in COLUMNS if name in one.table[AS_IT_IS]]
    width = max(map(len, one.table)) + 1
    head = f"{one.sorter.name}, {int(one.counted.sum())} of {len(one.counted)} values"
    lines = [head, " " * width + "".join(f"{COLUMNS[name]:>11}" for name in columns)]
    for edit, measures in one.table.items():
        cells = (f"{float(measures[name].mean):11.4f}" if name in measures else " " * 11 for name in columns)
        lines.append(f"{edit:<{width}}" + "".join(cells))
    return "`" + "\n".join(line.rstrip() for line in lines) + "`"


def _ablations(found: Sequence[Suppression], known: Sequence[Suppression]) -> FigureData:
    edits = [AS_IT_IS, *(f"{role}, {name}" for role in ROLES for name in STAND_INS), "suppression left, answer"]
    return FigureData(
        id="fig-suppression-ablations",
        kind="bars",
        title="Entropy without the suppressor and without the copier",
        caption="Mean entropy of the answers, in nats, with 95 % intervals over lists. By stand-in for one head: nothing, its "
        "mean, twice its mean less itself; last, only suppression left of the suppressor. Hollow: compiled sorters. The exact "
        "answer has no entropy.",
        alt="Bars of mean entropy per edit of the heads, one series per run, compiled sorters beside them.",
        data={
            "y_title": "entropy (nats)",
            "categories": edits,
            "series": [
                {
                    "name": one.sorter.name,
                    **points([one.table[edit]["entropy_nats"] for edit in edits], "y"),
                    "color": index,
                    **_hollow(index >= len(found)),
                }
                for index, one in enumerate([*found, *known])
            ],
        },
    )


def _calibration(found: Sequence[Suppression], known: Sequence[Suppression]) -> FigureData:
    series = []
    for index, one in enumerate([*found, *known]):
        for edit, name in ((AS_IT_IS, "with"), (f"suppressor, {JUDGED}", "without")):
            curve = one.calibration[edit]
            shown = curve.filled > 0
            ends = {"y": curve.accuracy.mean, "low": curve.accuracy.low, "high": curve.accuracy.high}
            series.append(
                {
                    "name": f"{one.sorter.name}, {name}",
                    "x": curve.confidence[shown],
                    **{key: values[shown] for key, values in ends.items()},
                    "count": curve.filled[shown],
                    "color": 2 * index + (name == "without"),
                    **_hollow(index >= len(found)),
                }
            )
    return FigureData(
        id="fig-suppression-calibration",
        kind="scatter",
        title="Share of right answers by confidence, with and without the suppressor",
        caption="Answers in 15 bins of confidence, the largest probability; 95 % intervals over lists, larger marks for more "
        "answers. On the diagonal confidence is what it should be, above it the model is less sure than it could be. Without: "
        "the suppressor keeps its mean. Hollow: a compiled sorter.",
        alt="Share of right answers against confidence, one series per run with and one without its suppressor.",
        data={"series": series, **calibration_axes("share of right answers")},
    )


def _groups(drawn: Sequence[Suppression]) -> FigureData:
    series = []
    for index, one in enumerate(drawn):
        for name, change in (("by value", one.by_value), ("by gap", one.by_gap)):
            defined = np.flatnonzero(np.isfinite(change.mean))
            series.append(
                {
                    "name": f"{one.sorter.name}, {name}",
                    "x": defined.tolist(),
                    **_lines(change, defined),
                    "color": index,
                    "dash": "solid" if name == "by value" else "dash",
                }
            )
    return FigureData(
        id="fig-suppression-values",
        kind="lines",
        title="Change of entropy without the suppressor, by right answer and by gap",
        caption="Mean entropy with the suppressor's mean in its place less that of the model, with 95 % intervals over lists. "
        "Solid: by the right answer. Dashed: by the distance of the right answer from the value before it; first answers have "
        "none.",
        alt="Lines of the change of entropy over values and over gaps, per run.",
        data={"x_title": "right answer, or gap before it", "y_title": "change of entropy (nats)", "series": series},
    )


def _parts(drawn: Sequence[Suppression]) -> FigureData:
    rows = [(one, role, kept) for one in drawn for role in ROLES for kept in KEPT]
    return FigureData(
        id="fig-suppression-parts",
        kind="dots",
        title="Accuracy with only the diagonal of a head's OV, or only the rest",
        caption="Share of right answers with 95 % intervals over lists. Of one head only what it writes to the logit of the "
        "token attended to is kept, or only what it writes to others; attention stays. The scale of the last norm is that of the "
        "unedited model (frozen) or of a stream cut the same way (recomputed).",
        alt="Dots of accuracy by run, head and part kept, for both scales of the last norm.",
        data={
            "x_title": "share of right answers",
            "categories": [f"{one.sorter.name}: {role}, {kept}" for one, role, kept in rows],
            "series": [
                {
                    "name": scale,
                    **points([one.table[f"{role}, {kept}, {scale}"]["accuracy"] for one, role, kept in rows], "x"),
                }
                for scale in SCALES
            ],
        },
    )


def _lines(interval: Interval, at: np.ndarray) -> dict[str, list[float]]:
    ends = {"y": interval.mean, "low": interval.low, "high": interval.high}
    return {key: values[at].tolist() for key, values in ends.items()}


def _hollow(known: bool) -> dict[str, Any]:
    """How a series of a compiled sorter is drawn: as a control."""
    return {"control": True} if known else {}
