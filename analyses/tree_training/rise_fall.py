"""On data of higher filter levels: does accuracy rise above the run's own oracle, and fall back to it?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analyses.tree_training.criteria import CRITERIA
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean, bootstrap_ratio
from mechbp.methods.statistics.peak_fall import peak_fall
from mechbp.models.runs import Run
from mechbp.report.claim import Claim
from mechbp.report.parts import estimate
from mechbp.study import Study


@dataclass(frozen=True, eq=False)
class Hits:
    """Expected hits per sequence on data of every level, of the model along training and of three oracles."""

    model: np.ndarray
    """[sequence, level, step]"""
    own: np.ndarray
    """The run's own oracle, [sequence, level]."""
    next: np.ndarray
    """The oracle of the level above the run's own, where the last fall begins; the own one at the highest level."""
    best: np.ndarray
    """The oracle of the data's level: nobody does better."""


def rise_fall_claims(study: Study, run: Run, hits: Hits, steps: int) -> list[Claim]:
    """Grade the fall on every level above the run's own, and where accuracy ends on all of them together."""
    return [_rise_fall(study, run, hits, steps), _lands(study, run, hits)]


def _rise_fall(study: Study, run: Run, hits: Hits, steps: int) -> Claim:
    """Hold the fall against what is possible: from the best oracle of the level to the run's own.

    A model that comes down the ladder passes through the best oracle of a level; one that never learnt the levels below by
    themselves does not rise above its own.
    """
    own = run.config.process.filter_level
    rows = [_level(study, run, hits, k) for k in range(own + 1, hits.model.shape[1])]
    lines = [f"level {k}: {_fall_text(row)}, after a rise by {estimate(row['rise'], 3)}" for k, row in enumerate(rows, own + 1)]
    start = ", ".join(f"{value:.2f}" for value in hits.model[:, own + 1 :, 0].mean(axis=0))
    return CRITERIA.claim(
        "rise-fall",
        id=f"{run.name}-rise-fall",
        statement=f"On data of every higher filter level the accuracy of {run.name} first rises, and then falls by a share of "
        f"what is possible between the best oracle and BP_{own}.",
        reference="the paper: accuracy on filtered data first rises, then falls",
        measured="\n".join([*lines, f"n = {len(hits.model):,} sequences per level, {steps} steps; one training seed"]),
        control=f"random weights: {start}",
        numbers={
            "possible_low": [float(row["possible"].low) for row in rows],
            "rise_low": [float(row["rise"].low) for row in rows],
            "share_low": [float(row["share"].low) for row in rows],
        },
        figure=f"fig-{run.name}-levels",
    )


def _fall_text(row: dict[str, Interval]) -> str:
    if not np.isfinite(row["share"].low):
        return "no fall is possible"
    return f"falls by {estimate(row['share'], 2)} of the possible {float(row['possible'].mean):.3f}"


def _lands(study: Study, run: Run, hits: Hits) -> Claim:
    """Hold the end against the run's own oracle and the next, which may be hard to tell apart on a single level."""
    own = run.config.process.filter_level
    above = slice(own + 1, None)
    model, mine, following = (values[:, above] for values in (hits.model[..., -1], hits.own, hits.next))
    draw = study.rng(run.name, "lands")
    told = bootstrap_mean((following - mine).mean(axis=1), draw) if mine.size else None
    middle = bootstrap_mean((model - (mine + following) / 2).mean(axis=1), draw) if mine.size else None
    beyond = bootstrap_mean((model - mine).mean(axis=1), draw) if mine.size else None
    return CRITERIA.claim(
        "lands",
        id=f"{run.name}-lands",
        statement=f"On data of the higher filter levels, all together, {run.name} ends nearer to the accuracy of BP_{own} than "
        f"to that of BP_{own + 1}.",
        reference="the paper: accuracy on filtered data falls to BP_0's",
        measured="0 levels above the run's own"
        if beyond is None or told is None
        else f"ends {estimate(beyond, 4)} above BP_{own}; BP_{own + 1} stands {estimate(told, 4)} above it\n"
        f"n = {len(model):,} sequences per level; one training seed",
        control=f"random weights: {hits.model[:, above, 0].mean():.2f}" if mine.size else "none",
        numbers=None
        if told is None or middle is None
        else {"told_apart_low": float(told.low), "past_middle_high": float(middle.high)},
        figure=f"fig-{run.name}-levels",
    )


def _level(study: Study, run: Run, hits: Hits, k: int) -> dict[str, Interval]:
    model = hits.model[:, k]
    found = peak_fall(model)
    possible = hits.best[:, k] - hits.own[:, k]
    draw = study.rng(run.name, "fall", k)
    return {
        "possible": bootstrap_mean(possible, draw),
        "rise": bootstrap_mean(found.rise, draw),
        "share": bootstrap_ratio(found.fall, possible, draw),
    }
