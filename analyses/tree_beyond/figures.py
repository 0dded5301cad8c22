"""The measurements of several runs side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analyses.shared.attention_maps import by_head, head_names, mass_layout
from analyses.shared.tree_probes import message_layout, message_panel
from analyses.shared.tree_training import curve_of
from analyses.tree_beyond.measurements import Measurements
from mechbp.figures.intervals import points
from mechbp.methods.statistics.intervals import Interval
from mechbp.report.document import FigureData
from mechbp.report.parts import DECIMALS, panel


def figures_of(measured: Sequence[Measurements]) -> tuple[FigureData, ...]:
    """Return one figure per measurement."""
    return (_oracles(measured), _ladder(measured), _mass(measured), _merging(measured), _messages(measured))


def _oracles(measured: Sequence[Measurements]) -> FigureData:
    deepest = max(p.run.process.depth for p in measured)
    values = np.full((len(measured), deepest + 1), np.nan)
    low = values.copy()
    high = values.copy()
    for row, p in enumerate(measured):
        filled = slice(p.run.process.depth + 1)
        values[row, filled], low[row, filled], high[row, filled] = p.to_oracles.mean, p.to_oracles.low, p.to_oracles.high
    return FigureData(
        id="fig-beyond-oracles",
        kind="heatmap",
        title="Distance to the oracle of every filter level",
        caption="Mean KL(model || BP_k), nats, over all single-mask questions of the run's own data; n = "
        f"{measured[0].answers.same_choice.n:,} sequences per run. BP_0 is exact inference for all of these runs of level 0.",
        alt="Heatmap of divergence in nats: runs in rows, oracles of every filter level in columns.",
        data={
            "rows": [p.run.name for p in measured],
            "columns": [f"BP_{k}" for k in range(deepest + 1)],
            "value_title": "KL(model || BP_k) (nats)",
            "cell_text": True,
            "panels": [panel("trained", Interval(values, low, high, measured[0].to_oracles.n))],
        },
    )


def _ladder(measured: Sequence[Measurements]) -> FigureData:
    deepest = max(p.run.process.depth for p in measured)
    steps = range(deepest - 1, -1, -1)
    place = ("fig-beyond-ladder", "dots", "When each level of the hierarchy is taken in")
    if not any(curve_of(p.run) for p in measured):
        return FigureData(*place, "", "", status="skipped", reason="no run has a training curve")
    return FigureData(
        *place,
        caption="Training sequences seen when BP_k becomes nearer than BP_(k+1) for good, on 512 held-out sequences; one run per "
        "marker, no interval. A missing marker is a level that training did not take in.",
        alt="Training sequences, on a logarithmic axis, at which each level is taken in: one row per level, one marker per run.",
        data={
            "x_title": "training sequences",
            "x_log": True,
            "categories": [f"BP_{k + 1} to BP_{k}" for k in steps],
            "series": [{"name": p.label, "x": [p.passed.get(k) for k in steps], "color": i} for i, p in enumerate(measured)],
        },
    )


def _mass(measured: Sequence[Measurements]) -> FigureData:
    panels = []
    widest = max(p.mass.mass.mean.shape[-1] for p in measured)
    for p in measured:
        mass = p.mass.mass
        heads = p.mass.mass.mean.shape[:2]
        rows = head_names(*heads)
        columns = mass_layout(rows, mass.mean.shape[-1])["columns"]
        control = np.round(p.control_mass.mass.mean[by_head(*heads)], DECIMALS)
        panels.append(panel(p.label, mass[by_head(*heads)]) | {"rows": rows, "columns": columns, "control": control})
    return FigureData(
        id="fig-beyond-mass",
        kind="heatmap",
        title="Attention mass by level of the lowest common ancestor",
        caption=f"Share of attention on the leaves at each level, mean over queries and {measured[0].mass.mass.n:,} sequences; "
        "rows sum to 1. Random weights, whose attention is uniform, stand in hover and table.",
        alt="Heatmaps of the share of attention, one per run: blocks of the network in rows, levels of the common ancestor in "
        "columns.",
        data=mass_layout(panels[0]["rows"], widest) | {"panels": panels, "panel_columns": 2},
    )


def _merging(measured: Sequence[Measurements]) -> FigureData:
    ends = {"all levels told apart": -1, "uniform attention": 0}
    return FigureData(
        id="fig-beyond-merging",
        kind="bars",
        title="What replacing attention by its average per level costs",
        caption="Increase of KL(BP || model) at a hidden leaf when the patterns of all blocks are replaced by their average over "
        "pairs of leaves at the same level, and, as control, by uniform attention. "
        f"n = {measured[0].merging[0][1].n:,} sequences per run.",
        alt="Bars of the increase of divergence in nats, two per run: averages by level, and uniform attention.",
        data={
            "y_title": "increase of KL(BP || model) (nats)",
            "categories": [p.run.name for p in measured],
            "series": [
                {"name": name, **points([p.merging[at][1] for p in measured], "y"), "control": at == 0}
                for name, at in ends.items()
            ],
        },
    )


def _messages(measured: Sequence[Measurements]) -> FigureData:
    place = ("fig-beyond-messages", "heatmap", "Upward messages of a leaf's own ancestors")
    probed = [(p, p.grid) for p in measured if p.grid is not None]
    if not probed:
        return FigureData(*place, "", "", status="skipped", reason="too few distinct sequences for probes")
    (first, grid), panels = probed[0], [message_panel(p.label, p.run, found) for p, found in probed]
    return FigureData(
        *place,
        caption=f"Held-out R² of ridge probes on sequences masked as in training, about {grid.n_test:,} test sequences per run, "
        "mean over leaf positions. Random weights stand in hover and table.",
        alt="Heatmaps of held-out R², one per run: stages of the network in rows, depths of the ancestor in columns.",
        data=message_layout(first.run, grid) | {"panels": panels, "panel_columns": 2},
    )
