"""The figures of the page: answers of all runs, then mechanism, group by group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from analyses.shared.attention_maps import by_head, head_names, map_layout, map_panels, mass_layout
from analyses.shared.tree_probes import message_layout, message_panel
from analyses.tree_paper.claims import above_leaf
from analyses.tree_paper.groups import Group
from analyses.tree_paper.looking import CONSTRUCTION, RELABELLED, merged_name
from analyses.tree_paper.measurements import Measured
from analyses.tree_paper.messages import LEACE, LEARNED, MEANS, PLACEBO, SHUFFLED
from analyses.tree_paper.token import FAILURES, better_by
from mechbp.figures.intervals import points
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.report.document import FigureData
from mechbp.report.parts import DECIMALS, panel
from mechbp.study import Study


def divergence_figure(measured: Sequence[Measured]) -> FigureData:
    levels = max(len(m.answers.oracle_to_model_nats.mean) for m in measured)

    def table(field: str) -> Interval:
        return Interval.stack([_padded(getattr(m.answers, field), levels) for m in measured], axis=0)

    return FigureData(
        id="fig-divergence",
        kind="heatmap",
        title="How far every model is from every oracle, on its own data",
        caption="Mean KL in both directions, nats, with 95 % intervals over sequences in hover and table. Zeros of an oracle are "
        "raised to 1e-12, so that KL(model || BP_0) and KL(model || BP_1) at the root are set by how sure the model is.",
        alt="Two heat maps of mean divergence in nats: models in rows, oracles in columns.",
        data={
            "rows": [m.run.name for m in measured],
            "columns": [f"BP_{k}" for k in range(levels)],
            "row_title": "model",
            "column_title": "oracle",
            "value_title": "nats",
            "cell_text": True,
            "panels": [
                panel("KL(BP_k || model)", table("oracle_to_model_nats")),
                panel("KL(model || BP_k)", table("model_to_oracle_nats")),
            ],
        },
    )


def accuracy_figure(measured: Sequence[Measured]) -> FigureData:
    levels = max(len(m.answers.accuracy.mean) for m in measured)

    def table(field: str) -> Interval:
        return Interval.stack([_padded(getattr(m.answers, field), levels) for m in measured], axis=0)

    return FigureData(
        id="fig-accuracy",
        kind="heatmap",
        title="Accuracy on data of every filter level, beside the oracle of the training data",
        caption="Expected accuracy under the exact posterior of the data. Right: BP of the model's own level, matched or not, on "
        "the same sequences.",
        alt="Two heat maps of accuracy, of models and of their oracles: models in rows, level of the data in columns.",
        data={
            "rows": [m.run.name for m in measured],
            "columns": [f"k = {k}" for k in range(levels)],
            "row_title": "model",
            "column_title": "data",
            "value_title": "accuracy",
            "range": [0, 1],
            "cell_text": True,
            "panels": [panel("models", table("accuracy")), panel("BP of the model's level", table("oracle_accuracy"))],
        },
    )


def token_figure(study: Study, without: Measured, twin: Measured) -> FigureData:
    found = {key: better_by(study, without, twin, key) for key in FAILURES}
    series = [{"name": key, "categories": list(parts), "values": list(parts.values())} for key, parts in found.items() if parts]
    categories = [f"{part['name']}, {name}" for part in series for name in part["categories"]]
    values = [value for part in series for value in part["values"]]
    return FigureData(
        id="fig-token",
        kind="dots",
        title=f"By how much {without.run.name} is better than {twin.run.name}, which has a ROOT token",
        caption="Paired differences with 95 % intervals; right of 0 the model without the token is better. Used: share beyond "
        "deletion, conditional means. Necessary, static and construction: nats of divergence from the exact answer.",
        alt="Differences between two models, one row per test.",
        data={
            "x_title": "better without the token (share or nats)",
            "categories": categories,
            "series": [{"name": "difference", **points(values, "x")}],
            "references": [{"name": "no difference", "x": 0}],
        },
    )


def mechanism_figures(study: Study, group: Group, measured: Sequence[Measured]) -> list[FigureData]:
    """Return the figures of one group."""
    found = [_maps_figure(group, measured), _mass_figure(group, measured)]
    tested = [m for m in measured if m.messages]
    if tested:
        found += [_written_figure(study, group, tested), _erased_figure(study, group, tested)]
        found += [_replaced_figure(study, group, tested), _followed_figure(study, group, tested)]
    probed = [m for m in measured if m.probes is not None]
    if probed:
        found.append(_probe_figure(group, probed))
    return found


def _maps_figure(group: Group, measured: Sequence[Measured]) -> FigureData:
    frames = [{"name": m.run.name, "panels": map_panels(m.looking.mean, 2)} for m in measured]
    common: dict[str, Any] = dict(
        id=f"fig-{group.slug}-maps",
        kind="heatmap",
        title=f"{group.heading}: mean attention",
        caption="Attention from each query leaf (row) to each key leaf (column), mean over sequences; a ROOT token is left out "
        "and rows are made to sum to 1.",
        alt="Heat maps of mean attention, one per block, with a slider over models.",
    )
    if len({tuple(panel["title"] for panel in frame["panels"]) for frame in frames}) > 1:
        return FigureData(**common, status="skipped", reason="the runs differ in their number of blocks or heads")
    return FigureData(**common, data=map_layout(measured[0].looking.mean.shape[-1]) | {"frames": frames, "frame_title": "model"})


def _mass_figure(group: Group, measured: Sequence[Measured]) -> FigureData:
    def rows(mass: Interval) -> dict:
        heads = mass.mean.shape[:2]
        return {**panel("", mass[by_head(*heads)]), "rows": head_names(*heads)}

    first = measured[0].looking.mass.mass
    panels = [rows(m.looking.mass.mass) | {"title": m.run.name} for m in measured]
    panels.append(rows(measured[0].looking.control.mass) | {"title": f"random weights of {measured[0].run.name}"})
    return FigureData(
        id=f"fig-{group.slug}-mass",
        kind="heatmap",
        title=f"{group.heading}: attention by level of the common ancestor",
        caption=f"Share of attention on the leaves at each level, mean over queries and {first.n:,} sequences; rows sum to 1. "
        "The construction's block m looks m levels up and nowhere else.",
        alt="Heat maps of the share of attention: blocks in rows, levels in columns, one per model and for random weights.",
        data=mass_layout(head_names(*first.mean.shape[:2]), first.mean.shape[-1]) | {"panels": panels, "panel_columns": 2},
    )


def _written_figure(study: Study, group: Group, measured: Sequence[Measured]) -> FigureData:
    depths = sorted({test.depth for m in measured for test in m.messages}, reverse=True)
    series = []
    for m in measured:
        learned = all(test.learned for test in m.messages)
        for edit in (MEANS, *((LEARNED,) if learned else ()), SHUFFLED):
            values = [m.at_depth(depth) for depth in depths]
            shares = [_nothing() if test is None else test.beyond(study, edit) for test in values]
            series.append({"name": f"{m.run.name}, {edit}", **points(shares, "x"), "control": edit == SHUFFLED})
    return FigureData(
        id=f"fig-{group.slug}-written",
        kind="dots",
        title=f"{group.heading}: writing a message where the construction has it",
        caption="Share of the way beyond deletion, with 95 % intervals over pairs (of learned subspaces over pairs and refits): "
        "1 is the exact answer with the source's message, 0 what exact inference says without any message. Hollow: conditional "
        "means of messages shuffled over sequences.",
        alt="Share beyond deletion by level above the leaf, for every model and subspace.",
        data={
            "x_title": "share beyond deletion",
            "categories": [above_leaf(measured[0], depth) for depth in depths],
            "series": series,
            "references": [{"name": "message lost", "x": 0}],
        },
    )


def _erased_figure(study: Study, group: Group, measured: Sequence[Measured]) -> FigureData:
    depths = sorted({test.depth for m in measured for test in m.messages}, reverse=True)
    series = []
    for m in measured:
        for edit in (LEACE, LEACE + PLACEBO):
            tests = [m.at_depth(depth) for depth in depths]
            values = [_nothing() if test is None else test.obeyed(study, edit) for test in tests]
            name = f"{m.run.name}, {'erased' if edit == LEACE else 'random change'}"
            series.append({"name": name, **points(values, "x"), "control": edit != LEACE})
    return FigureData(
        id=f"fig-{group.slug}-erased",
        kind="dots",
        title=f"{group.heading}: erasing a message where the construction has it",
        caption="KL to exact inference with the message minus KL to exact inference without it, nats, with 95 % intervals over "
        "pairs. Right of 0 the model answers as if it lacked the message. Hollow: a random change of equal norm.",
        alt="Difference of divergences in nats by level above the leaf, for every model, erased and randomly changed.",
        data={
            "x_title": "nearer to BP without the message (nats)",
            "categories": [above_leaf(measured[0], depth) for depth in depths],
            "series": series,
            "references": [{"name": "as near to both", "x": 0}],
        },
    )


def _replaced_figure(study: Study, group: Group, measured: Sequence[Measured]) -> FigureData:
    names = [name for name in measured[0].looking.answers if name]
    series = []
    for m in measured:
        values = [
            bootstrap_mean(m.looking.loss(name), study.rng("loss", name)) if name in m.looking.answers else _nothing()
            for name in names
        ]
        series.append({"name": m.run.name, **points(values, "y")})
    return FigureData(
        id=f"fig-{group.slug}-replaced",
        kind="bars",
        title=f"{group.heading}: what static attention costs",
        caption="Increase of KL(BP || model), nats, with 95 % intervals, when the patterns of all blocks are replaced: by their "
        "average over pairs of leaves at the same level, levels beyond those named merged into one; by the construction's "
        "pattern, or that with its leaves relabelled; by uniform attention.",
        alt="Bars of the increase of divergence in nats by replacement, one per model.",
        data={"y_title": "increase of KL(BP || model) (nats)", "categories": names, "series": series},
    )


def _followed_figure(study: Study, group: Group, measured: Sequence[Measured]) -> FigureData:
    depth = measured[0].run.process.depth
    labels = {"": "unedited", merged_name(depth - 1): "one pattern per level", CONSTRUCTION: CONSTRUCTION, RELABELLED: RELABELLED}
    rows, there, back = [], [], []
    for m in measured:
        for name, label in labels.items():
            if name not in m.looking.answers:
                continue
            found = m.looking.followed(study, name)
            rows.append(f"{m.run.name}, {label}")
            there.append(found.oracle_to_answers_nats)
            back.append(found.answers_to_oracle_nats)
    return FigureData(
        id=f"fig-{group.slug}-followed",
        kind="heatmap",
        title=f"{group.heading}: which oracle a model follows with static attention",
        caption="Mean KL in both directions, nats, of the answers after the patterns of all blocks are replaced. Zeros of an "
        "oracle are raised to 1e-12.",
        alt="Heat maps of divergences in nats: models and replacements in rows, oracles in columns.",
        data={
            "rows": rows,
            "columns": [f"BP_{k}" for k in measured[0].looking.oracles],
            "row_title": "model and patterns",
            "column_title": "oracle",
            "value_title": "nats",
            "cell_text": True,
            "panel_columns": 1,
            "panels": [
                panel("KL(BP_k || model)", Interval.stack(there, axis=0)),
                panel("KL(model || BP_k)", Interval.stack(back, axis=0)),
            ],
        },
    )


def _probe_figure(group: Group, measured: Sequence[Measured]) -> FigureData:
    grids = [(m, m.probes) for m in measured if m.probes is not None]
    return FigureData(
        id=f"fig-{group.slug}-probes",
        kind="heatmap",
        title=f"{group.heading}: upward messages of a leaf's own ancestors, read by linear probes",
        caption=f"Held-out R² of ridge probes, n = {grids[0][1].n_test:,} test sequences, mean over leaf positions. Random "
        "weights stand in hover and table.",
        alt="Heat maps of R²: stages in rows, depth of the ancestor in columns, one per model.",
        data=message_layout(grids[0][0].run, grids[0][1])
        | {"panels": [message_panel(m.run.name, m.run, grid) for m, grid in grids], "panel_columns": 2},
    )


def _nothing() -> Interval:
    nan = np.array(np.nan)
    return Interval(nan, nan, nan, 0)


def _padded(interval: Interval, size: int) -> Interval:
    """The interval with NaN for the levels that a shallower tree does not have."""

    def pad(end: np.ndarray) -> np.ndarray:
        return np.append(np.round(end, DECIMALS + 1), np.full(size - len(end), np.nan))

    return Interval(pad(interval.mean), pad(interval.low), pad(interval.high), interval.n)
