"""Which ancestors can be read from the models of every filter level?"""

from __future__ import annotations

import numpy as np

from analyses.shared.probe_maps import OUTPUTS, hook_label, probe_layout
from analyses.tree_levels.criteria import CRITERIA
from analyses.tree_levels.groups import Family
from analyses.tree_levels.messages import message_figure
from mechbp.errors import InputError, TooFewSequences
from mechbp.methods.probing.grid import ProbeGrid
from mechbp.methods.probing.probe import probe
from mechbp.methods.statistics.intervals import Interval
from mechbp.models.tasks.tree import TREE
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import DECIMALS, panel, reason
from mechbp.study import Study
from mechbp.theory.tree.block_ceilings import block_ceilings
from mechbp.theory.tree.leaves import own_nodes


def study_ancestors(study: Study, family: Family) -> tuple[list[Claim], Section]:
    place = (f"ancestors-{family.slug}", f"{family.heading}: which ancestors can be read")
    tree = family.trees[0]
    sample = tree.sample(study.size(4000, 240), study.rng(family.slug, "ancestors"))
    inputs = TREE.tasks[family.task].inputs(tree, sample.tokens)
    targets = {f"symbol {d}": sample.nodes[d] for d in range(tree.depth)}
    grids = []
    for run in family.runs:
        study.stage(f"{run.name}: ancestors")
        first = not grids  # one architecture and one set of sequences: the controls are the same for all runs
        try:
            grid = probe(
                run.model, inputs, targets, OUTPUTS, rng=study.rng(family.slug, "probe"),
                own=own_nodes(targets, tree.n_leaves, inputs.shape[1]), only_own=True,
                control_model=run.untrained(seed=1) if first else None, controls=("tokens",) if first else (),
            )  # fmt: skip
        except TooFewSequences as error:
            return [], Section(*place, (), (), "skipped", reason(error))
        grids.append(grid)
    text = (
        "All models read the same unmasked sequences of filter level 0, the only data in which every ancestor exists. Logistic "
        "probes, one per position, name the symbol of a leaf's own ancestor; fitted on "
        f"{grids[0].n_train:,} sequences and scored on {grids[0].n_test:,} others.",
        "A model trained at level k has never seen the grammar act above depth k. Higher ancestors can still be guessed from "
        f"what the model keeps: a block of 2^({tree.depth} - k) leaves tells something of them, and so does a random mixture of "
        "all leaves, as the random weights show.",
    )
    figures = (_figure(family, grids), message_figure(study, family))
    return [_claim(family, grids)], Section(*place, text, figures)


def _reference(family: Family) -> np.ndarray | None:
    """Closed-form accuracy [block height, depth]; None where the grammar is ambiguous."""
    try:
        return block_ceilings(family.trees[0])
    except InputError:
        return None


def _accuracies(grid: ProbeGrid, depth: int, source: str = "model") -> Interval:
    return Interval.stack([grid.own_mean("accuracy", f"symbol {d}", source) for d in range(depth)], axis=1)


def _figure(family: Family, grids: list[ProbeGrid]) -> FigureData:
    depth = family.depth
    panels = [
        panel(f"trained at {label}", _accuracies(grid, depth)) | {"rows": [hook_label(hook) for hook in grid.hooks]}
        for label, grid in zip(family.labels, grids, strict=True)
    ]
    rows = panels[0]["rows"]
    panels.append(panel("random weights", _accuracies(grids[0], depth, "random_init")) | {"rows": rows})
    panels.append(panel("token alone", _accuracies(grids[0], depth, "tokens")) | {"rows": rows})
    reference = _reference(family)
    if reference is not None:
        rows_of_k = [f"k = {k}" for k in range(depth + 1)]
        panels.append({"title": "what a block tells", "rows": rows_of_k, "values": np.round(reference[::-1, :depth], DECIMALS)})
    return FigureData(
        id=f"fig-{family.slug}-ancestors",
        kind="heatmap",
        title=f"{family.heading}: symbols of a leaf's own ancestors",
        caption=f"Held-out accuracy of logistic probes on data of filter level 0, n = {grids[0].n_test:,} test sequences, mean "
        f"over leaf positions. Last panel: the best accuracy from the leaf's aligned block of 2^({depth} - k) leaves alone.",
        alt="Heatmaps of probe accuracy, one for each model and its controls: stages of the network in rows, depths of the "
        "ancestor in columns.",
        data=probe_layout(grids[0].hooks, range(depth), depth, "accuracy") | {"panels": panels, "panel_columns": 4},
    )


def _claim(family: Family, grids: list[ProbeGrid]) -> Claim:
    """Ancestors at depth >= k are recovered at some stage, higher ones at none."""
    depth = family.depth
    reference = _reference(family)
    lines = []
    levels = [run.config.process.filter_level for run in family.runs]
    inside: list[float | None] = []
    above: list[float | None] = []
    for label, k, grid in zip(family.labels, levels, grids, strict=True):
        best = _accuracies(grid, depth).mean.max(axis=0)
        inside.append(float(best[k:].min()) if k < depth else None)
        above.append(float(best[:k].max()) if k else None)
        parts = [f"depth ≥ {k}: {best[k:].min():.2f} or more"] if k < depth else []
        if k:
            told = "" if reference is None else f" ({reference[depth - k, best[:k].argmax()]:.2f} from the block)"
            parts.append(f"above: {best[:k].max():.2f} at most{told}")
        lines.append(f"{label}: {', '.join(parts)}")
    random = _accuracies(grids[0], depth, "random_init").mean.max(axis=0)
    bounds = CRITERIA["ancestors"].bounds
    readable = bounds["readable"]
    return CRITERIA.claim(
        "ancestors",
        id=f"{family.slug}-ancestors",
        statement=f"From a {family.question} model trained at level k just the ancestors at depth k and below are recovered: "
        f"accuracy {readable} or more at some stage, below {readable - bounds['margin']:g} for higher ones.",
        reference="the paper: only ancestors at depth ≥ k are recovered",
        measured="best accuracy over stages\n" + "\n".join(lines) + f"\nn = {grids[0].n_test:,} held-out sequences",
        control="random weights, from the root down: " + ", ".join(f"{value:.2f}" for value in random),
        numbers={"own_level": levels, "depth": depth, "lowest_inside": inside, "highest_above": above},
        figure=f"fig-{family.slug}-ancestors",
    )
