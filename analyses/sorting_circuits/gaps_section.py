"""The claim and the section on gaps: labels and scores against the mean gap, and how frequent values are."""

from __future__ import annotations

from itertools import groupby

import numpy as np

from analyses.sorting_circuits.criteria import CRITERIA
from analyses.sorting_circuits.designs import LEAST_GAPS, VALUES, WINDOWS
from analyses.sorting_circuits.gaps import SCORES, Gaps, Sweep
from mechbp.methods.statistics.logistic_slope import LogisticSlope
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import estimate
from mechbp.theory.sorting.gaps import gap_laws

LABELS = ("splitting", "both", "suppression", "overlap", "none")
PLACE = ("gaps", "Does the gap decide the mode?")


def gap_claims(found: Gaps) -> list[Claim]:
    """Return the claim; not run where neither windows nor numbers of values are swept."""
    windows, values = (found.sweeps[name] for name in (WINDOWS, VALUES))
    swept = [one for one in found.sweeps.values() if one.labels]
    return [
        CRITERIA.claim(
            "gap-mode",
            id="gap-mode",
            statement="The mean gap between neighbours of a sorted list decides whether heads split values or suppress copies.",
            reference="Urdshals and Urdshals 2025: delta-bar decides which specialisation appears; directions are not quoted",
            measured="\n".join(_sweep_line(found, one) for one in swept) or "no sweep: 0 runs",
            control=_control(found),
            numbers={
                "p_windows": None if windows.slope is None else windows.slope.p,
                "slope_windows": None if windows.slope is None else windows.slope.slope,
                "p_values": None if values.slope is None else values.slope.p,
                "slope_values": None if values.slope is None else values.slope.slope,
            }
            if windows.labels or values.labels
            else None,
            figure="fig-gap-labels" if swept else "",
        )
    ]


def _sweep_line(found: Gaps, one: Sweep) -> str:
    split, suppressed = one.decided
    scores = ", ".join(
        f"{name} {one.correlations[name].rho:.2f} (p {one.correlations[name].p:.3f}, adjusted "
        f"{found.adjusted[one.runs.name, name]:.3f})"
        for name in SCORES
        if np.isfinite(one.correlations[name].rho)
    )
    return (
        f"{one.runs.name}: {split} splitting or both and {suppressed} copy-suppression of {len(one.labels)} runs, mean gaps "
        f"{one.mean_gaps.min():.2f} to {one.mean_gaps.max():.2f}; {_slope_text(one.slope)}; rank correlations with the gap: "
        f"{scores or 'none defined'}"
    )


def _slope_text(slope: LogisticSlope | None) -> str:
    if slope is None:
        return "no slope, as one of the two modes does not occur, or at one gap only"
    low, high = ("no bound" if not np.isfinite(end) else f"{end:.2f}" for end in (slope.low, slope.high))
    return f"log-odds of splitting per unit of gap {slope.slope:.2f} [{low}, {high}], p {slope.p:.4f} by permutation"


def _control(found: Gaps) -> str:
    lines = [
        f"{name}, every value weighed by its frequency: {_slope_text(one.weighted)}"
        for name, one in found.sweeps.items()
        if one.labels and name == WINDOWS
    ]
    if found.following.n:
        uniform = found.following_uniform
        lines.append(
            f"inside runs with windows, rank correlation over values of balance with frequency {estimate(found.following)} over "
            f"{found.following.n} runs; the same frequencies against runs whose values are equally frequent: "
            + (f"{estimate(uniform)} over {uniform.n} runs" if uniform.n else "no such run")
        )
    return "\n".join(lines) or "none: no sweep of windows"


