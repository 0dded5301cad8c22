"""Accuracy and distance to exact inference against the size of the training set, for models of every filter level."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analyses.tree_samples.criteria import CRITERIA
from analyses.tree_samples.curves import REACHED, Curve, accuracy_layout, fewest_seeds, seeds_text
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section


def study_levels(curves: list[Curve], n: int, notes: Sequence[str]) -> tuple[list[Claim], list[Section]]:
    """Draw the curves of every filter level and hold them against each other; `notes` tell how their runs differ otherwise."""
    text = (
        "Each set of sequences with their roots is drawn once, and shown in a new order every epoch. Training stops early: once "
        "the steps are a multiple, in the recipe, of those of the lowest cross-entropy on 512 further sequences, whose weights "
        "are kept.",
        *notes,
        "The paper trains for 200 epochs at a constant rate, reads the root from all final tokens and uses a wider post-norm "
        "encoder, so sizes compare in order, not in number.",
    )
    accuracy = FigureData(
        id="fig-samples-levels",
        kind="lines",
        title="Root accuracy against the size of the training set",
        caption=f"Expected accuracy on {n:,} unseen sequences of the model's own filter level; line: mean over seeds (weights "
        f"and training set), band: lowest and highest; {seeds_text(curves)}. Standard error over test sequences at most "
        f"{max(c.error for c in curves):.3f}.",
        alt="Lines of root accuracy with bands over seeds against the size of the training set, one per filter level, and "
        "BP's accuracies.",
        data=accuracy_layout(
            [curve.series(curve.accuracy, color=i) for i, curve in enumerate(curves)],
            [{"name": f"BP, {curve.name}", "y": curve.best} for curve in curves],
        ),
    )
    lines = []
    for i, curve in enumerate(curves):
        lines.append(curve.series(np.maximum(curve.kl, 1e-4), color=i) | {"name": f"{curve.name}, own data"})
        lines.append(curve.series(np.maximum(curve.kl_uniform, 1e-4), color=i, dash="dash") | {"name": f"{curve.name}, uniform"})
    divergence = FigureData(
        id="fig-samples-divergence",
        kind="lines",
        title="Distance to exact inference against the size of the training set",
        caption="Mean KL(BP || model), nats, on unseen sequences of the model's own filter level and on uniformly random ones; "
        "bands from the lowest to the highest seed.",
        alt="Lines of divergence in nats with bands over seeds against the size of the training set, two per filter level: "
        "own data and uniform sequences.",
        data={
            "x_title": "training sequences",
            "x_log": True,
            "y_title": "KL(BP || model) (nats)",
            "y_log": True,
            "series": lines,
        },
    )
    claims = [_optimum_claim(curves, n)]
    if len(curves) > 1:
        claims.append(_order_claim(curves, n))
    sections = [Section("levels", "Filter levels", text, (accuracy, divergence))]
    return claims, sections


def _optimum_claim(curves: list[Curve], n: int) -> Claim:
    lines = [
        f"{c.name}: {c.accuracy_text(c.sizes[-1])} at {c.sizes[-1]:,}, BP {c.best:.3f}, KL {np.nanmean(c.kl[-1]):.3f} nats; "
        f"needed {c.needed_text()}"
        for c in curves
    ]
    return CRITERIA.claim(
        "optimum",
        id="samples-optimum",
        statement=f"From enough sequences a root model becomes the oracle of its own filter level: {100 * REACHED:g} % of the "
        "way from always naming the likeliest root to exact inference.",
        reference="the paper: BP_k's accuracy is reached at large P for every k",
        measured="\n".join([*lines, _sampled(curves, n)]),
        control=f"at {curves[0].sizes[0]:,} sequences: " + ", ".join(f"{c.name} {c.mean[0]:.2f}" for c in curves),
        numbers={"lowest_share": [curve.lowest_share() for curve in curves], "fewest_seeds": fewest_seeds(curves)},
        figure="fig-samples-levels",
    )


def _order_claim(curves: list[Curve], n: int) -> Claim:
    """Every seed of every other level is held against every seed of the whole tree, and mean against mean.

    A level that its largest set does not take to the optimum needs more than that set.
    """
    unfiltered = curves[0]
    others = curves[1:]
    first = (unfiltered.needed_by_seed() or (None,))[-1]
    later = [(curve.needed_by_seed() or (None,))[0] for curve in others]
    on_average = [curve.needed() for curve in others]
    share = {c.name: (c.mean - c.chance) / (c.best - c.chance) for c in curves}
    return CRITERIA.claim(
        "order",
        id="samples-order",
        statement="Data whose top levels are filtered out need more training sequences than the whole tree.",
        reference="the paper: intermediate filter levels need more data than k = 0",
        measured="share of the way to the optimum at "
        + ", ".join(f"{size:,}" for size in unfiltered.sizes)
        + "\n"
        + "\n".join(
            f"{c.name}: " + ", ".join(f"{value:.2f}" for value in share[c.name]) + f"; needed {c.needed_text()}" for c in curves
        )
        + "\n"
        + _sampled(curves, n),
        control=f"always naming the likeliest root: {unfiltered.chance:.2f}, share 0",
        numbers={
            "most_first": first,
            "fewest_later": later,
            "never_later": [at is None for at in later],
            "mean_first": unfiltered.needed(),
            "mean_later": on_average,
            "mean_never": [at is None for at in on_average],
            "largest_later": [curve.sizes[-1] for curve in others],
            "fewest_seeds": fewest_seeds(curves),
        },
        figure="fig-samples-levels",
    )


def _sampled(curves: Sequence[Curve], n: int) -> str:
    error = max(curve.error for curve in curves)
    return f"n = {n:,} test sequences, standard error at most {error:.3f}; {seeds_text(curves)}, lowest to highest in brackets"
