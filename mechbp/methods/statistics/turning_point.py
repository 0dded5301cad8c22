"""Whether a curve turns back after its best value, without the luck of having looked for the best value on the same curve.

The least entry of a noisy curve is below its last one by construction. Here the step is chosen on the other repetitions, such as
training seeds, and what is compared is the repetition that took no part in the choice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int

from mechbp.errors import InputError
from mechbp.figures.intervals import points
from mechbp.figures.picture import Picture
from mechbp.methods.shown import Shown
from mechbp.methods.statistics.intervals import Interval, seed_mean
from mechbp.methods.telling import examples, told

_GAP = Interval(np.asarray(np.nan), np.asarray(np.nan), np.asarray(np.nan), 1)
"""A value that is not drawn."""


@dataclass(frozen=True, eq=False, repr=False)
class Turn(Shown):
    """How far every repetition has risen, at its last step, above the step at which the others are lowest."""

    step: Int[np.ndarray, " repetition"]
    """Index of the step chosen on the others."""
    rise: Float64[np.ndarray, " repetition"]
    """Last entry minus the one at that step; 0 where the others are lowest at the end."""

    @property
    def mean(self) -> Interval:
        """Mean rise with Student's t interval over repetitions."""
        return seed_mean(self.rise)

    def picture(self) -> Picture:
        """Draw every repetition's rise after the others' lowest step, and their mean."""
        return Picture(
            kind="dots",
            title="Rise after the lowest step",
            caption=f"Last entry less that at the step where the others are lowest; n = {len(self.rise)} repetitions, and their "
            "mean with Student's 95% interval.",
            alt="Dots: the rise of every repetition, and their mean with its interval.",
            data={
                "x_title": "rise",
                "categories": [*(f"repetition {index}" for index in range(len(self.rise))), "mean"],
                "series": [
                    {"name": "repetition", "x": [*self.rise, np.nan], "control": True},
                    {"name": "mean", **points([*[_GAP] * len(self.rise), self.mean], "x")},
                ],
                "references": [{"name": "no rise", "x": 0}],
            },
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per repetition: the step chosen by the others, and its rise."""
        return pd.DataFrame({"repetition": np.arange(len(self.rise)), "step": self.step, "rise": self.rise})

    def summary(self) -> str:
        """Return the mean rise with its interval and n."""
        return f"rise after the lowest step {told(self.mean)}; {examples(self.mean, 'repetitions')}"


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
