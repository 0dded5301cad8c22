"""Where do the models of every filter level look, and which levels do they need to tell apart?"""

from __future__ import annotations

from typing import Any

import numpy as np

from analyses.shared.attention_maps import by_head, head_names, map_layout, map_panels, mass_layout
from analyses.shared.tree_attention import merging_distances, merging_losses
from analyses.tree_levels.criteria import CRITERIA
from analyses.tree_levels.groups import Family
from mechbp.figures.intervals import points
from mechbp.methods.attention.patterns import mean_pattern
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import DECIMALS, estimate, panel
from mechbp.study import Study
from mechbp.theory.tree.attention import LevelMass, mass_by_level
from mechbp.theory.tree.oracle_distances import Lead, lead_of
from mechbp.theory.tree.static_patterns import StaticDistances


def study_looking(study: Study, family: Family) -> tuple[list[Claim], Section]:
    n = study.size(1000, 100)
    maps: list[np.ndarray] = []
    masses: list[LevelMass] = []
    controls: list[Interval] = []
    for run in family.runs:
        study.stage(f"{run.name}: attention")
        tokens = run.task.inputs(run.process, run.process.sample(n, study.rng(run.name, "attention")).tokens)
        patterns = mean_pattern(run.model, tokens, run.process.n_leaves)
        maps.append(patterns.mean)
        masses.append(mass_by_level(patterns, study.rng(run.name, "mass")))
        if not controls:  # the figure shows random weights once, on data of the first model
            control = mean_pattern(run.untrained(seed=1), tokens, run.process.n_leaves)
            controls.append(mass_by_level(control, study.rng(run.name, "control mass")).mass)
    figures = [_map_figure(family, maps, n), _mass_figure(family, [m.mass for m in masses], controls[0], masses[0].uniform, n)]
    text = [
        f"Patterns are means over {n:,} fully observed sequences of the model's own level, leaf to leaf. In data of level k, "
        f"leaves in different blocks of 2^({family.depth} - k) meet only at the root: the distance of two blocks tells nothing.",
    ]
    static = [merging_distances(study, run) for run in family.runs]
    losses = [merging_losses(study, run, found) for run, found in zip(family.runs, static, strict=True)]
    figures += [_merging_figure(family, losses), _oracle_figure(study, family, static)]
    needed = (
        "What a model needs to tell apart is asked causally: in all blocks at once, patterns are replaced by their average "
        "over pairs of leaves at the same level, with all levels beyond some level merged into one. What is left of the answers "
        "is told by the oracle that they are nearest to."
    )
    if family.task == "root":
        needed += " The row of the ROOT query, which gathers the answer, and what leaves send to it stay as they are."
    text.append(needed)
    title = f"{family.heading}: where every model looks"
    return [_merging_claim(study, family, losses, static)], Section(
        f"attention-{family.slug}", title, tuple(text), tuple(figures)
    )


def _map_figure(family: Family, maps: list[np.ndarray], n: int) -> FigureData:
    frames = []
    seen = set()
    for run, mean in zip(family.runs, maps, strict=True):
        level = run.config.process.filter_level
        if level in seen:  # one map per level, so that the slider means the same in every figure
            continue
        seen.add(level)
        frames.append({"name": f"k = {level}", "panels": map_panels(mean, 2)})
    alike = len({tuple(p["title"] for p in frame["panels"]) for frame in frames}) == 1
    data = map_layout(maps[0].shape[-1]) | {"frames": frames, "frame_title": "filter level"}
    common: dict[str, Any] = dict(
        id=f"fig-{family.slug}-maps",
        kind="heatmap",
        title=f"{family.heading}: mean attention, by filter level of the training data",
        caption=f"Attention from each query leaf (row) to each key leaf (column), mean over {n:,} sequences; rows sum to 1. The "
        "slider is shared by the maps of both tasks.",
        alt="Heatmaps of mean attention, query leaves in rows and key leaves in columns, one per block, with a slider over "
        "filter levels.",
    )
    if not alike:
        return FigureData(**common, status="skipped", reason="the runs differ in their number of blocks or heads")
    return FigureData(**common, data=data)


def _mass_figure(family: Family, masses: list[Interval], control: Interval, uniform: np.ndarray, n: int) -> FigureData:
    n_levels = masses[0].mean.shape[-1]

    def rows(interval: Interval) -> dict[str, Any]:
        heads = interval.mean.shape[:2]
        return {**panel("", interval[by_head(*heads)]), "rows": head_names(*heads)}

    panels = [rows(mass) | {"title": f"trained at {label}"} for label, mass in zip(family.labels, masses, strict=True)]
    first = head_names(*masses[0].mean.shape[:2])
    panels.append(rows(control) | {"title": f"random weights, data of {family.labels[0]}"})
    panels.append({"title": "uniform attention", "values": np.round(np.tile(uniform, (len(first), 1)), DECIMALS), "rows": first})
    return FigureData(
        id=f"fig-{family.slug}-mass",
        kind="heatmap",
        title=f"{family.heading}: attention mass by level of the lowest common ancestor",
        caption=f"Share of attention on the leaves at each level, mean over queries and {n:,} sequences; rows sum to 1. Blocks "
        f"of 2^({family.depth} - k) leaves end at level {family.depth} - k.",
        alt="Heatmaps of the share of attention, one per model and control: blocks of the network in rows, levels of the "
        "common ancestor in columns.",
        data=mass_layout(first, n_levels) | {"panels": panels, "panel_columns": 3},
    )