def gap_section(found: Gaps) -> Section:
    """Return the section; a skipped one where nothing is swept."""
    swept = [one for one in found.sweeps.values() if one.labels]
    if not swept:
        return Section(*PLACE, (), (), "skipped", "no two runs here differ in windows, number of values or least gap alone")
    text = (
        "Lists are drawn from windows of W neighbouring values, which makes gaps smaller, (W + 1) / (n + 1) on average; from "
        "more or fewer values, which changes the size of the task too; or with a least gap, which makes gaps larger. Mean gaps "
        "are exact. Runs of a sweep differ in the lists and the seed alone; those with uniform lists are an end of each sweep, "
        "so that sweeps share them.",
        "A logistic regression asks whether the odds of splitting (or both modes) against copy-suppression move with the gap; "
        "other labels are left out there, and drawn. Few runs part cleanly, and so the slope is the bias-reduced one, its "
        "interval that of the penalised profile, and p comes from dealing the labels out anew. Where only one of the two labels "
        "occurs there is no slope.",
        "Windows also make values near the ends rarer. Balance says what two heads do with a value: 1 both copy it alike, 0 one "
        "alone does, -1 the other takes all of it off. If frequency decided, balance would follow frequency inside runs, and "
        "more than it follows the same frequencies in runs without windows, where ends are ends but as frequent as all values.",
    )
    figures = [_labels(swept), *(_scores(swept, name) for name in ("CS", "VS"))]
    if found.sweeps[WINDOWS].labels:
        figures.append(_frequency(found.sweeps[WINDOWS]))
    return Section(*PLACE, text, tuple(figures))


def _labels(swept: list[Sweep]) -> FigureData:
    rows = []
    for one in swept:
        named = zip((one.runs.setting(sorter) for sorter in one.runs.sorters), one.mean_gaps, one.labels, strict=True)
        for setting, group in groupby(named, key=lambda run: run[0]):
            members = list(group)
            labels = [label for _, _, label in members]
            title = f"{one.runs.name}: {setting}, gap {members[0][1]:.2f}, {len(labels)} runs"
            rows.append((title, {label: labels.count(label) / len(labels) for label in LABELS}))
    return FigureData(
        id="fig-gap-labels",
        kind="bars",
        title="Modes at the last step, by mean gap",
        caption="Share of the runs of a setting with each label. Settings with uniform lists stand in every sweep.",
        alt="Bars of the share of runs per label, one group per setting of each sweep.",
        data={
            "y_title": "share of runs",
            "y_range": [0.0, 1.0],
            "categories": [title for title, _ in rows],
            "series": [{"name": label, "y": [shares[label] for _, shares in rows]} for label in LABELS],
        },
    )


def _scores(swept: list[Sweep], name: str) -> FigureData:
    words = {"CS": "copy-suppression", "VS": "splitting"}[name]
    series = []
    for index, one in enumerate(swept):
        defined = np.flatnonzero(np.isfinite(one.scores[name]))
        series.append(
            {
                "name": one.runs.name,
                "x": one.mean_gaps[defined],
                "y": one.scores[name][defined],
                "color": index,
                **({"control": True} if one.runs.name == LEAST_GAPS else {}),
            }
        )
    return FigureData(
        id=f"fig-gap-{name.lower()}",
        kind="scatter",
        title=f"Score of {words} against the mean gap",
        caption=f"One mark per run: {name} of the best pair of heads, and the exact mean gap of its lists. Hollow: lists with a "
        "least gap, where gaps are larger than those of uniform lists.",
        alt=f"Scatter of {name} against mean gap, one series per sweep.",
        data={"x_title": "mean gap", "y_title": name, "y_range": [0.0, 1.02], "series": series},
    )


def _frequency(windows: Sweep) -> FigureData:
    laws = {windows.runs.setting(one): gap_laws(one.process).frequency for one in windows.runs.sorters}
    return FigureData(
        id="fig-gap-frequency",
        kind="lines",
        title="How often a value is in a list, by window",
        caption="Exact mean number of times that a value is in a list.",
        alt="Lines of frequency over values, one per window.",
        data={
            "x_title": "value",
            "y_title": "mean number in a list",
            "series": [{"name": name, "x": list(range(len(law))), "y": law, "markers": False} for name, law in laws.items()],
        },
    )
