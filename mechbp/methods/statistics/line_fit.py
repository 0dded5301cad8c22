"""How one number per example follows another: least-squares slope and correlation, with intervals over examples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64

from mechbp.errors import InputError
from mechbp.figures.picture import Picture
from mechbp.methods.shown import Shown
from mechbp.methods.statistics.intervals import RESAMPLES, Interval
from mechbp.methods.telling import dots, examples, named, told

LEVEL = 0.95


@dataclass(frozen=True, eq=False, repr=False)
class LineFit(Shown):
    """y = intercept + slope x, fitted to all examples alike."""

    slope: Interval
    correlation: Interval
    """Pearson's; NaN where y does not vary."""

    def picture(self) -> Picture:
        """Draw slope and correlation with their intervals."""
        return Picture(
            kind="dots",
            title="How y follows x",
            caption=f"Least squares over n = {self.slope.n:,} examples, {self.slope.level:.0%} bootstrap intervals.",
            alt="Two dots with intervals: the slope and the correlation.",
            data=dots(
                "value",
                {"slope": self.slope, "correlation": self.correlation},
                references=[{"name": "no relation", "x": 0}],
            ),
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row each for slope and correlation."""
        return named({"slope": self.slope, "correlation": self.correlation}).assign(n=self.slope.n)

    def summary(self) -> str:
        """Return slope, correlation and n."""
        return f"slope {told(self.slope)}, correlation {told(self.correlation)}; {examples(self.slope)}"


def line_fit(
    x: Float64[np.ndarray, " n"], y: Float64[np.ndarray, " n"], rng: np.random.Generator, *, resamples: int = RESAMPLES
) -> LineFit:
    """Return slope and correlation with percentile bootstrap intervals; both of a resample come from the same examples.

    Raises InputError unless there are three examples or more and x varies.
    """
    n = len(x)
    if n < 3 or len(y) != n or np.ptp(x) == 0:
        raise InputError(f"line_fit: need three examples or more and x that varies, got {n} and {len(y)}.")
    counts = rng.multinomial(n, np.full(n, 1 / n), size=resamples) / n
    values = [np.stack(_slope_and_correlation(weights, x, y)) for weights in (np.full((1, n), 1 / n), counts)]
    low, high = np.nanquantile(values[1], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=1) if np.ptp(y) else np.full((2, 2), np.nan)
    slope, correlation = (
        Interval(np.asarray(values[0][i, 0]), np.asarray(low[i]), np.asarray(high[i]), n, LEVEL) for i in range(2)
    )
    return LineFit(slope, correlation)


def _slope_and_correlation(weights: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of every row of weights over examples, which sum to 1."""
    centred_x = x - x.mean()  # any constant will do; the mean keeps squares small
    centred_y = y - y.mean()
    mean_x = weights @ centred_x
    mean_y = weights @ centred_y
    covariance = weights @ (centred_x * centred_y) - mean_x * mean_y
    variance_x = weights @ centred_x**2 - mean_x**2
    variance_y = weights @ centred_y**2 - mean_y**2
    with np.errstate(divide="ignore", invalid="ignore"):
        return covariance / variance_x, covariance / np.sqrt(variance_x * variance_y)
