"""Accuracy and distance to exact inference against the size of the training set, for models of every filter level."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analyses.tree_samples.criteria import CRITERIA
from analyses.tree_samples.curves import REACHED, Curve, accuracy_layout, interval_text, seeds_text
from analyses.tree_samples.order import study_order
from mechbp.methods.statistics.repetitions import crossed_mean
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
    sections = [Section("levels", "Filter levels", text, (accuracy, divergence))]
    if len(curves) > 1:
        found, section = study_order(curves, _sampled(curves, n))
        claims += found
        sections.append(section)
    return claims, sections


def _optimum_claim(curves: list[Curve], n: int) -> Claim:
    """Judge the levels that have the largest set of all; the others are told."""
    largest = max(curve.sizes[-1] for curve in curves)
    asked = [curve for curve in curves if curve.sizes[-1] == largest]
    shares = [crossed_mean(curve.shares(-1)) for curve in asked]
    leads = [curve.lead(-1) for curve in asked]
    lines = [
        f"{c.name}: {c.accuracy_text(c.sizes[-1])} at {c.sizes[-1]:,}, BP {c.best:.3f}, KL {np.nanmean(c.kl[-1]):.3f} nats; "
        f"needed {c.needed_text()}"
        for c in curves
    ] + [
        f"{c.name}: share of the way {interval_text(share, 3)}, ahead of BP_{c.oracles.rival_level} by {interval_text(lead, 3)}"
        for c, share, lead in zip(asked, shares, leads, strict=True)
    ]
    return CRITERIA.claim(
        "optimum",
        id="samples-optimum",
        statement=f"From {largest:,} sequences a root model gets {100 * REACHED:g} % of the way from always naming the likeliest "
        "root to exact inference, farther than the oracle of any other filter level.",
        reference="the paper: BP_k's accuracy is reached at large P for every k",
        measured="\n".join([*lines, _sampled(curves, n)]),
        control=f"at {curves[0].sizes[0]:,} sequences: " + ", ".join(f"{c.name} {c.mean[0]:.2f}" for c in curves),
        numbers={
            "share_low": [float(share.low) for share in shares],
            "lead_low": [float(lead.low) for lead in leads],
            "fewest_seeds": min(int(curve.seeds[-1]) for curve in asked),
        },
        figure="fig-samples-levels",
    )


def _sampled(curves: Sequence[Curve], n: int) -> str:
    error = max(curve.error for curve in curves)
    return (
        f"n = {n:,} test sequences, standard error at most {error:.3f}; {seeds_text(curves)}, lowest to highest in round "
        "brackets, intervals over seeds and sequences in square ones"
    )
