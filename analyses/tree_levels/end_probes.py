"""Is an ancestor written alike at every leaf? Probes fitted on the first and last token, tested on all."""

from __future__ import annotations

import numpy as np

from analyses.shared.probe_maps import OUTPUTS, probe_layout
from analyses.tree_levels.criteria import CRITERIA
from analyses.tree_levels.groups import Family
from mechbp.errors import TooFewSequences
from mechbp.models.tasks.tree import TREE
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import panel, reason
from mechbp.study import Study
from mechbp.theory.tree.shared_probe import SharedProbe, shared_probe


def study_first_and_last(study: Study, family: Family) -> tuple[list[Claim], Section]:
    """Compare shared probes fitted at the two ends with those fitted at all leaves, in the model of the lowest level."""
    run = family.runs[0]
    tree = family.trees[0]
    place = (f"ends-{family.slug}", f"{family.heading}: one probe for all leaves")
    study.stage(f"{run.name}: first and last token")
    sample = tree.sample(study.size(2000, 300), study.rng(family.slug, "ends"))
    inputs, symbols = (
        TREE.tasks[family.task].inputs(tree, sample.tokens),
        {f"symbol {d}": sample.nodes[d] for d in range(tree.depth)},
    )
    every = range(tree.n_leaves)
    ends = (0, tree.n_leaves - 1)

    def read(model, positions) -> SharedProbe:
        return shared_probe(
            model,
            inputs,
            symbols,
            OUTPUTS,
            positions=positions,
            n_leaves=tree.n_leaves,
            rng=study.rng(family.slug, "ends", "probe"),
        )

    try:
        at_all = read(run.model, every)
        at_ends = read(run.model, ends)
        random = read(run.untrained(seed=1), every)
    except TooFewSequences as error:
        return [], Section(*place, (), (), "skipped", reason(error))
    text = (
        f"One classifier per stage and depth serves all leaves of `{run.name}`: it sees an activation and not where it stands. "
        "Fitted on all leaves it asks whether an ancestor is written in the same directions everywhere; fitted on the first and "
        "last leaf alone, whether two positions tell those directions.",
    )
    panels = [
        panel("fitted on all leaves", at_all.accuracy),
        panel("on the first and last", at_ends.accuracy),
        panel("random weights, all leaves", random.accuracy),
    ]
    figure = FigureData(
        id=f"fig-{family.slug}-ends",
        kind="heatmap",
        title=f"{family.heading}: own ancestors read by one probe for all leaves",
        caption=f"Held-out accuracy, mean over all {tree.n_leaves} leaves, of logistic classifiers shared by all positions; "
        f"fitted on {at_all.n_train:,} sequences, n = {at_all.n_test:,} others, unmasked data of filter level 0.",
        alt="Three heatmaps of probe accuracy, fitted on all leaves, on two, and for random weights: stages in rows, depths "
        "of the ancestor in columns.",
        data=probe_layout(at_all.hooks, range(tree.depth), tree.depth, "accuracy") | {"panels": panels},
    )
    return [_claim(family, at_all, at_ends, random)], Section(*place, text, (figure,))


def _claim(family: Family, at_all: SharedProbe, at_ends: SharedProbe, random: SharedProbe) -> Claim:
    """An ancestor becomes readable at the block where the accuracy of its probe rises most."""
    whole, ends, floor = (found.accuracy.mean for found in (at_all, at_ends, random))
    block_of_all, block_of_ends = (np.diff(found, axis=0).argmax(axis=0) + 1 for found in (whole, ends))
    loss = whole.max(axis=0) - ends.max(axis=0)
    rows = {"all leaves": (whole, block_of_all), "first and last": (ends, block_of_ends)}
    lines = [
        f"{name}: " + ", ".join(f"{best:.2f} (block {block})" for best, block in zip(found.max(axis=0), blocks, strict=True))
        for name, (found, blocks) in rows.items()
    ]
    return CRITERIA.claim(
        "ends",
        id=f"{family.slug}-ends",
        statement="Probes fitted on the first and last leaf alone lose some accuracy on all leaves, but each ancestor becomes "
        "readable to them at the same block.",
        reference="the paper: some loss, the order of layers stays",
        measured="best accuracy, and block of the steepest rise, from the root down\n"
        + "\n".join(lines)
        + f"\nloss {loss.min():.2f} to {loss.max():.2f}, n = {at_all.n_test:,} sequences",
        control="random weights, best: " + ", ".join(f"{value:.2f}" for value in floor.max(axis=0)),
        numbers={
            "block_of_all": block_of_all,
            "block_of_ends": block_of_ends,
            "best_of_ends": ends.max(axis=0),
            "best_of_random": floor.max(axis=0),
        },
        figure=f"fig-{family.slug}-ends",
    )