def _merging_figure(family: Family, losses: list[list[tuple[str, Interval, Interval]]]) -> FigureData:
    categories = [name for name, _, _ in losses[0]]
    place = "a hidden leaf" if family.task == "masked" else "the root"
    series = [
        {"name": f"trained at {label}", **points([loss for _, loss, _ in rows], "y"), "color": i}
        for i, (label, rows) in enumerate(zip(family.labels, losses, strict=True))
    ]
    return FigureData(
        id=f"fig-{family.slug}-merging",
        kind="bars",
        title=f"{family.heading}: which levels attention has to tell apart",
        caption=f"Increase of KL(BP_k || model) at {place} when the patterns of all blocks are replaced by their average by "
        "level, with levels beyond those named merged into one. `All levels` is the cost of a static pattern per level; "
        f"`none` is uniform attention, the control. n = {losses[0][0][1].n:,} sequences per model.",
        alt="Bars of the increase of divergence in nats by levels told apart, one for the model of every filter level.",
        data={
            "x_title": "levels told apart",
            "y_title": "increase of KL(BP_k || model) (nats)",
            "categories": categories,
            "series": series,
        },
    )


def _oracle_figure(study: Study, family: Family, static: list[StaticDistances]) -> FigureData:
    kinds = {"as it is": "unedited", "static, by level": "levels", "static, mean pattern": "mean", "uniform attention": None}
    panels = []
    for name, field in kinds.items():
        found = [s.by_level[-1] if field is None else getattr(s, field) for s in static]
        draw = study.rng(family.slug, "static oracles")
        panels.append(panel(name, Interval.stack([bootstrap_mean(d[:, 0], draw) for d in found], axis=0)))
    return FigureData(
        id=f"fig-{family.slug}-static-oracles",
        kind="heatmap",
        title=f"{family.heading}: which oracle is nearest once attention is static?",
        caption=f"Mean KL(BP_j || model), nats, n = {len(static[0].mean):,} sequences per model, the same in all panels; the "
        "patterns of all blocks are replaced. The smallest entry of a row is the nearest oracle. Colours end at 1 nat.",
        alt="Four heatmaps of divergence in nats, of models as they are, with two kinds of static attention, and with uniform "
        "attention: the training level in rows, the level of the oracle in columns.",
        data={
            "rows": family.labels,
            "columns": [f"BP_{j}" for j in range(family.depth + 1)],
            "row_title": "trained at",
            "column_title": "oracle",
            "value_title": "KL(BP_j || model) (nats)",
            "cell_text": True,
            "panels": panels,
            "panel_columns": 2,
            "range": [0, 1],
        },
    )


def _merging_claim(
    study: Study, family: Family, losses: list[list[tuple[str, Interval, Interval]]], static: list[StaticDistances]
) -> Claim:
    """With a static pattern per level a model stays nearest to its own oracle, with levels beyond depth - k merged too."""
    depth = family.depth
    lines = []
    names = ("static_lead_low", "free_lead_low", "levels_outside", "levels_inside", "spent_lead_high")
    numbers: dict[str, list[float | None]] = {name: [] for name in names}
    uniform = []
    for label, run, rows, found in zip(family.labels, family.runs, losses, static, strict=True):
        k = run.config.process.filter_level
        leads = {kept: lead_of(k, distances, study.rng(run.name, "leads", kept)) for kept, distances in found.by_level.items()}
        outside = max(k - 1, 0)  # two levels that are left alone together are told apart by nothing
        enough = min(depth - k, depth - 1)
        spent = leads[enough - 1] if enough else None  # without, every block is one leaf: no level inside is left to be merged
        as_it_is = lead_of(k, found.unedited, study.rng(run.name, "leads"))
        values = (
            leads[depth - 1].low,
            leads[enough].low if outside else None,
            outside,
            enough,
            None if spent is None else spent.high,
        )
        for name, value in zip(names, values, strict=True):
            numbers[name].append(None if value is None else float(value))
        uniform.append(f"{label} {_nearest(leads[-1])}")
        parts = [f"static {estimate(rows[-1][1], 3)}, nearest {_nearest(leads[depth - 1])}"]
        parts += [f"beyond {enough} merged: nearest {_nearest(leads[enough])}"] if outside else []
        parts += [f"beyond {enough - 1}: nearest {_nearest(spent)}"] if spent is not None else []
        lines.append(f"{label} (as it is: {_nearest(as_it_is)}): {'; '.join(parts)}")
    return CRITERIA.claim(
        "merging",
        id=f"{family.slug}-merging",
        statement=f"A {family.question} model trained at level k needs attention only to tell apart the levels inside its blocks "
        f"of 2^({depth} - k) leaves: with a static pattern per level it still answers like BP_k and no other oracle, with the "
        "levels beyond merged too, and with one more merged it answers like another.",
        reference="the paper: attention forms blocks of about 2^(l - k) leaves",
        measured="nats lost by a static pattern per level, and the nearest oracle by KL(BP_j || model) and KL(model || BP_j)\n"
        + "\n".join(lines)
        + f"\nn = {losses[0][0][1].n:,} sequences",
        control="uniform attention, nearest: " + ", ".join(uniform),
        numbers=numbers,
        figure=f"fig-{family.slug}-static-oracles",
    )


def _nearest(lead: Lead) -> str:
    """The oracle nearest by either direction of KL."""
    return " and ".join(f"BP_{k}" for k in dict.fromkeys(lead.nearest))
