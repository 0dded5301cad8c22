"""Where do the models of every filter level look, and which levels do they need to tell apart?"""

from __future__ import annotations

from typing import Any

import numpy as np

from analyses.shared.attention_maps import by_head, head_names, map_layout, map_panels, mass_layout
from analyses.shared.tree_attention import merging_losses
from analyses.tree_levels.criteria import CRITERIA
from analyses.tree_levels.groups import Family
from mechbp.methods.attention.patterns import mean_pattern
from mechbp.methods.statistics.intervals import Interval
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import DECIMALS, estimate, panel, points
from mechbp.study import Study
from mechbp.theory.tree.attention import LevelMass, mass_by_level


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
    losses = [merging_losses(study, run) for run in family.runs]
    figures.append(_merging_figure(family, losses))
    needed = (
        "What a model needs to tell apart is asked causally: in all blocks at once, patterns are replaced by their average "
        "over pairs of leaves at the same level, with all levels beyond some level merged into one."
    )
    if family.task == "root":
        needed += " The row of the ROOT query, which gathers the answer, and what leaves send to it stay as they are."
    text.append(needed)
    title = f"{family.heading}: where every model looks"
    return [_merging_claim(family, losses)], Section(f"attention-{family.slug}", title, tuple(text), tuple(figures))


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


def _merging_claim(family: Family, losses: list[list[tuple[str, Interval, Interval]]]) -> Claim:
    """At level k a static pattern per level keeps the answer; merging all levels beyond depth - k costs nothing more."""
    depth = family.depth
    lines = []
    names = ("static_high", "uniform_low", "free_high", "levels_inside", "spent_low")
    numbers: dict[str, list[float | None]] = {name: [] for name in names}
    uniform = []
    for label, run, rows in zip(family.labels, family.runs, losses, strict=True):
        k = run.config.process.filter_level
        by_kept = {kept: extra for kept, (_, _, extra) in zip(range(-1, depth), rows, strict=True)}
        enough = min(depth - k, depth - 1)
        free = by_kept[enough]
        spent = by_kept[enough - 1] if enough else None  # without, every block is one leaf: no level inside is left to be merged
        static = rows[-1][1]
        without = rows[0][1]
        found = (static.high, without.low, free.high, enough, None if spent is None else spent.low)
        for name, value in zip(names, found, strict=True):
            numbers[name].append(None if value is None else float(value))
        uniform.append(f"{round(float(without.mean), 2) + 0.0:.2f}")
        parts = [f"static {estimate(static, 3)}"]
        parts += [f"beyond {enough}: {estimate(free, 3)}"] if enough < depth - 1 else []
        parts += [f"beyond {enough - 1}: {estimate(spent, 3)}"] if spent is not None else []
        lines.append(f"{label}, {', '.join(parts)}")
    return CRITERIA.claim(
        "merging",
        id=f"{family.slug}-merging",
        statement=f"A {family.question} model trained at level k needs to tell apart the levels inside its blocks of "
        f"2^({depth} - k) leaves and no others: a static pattern per level keeps its answers, merging the levels beyond costs "
        "nothing more, merging one more does.",
        reference="the paper: attention forms blocks of about 2^(l - k) leaves",
        measured="nats lost by a static pattern per level, and beyond that by merging levels\n"
        + "\n".join(lines)
        + f"\nn = {losses[0][0][1].n:,} sequences",
        control="uniform attention, nats: " + ", ".join(uniform),
        numbers=numbers,
        figure=f"fig-{family.slug}-merging",
    )
