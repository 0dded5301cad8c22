"""Accuracy and distance to exact inference against the size of the training set, for models of every filter level."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analyses.samples.curves import Curve
from mechbp.report.document import Claim, FigureData, Section


def study_levels(curves: list[Curve], n: int, at_limit: Sequence[str]) -> tuple[list[Claim], list[Section]]:
    """Draw the curves of every filter level and hold them against each other; `at_limit` names runs whose last step was best."""
    text = (
        "Each set of sequences with their roots is drawn once, and shown in a new order every epoch. Training stops early: once "
        "the steps are twice those (where the recipe says so, more) of the lowest cross-entropy on 512 further sequences, whose "
        "weights are kept. Runs that were "
        f"still improving at their last step, so that more training might help: {', '.join(at_limit) or 'none'}.",
        "The paper trains for 200 epochs at a constant rate, reads the root from all final tokens and uses a wider post-norm "
        "encoder, so sizes compare in order, not in number.",
    )
    common = {"x_title": "training sequences", "x_log": True}
    accuracy = FigureData(
        id="fig-samples-levels",
        kind="lines",
        title="Root accuracy against the size of the training set",
        caption=f"Expected accuracy on {n:,} unseen sequences of the model's own filter level; line: mean over seeds (weights "
        "and training set), band: lowest and highest. Standard error over test sequences at most "
        f"{max(c.error for c in curves):.3f}.",
        alt="Accuracy rises with the size of the training set towards that of exact inference.",
        data={
            **common,
            "y_title": "root accuracy",
            "y_range": [0.2, 1.02],
            "series": [curve.series(curve.accuracy, color=i) for i, curve in enumerate(curves)],
            "references": [{"name": f"BP, {curve.name}", "y": curve.best} for curve in curves],
        },
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
        alt="The distance falls with the size of the training set on both kinds of sequences.",
        data={**common, "y_title": "KL(BP || model) (nats)", "y_log": True, "series": lines},
    )
    claims = [_optimum_claim(curves, n)]
    if len(curves) > 1:
        claims.append(_order_claim(curves, n))
    sections = [Section("levels", "Filter levels", text, (accuracy, divergence))]
    return claims, sections


def _needed(curve: Curve) -> str:
    at = curve.needed()
    return f"more than {curve.sizes[-1]:,}" if at is None else f"{at:,.0f}"


def _seeds(curves: list[Curve]) -> str:
    """How many seeds the sizes have; later sizes may have fewer."""
    counts = [int(n) for curve in curves for n in np.isfinite(curve.accuracy).sum(axis=1)]
    few, many = min(counts), max(counts)
    return f"{many} seed{'s' * (many > 1)}" if few == many else f"{few} to {many} seeds per size"


def _optimum_claim(curves: list[Curve], n: int) -> Claim:
    right = [curve.needed() is not None for curve in curves]
    lines = [
        f"{c.name}: {c.mean[-1]:.3f} at {c.sizes[-1]:,} (BP {c.best:.3f}), KL {np.nanmean(c.kl[-1]):.3f} nats; "
        f"needed {_needed(c)}"
        for c in curves
    ]
    return Claim(
        id="samples-optimum",
        statement="From enough sequences a root model becomes the oracle of its own filter level: 95 % of the way from always "
        "naming the likeliest root to exact inference.",
        reference="the paper: BP_k's accuracy is reached at large P for every k",
        measured="\n".join([*lines, f"n = {n:,} test sequences, {_seeds(curves)}"]),
        control=f"at {curves[0].sizes[0]:,} sequences: " + ", ".join(f"{c.name} {c.mean[0]:.2f}" for c in curves),
        verdict="holds" if all(right) else "partly" if any(right) else "fails",
        figure="fig-samples-levels",
    )


def _order_claim(curves: list[Curve], n: int) -> Claim:
    unfiltered, others = curves[0], curves[1:]
    first = unfiltered.needed()
    later = [curve.needed() for curve in others]
    share = {c.name: (c.mean - c.chance) / (c.best - c.chance) for c in curves}
    # A level that its largest set does not take to the optimum needs more than that set, which may not be more than `first`.
    known = [first is not None and (at is not None or curve.sizes[-1] >= first) for at, curve in zip(later, others, strict=True)]
    more = [first is not None and (at is None or at > first) for at in later]
    return Claim(
        id="samples-order",
        statement="Data whose top levels are filtered out need more training sequences than the whole tree.",
        reference="the paper: intermediate filter levels need more data than k = 0",
        measured="share of the way to the optimum at "
        + ", ".join(f"{size:,}" for size in unfiltered.sizes)
        + "\n"
        + "\n".join(
            f"{c.name}: " + ", ".join(f"{value:.2f}" for value in share[c.name]) + f"; needed {_needed(c)}" for c in curves
        )
        + f"\nn = {n:,} test sequences",
        control=f"always naming the likeliest root: {unfiltered.chance:.2f}, share 0",
        verdict="short" if not all(known) else "holds" if all(more) else "fails",
        figure="fig-samples-levels",
    )
