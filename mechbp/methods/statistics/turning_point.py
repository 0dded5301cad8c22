"""Whether a curve turns back after its best value, without the luck of having looked for the best value on the same curve.

The least entry of a noisy curve is below its last one by construction. Here the step is chosen on the other repetitions, such as
training seeds, and what is compared is the repetition that took no part in the choice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int

from mechbp.errors import InputError
from mechbp.methods.brief import Brief
from mechbp.methods.statistics.intervals import Interval, seed_mean


@dataclass(frozen=True, eq=False, repr=False)
class Turn(Brief):
    """How far every repetition has risen, at its last step, above the step at which the others are lowest."""

    step: Int[np.ndarray, " repetition"]
    """Index of the step chosen on the others."""
    rise: Float64[np.ndarray, " repetition"]
    """Last entry minus the one at that step; 0 where the others are lowest at the end."""

    @property
    def mean(self) -> Interval:
        """Mean rise with Student's t interval over repetitions."""
        return seed_mean(self.rise)


def turn(curves: Float64[np.ndarray, "repetition step"]) -> Turn:
    """Return how far curves rise after the lowest step of the others' mean. Raises InputError for fewer than two repetitions."""
    n = len(curves)
    if n < 2 or curves.shape[1] < 2 or not np.isfinite(curves).all():
        raise InputError(f"turn: need two or more finite curves of two or more steps, got shape {list(curves.shape)}.")
    others = (curves.sum(axis=0) - curves) / (n - 1)
    step = others.argmin(axis=1)
    return Turn(step, curves[:, -1] - curves[np.arange(n), step])


def at_level(levels: Float64[np.ndarray, " step"], values: Float64[np.ndarray, " step"], wanted: float) -> float:
    """Return the value of a curve where its falling level first reaches `wanted`, straight between steps; NaN where it does not.

    Levels may rise again on the way: only steps at which the level is lower than ever before count. A level above the first one
    is not reached either, for the curve begins below it.
    """
    lowest = np.flatnonzero(levels < np.concatenate([[np.inf], np.minimum.accumulate(levels)[:-1]]))
    along = levels[lowest]
    if not along[-1] <= wanted <= along[0]:
        return float("nan")
    return float(np.interp(-wanted, -along, values[lowest]))
