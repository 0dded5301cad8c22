"""Which mode do heads end in, over seeds, with and without weight decay?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from analyses.shared.sorter import Sorter
from analyses.sorting_circuits.criteria import CRITERIA
from mechbp.methods.circuits.pair_modes import LEAST_SPLITTING, LEAST_SUPPRESSION, PairModes
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section

SPLITTING, SUPPRESSION = ("splitting", "both"), ("suppression", "both")
MAP_LABELS = ("splitting", "suppression", "both", "overlap", "none")
"""Of runs with these labels one is drawn, the first two labels that occur."""


def default_design(sorters: Sequence[Sorter]) -> list[Sorter]:
    """Return the ordinary runs of those sizes that were trained both with and without weight decay; all ordinary ones if none."""
    ordinary = [sorter for sorter in sorters if sorter.ordinary]
    sizes = [{_size(sorter) for sorter in ordinary if sorter.decays is decays} for decays in (True, False)]
    return [sorter for sorter in ordinary if _size(sorter) in sizes[0] & sizes[1]] or ordinary


def end_states_claims(sorters: Sequence[Sorter]) -> list[Claim]:
    """Return the claims on how often which mode is the end state."""
    runs = default_design(sorters)
    free = [sorter for sorter in runs if not sorter.decays]
    passing = [sorter.specialised for sorter in runs]
    splitting = [sorter.label in SPLITTING for sorter in free]
    end = CRITERIA.claim(
        "end-states",
        id="end-states",
        statement="Training ends with heads that split the values between them, or with one that suppresses what another copies.",
        reference="Urdshals and Urdshals 2025: two end states, vocabulary-splitting and copy-suppression",
        measured="\n".join(
            f"{name}: {counts(group)}" for name, group in (("weight decay", _of(runs, True)), ("none", _of(runs, False))) if group
        )
        or "0 runs",
        control="permuted circuits and random matrices get no label, below",
        numbers={"share": float(np.mean(passing)), "runs": len(runs)} if runs else None,
        figure="fig-modes" if runs else "",
    )
    without = CRITERIA.claim(
        "splitting-free",
        id="splitting-free",
        statement="Vocabulary-splitting appears without weight decay as well.",
        reference="Urdshals and Urdshals 2025: it does, so that weight decay is not its cause",
        measured=f"{sum(splitting)} of {len(free)} runs without weight decay split the values: {counts(free)}",
        control=f"with weight decay {sum(sorter.label in SPLITTING for sorter in _of(runs, True))} of {len(_of(runs, True))}",
        numbers={"passes": sum(splitting), "runs": len(free)},
        figure="fig-modes" if runs else "",
    )
    return [end, without]


def counts(group: Sequence[Sorter]) -> str:
    """Return how many runs have each label, in words."""
    found = Counter(sorter.label for sorter in group)
    return ", ".join(f"{number} {label}" for label, number in found.most_common()) or "0 runs"


def end_states_section(sorters: Sequence[Sorter]) -> Section:
    """Return the section with scores of all runs, and circuits of two of them."""
    runs = default_design(sorters)
    place = ("end-states", "How heads share the values")
    if not runs:
        return Section(*place, (), (), "skipped", "no run here has two heads, layer norm and uniform lists")
    text = (
        "Labels stand at thresholds that were fixed before; the scores beside them are continuous. Share split: of the values "
        "that either head copies, those that only one copies. Suppression: share copied by one head times share suppressed by "
        "the other.",
        "Circuits are those of the folded model, positions averaged over the list for keys and over the positions asked at "
        "for queries; what a diagonal entry is worth depends on the scale of the last layer norm, which differs by position.",
    )
    shown = _examples(runs)
    return Section(*place, text, (_scores_figure(runs), *(_circuits_figure(shown) if shown else ())))


def _scores_figure(runs: Sequence[Sorter]) -> FigureData:
    series = []
    for color, (decays, name) in enumerate(((True, "weight decay"), (False, "no weight decay"))):
        pairs = [pair for sorter in _of(runs, decays) if (pair := sorter.modes.best) is not None]
        if pairs:
            series.append(
                {"name": name, "x": [_known(pair) for pair in pairs], "y": [p.suppression for p in pairs], "color": color}
            )
    return FigureData(
        id="fig-modes",
        kind="scatter",
        title="Scores of both modes at the end of training",
        caption=f"One point per run. Splitting needs at least {LEAST_SPLITTING:g} on the horizontal axis, with further "
        f"conditions; copy-suppression at least {LEAST_SUPPRESSION:g} on the vertical one, and like attention. {len(runs)} "
        "runs.",
        alt="Scatter of the share of values split against the suppression score, runs with and without weight decay.",
        data={
            "x_title": "share of copied values that only one head copies",
            "y_title": "share copied x share suppressed",
            "x_range": [0.0, 1.0],
            "y_range": [0.0, 1.0],
            "series": series,
        },
    )


def _examples(runs: Sequence[Sorter]) -> list[Sorter]:
    """One run of each of two labels, of the smallest task."""
    least = min(sorter.process.vocab_size for sorter in runs)
    small = [sorter for sorter in runs if sorter.process.vocab_size == least]
    found = [next((sorter for sorter in small if sorter.label == label), None) for label in MAP_LABELS]
    return [sorter for sorter in found if sorter is not None][:2]


def _circuits_figure(shown: Sequence[Sorter]) -> tuple[FigureData, ...]:
    values = shown[0].process.vocab_size
    labels = [str(value) for value in range(values)]
    ov, qk = [], []
    for sorter in shown:
        for head in sorter.modes.order:
            title = f"{sorter.name} ({sorter.label}), head {head}"
            ov.append({"title": title, "values": (sorter.ov[head] / _unit(sorter)).round(2).tolist()})
            scores = np.vstack([sorter.qk[head][-1:], sorter.qk[head][:-1]])
            qk.append({"title": title, "values": scores.round(1).tolist(), "rows": ["SEP", *labels]})
    common = {"rows": labels, "columns": labels, "scale": "diverging", "panel_columns": 2}
    which = " and ".join(f"{sorter.name}, labelled {sorter.label}" for sorter in shown)
    return (
        FigureData(
            id="fig-circuits",
            kind="heatmap",
            title="OV circuits: what attending to a value adds to the logits",
            caption=f"{which}. Rows: value attended to; columns: output; rows have mean 0. In units of the mean over values of "
            "the run's largest diagonal entry: the scale of the stream, which the last layer norm divides by, differs between "
            "runs. Heads that copy more come first.",
            alt="Heat maps of OV circuits by attended value and output, one per head.",
            data={**common, "row_title": "attended", "column_title": "output", "value_title": "mean diagonals", "panels": ov},
        ),
        FigureData(
            id="fig-scores",
            kind="heatmap",
            title="QK circuits: scores of values as keys",
            caption=f"{which}. Rows: token asked at; columns: value as key; rows have mean 0, which no softmax sees. Keys to "
            "the right of the diagonal are larger than the current value.",
            alt="Heat maps of QK circuits by current value and key, one per head.",
            data={**common, "row_title": "asked at", "column_title": "key", "value_title": "score", "panels": qk},
        ),
    )


def _unit(sorter: Sorter) -> float:
    """Mean over values of the largest diagonal entry of all heads."""
    return float(np.abs(np.diagonal(sorter.ov, axis1=1, axis2=2)).max(axis=0).mean())


def _of(runs: Sequence[Sorter], decays: bool) -> list[Sorter]:
    return [sorter for sorter in runs if sorter.decays is decays]


def _size(sorter: Sorter) -> tuple[int, int]:
    return sorter.process.vocab_size, sorter.process.length


def _known(pair: PairModes) -> float | None:
    return None if np.isnan(pair.splitting) else pair.splitting
