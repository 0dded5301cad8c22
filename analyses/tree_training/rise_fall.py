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


def rise_fall_claim(study: Study, run: Run, hits: Hits, steps: int) -> Claim:
    """Grade the levels above the run's own by the fall that is possible there: from the best oracle to the run's own.

    A model that comes down the ladder passes through the best oracle of a level and ends at its own; one that never learnt the
    levels below by themselves does not rise above its own. The end is held against the next oracle, half way between the two.
    """
    own = run.config.process.filter_level
    rows = [_level(study, run, hits, k) for k in range(own + 1, hits.model.shape[1])]
    lines = [
        f"level {k}: falls by {estimate(row['share'], 2)} of the possible {float(row['possible'].mean):.3f}, after a rise by "
        f"{estimate(row['rise'], 3)}; ends {estimate(row['beyond'], 3)} above BP_{own}"
        for k, row in enumerate(rows, own + 1)
    ]
    start = ", ".join(f"{value:.2f}" for value in hits.model[:, own + 1 :, 0].mean(axis=0))
    return CRITERIA.claim(
        "rise-fall",
        id=f"{run.name}-rise-fall",
        statement=f"On data of every higher filter level the accuracy of {run.name} first rises, then falls, and ends nearer to "
        f"that of BP_{own} than to that of BP_{own + 1}.",
        reference="the paper: accuracy on filtered data first rises, then falls to BP_0's",
        measured="\n".join([*lines, f"n = {len(hits.model):,} sequences per level, {steps} steps; one training seed"]),
        control=f"random weights: {start}",
        numbers={
            "possible_low": [float(row["possible"].low) for row in rows],
            "rise_low": [float(row["rise"].low) for row in rows],
            "share_low": [float(row["share"].low) for row in rows],
            "past_middle_high": [float(row["past_middle"].high) for row in rows],
        },
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
        "beyond": bootstrap_mean(model[:, -1] - hits.own[:, k], draw),
        "past_middle": bootstrap_mean(model[:, -1] - (hits.own[:, k] + hits.next[:, k]) / 2, draw),
    }
