"""Bootstrap intervals over examples, for many cells at once.

A resample of n examples is a row of counts that sum to n, multinomial with equal chances. One matrix product of those rows
with the per-example values gives every resampled mean of every cell, and all cells share the same resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64
from scipy import stats

from mechbp.errors import InputError
from mechbp.figures.intervals import points
from mechbp.figures.picture import Picture
from mechbp.methods.shown import Shown
from mechbp.methods.telling import examples, frame, told

RESAMPLES = 2000


@dataclass(frozen=True, eq=False, repr=False)
class Interval(Shown):
    """A mean, or ratio of means, over n examples with its percentile bootstrap interval; one per cell."""

    mean: Float64[np.ndarray, "*cells"]
    low: Float64[np.ndarray, "*cells"]
    """Lower end; NaN if n = 1, where nothing is known about the spread."""
    high: Float64[np.ndarray, "*cells"]
    n: int
    level: float = 0.95
    """Nominal coverage."""

    def __getitem__(self, where: object) -> Interval:
        """Return the cells at `where`, any NumPy index."""
        mean, low, high = (np.asarray(end[where]) for end in (self.mean, self.low, self.high))  # type: ignore[index]
        return Interval(mean, low, high, self.n, self.level)

    @classmethod
    def stack(cls, intervals: Sequence[Interval], axis: int) -> Interval:
        """Return intervals of one shape, over the same examples, as one with a new axis."""
        mean, low, high = (np.stack([getattr(i, end) for i in intervals], axis=axis) for end in ("mean", "low", "high"))
        return cls(mean, low, high, intervals[0].n, intervals[0].level)

    def picture(self, name: str = "mean", *, unit: str = "") -> Picture:
        """Draw every cell's mean with its interval, in order; `name` says what it is the mean of."""
        cells = [", ".join(map(str, where)) or name for where in np.ndindex(self.mean.shape)]
        flat = Interval(self.mean.ravel(), self.low.ravel(), self.high.ravel(), self.n, self.level)
        return Picture(
            kind="dots",
            title=f"{name}, with its interval" if self.mean.ndim == 0 else f"{name} of every cell, with its interval",
            caption=f"Mean and {self.level:.0%} interval over n = {self.n:,} examples"
            + ("." if self.mean.ndim == 0 else f"; rows are the indices of an array {list(self.mean.shape)}."),
            alt=f"Dots with intervals: {name} of {len(cells)} {'cell' if len(cells) == 1 else 'cells'}.",
            data={
                "x_title": f"{name} ({unit})" if unit else name,
                "categories": cells,
                "series": [{"name": name, **points(flat, "x")}],
            },
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per cell: its indices, mean, low and high."""
        axes = {f"axis_{axis}": range(size) for axis, size in enumerate(self.mean.shape)}
        return frame(axes, {"mean": self.mean, "low": self.low, "high": self.high})

    def summary(self) -> str:
        """Return the mean with its interval, or the range of the means, and n."""
        if self.mean.ndim == 0:
            return f"{told(self)}; {examples(self)}"
        known = self.mean[np.isfinite(self.mean)]
        spread = f"{known.min():.3g} to {known.max():.3g}" if known.size else "undefined"
        return f"{self.mean.size} means {list(self.mean.shape)}: {spread}; {examples(self)}"

    def to_dict(self) -> dict[str, object]:
        """Return plain numbers and nested lists for JSON; what is undefined becomes None."""
        ends = {name: _jsonable(getattr(self, name)) for name in ("mean", "low", "high")}
        return {**ends, "n": self.n, "level": self.level}


def seed_mean(values: Float64[np.ndarray, "n *cells"], *, level: float = 0.95) -> Interval:
    """Return the mean over few independent repetitions, such as training seeds, with Student's t interval; NaN ends if n = 1.

    The bootstrap would be far too narrow here. Raises InputError unless there is at least one value.
    """
    n = len(values)
    if n < 1 or not 0 < level < 1:
        raise InputError(f"seed_mean: need at least one value and 0 < level < 1, got {n} and {level}.")
    mean = np.asarray(values.mean(axis=0))
    if n == 1:
        return Interval(mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan), n, level)
    half = stats.t.ppf((1 + level) / 2, n - 1) * values.std(axis=0, ddof=1) / np.sqrt(n)
    return Interval(mean, np.asarray(mean - half), np.asarray(mean + half), n, level)


def bootstrap_mean(
    values: Float64[np.ndarray, "n *cells"], rng: np.random.Generator, *, level: float = 0.95, resamples: int = RESAMPLES
) -> Interval:
    """Return the mean over examples of every cell with its bootstrap interval.

    Raises InputError unless there is at least one example, 0 < level < 1 and resamples >= 1.
    """
    return bootstrap_ratio(values, np.ones(len(values)), rng, level=level, resamples=resamples)


def bootstrap_ratio(
    numerators: Float64[np.ndarray, "n *cells"],
    denominators: Float64[np.ndarray, "n *#cells"] | Float64[np.ndarray, " n"],
    rng: np.random.Generator,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> Interval:
    """Return mean(numerators) / mean(denominators) of every cell; each resample draws the same examples for both.

    Denominators are one per example, or one per example and cell. Where their mean is 0 the ratio and its interval are NaN.
    A denominator whose own interval holds 0 makes a ratio that means little: report it beside the ratio.
    Raises InputError as `bootstrap_mean` does, and where the shapes do not fit.
    """
    n = len(numerators)
    if n < 1 or len(denominators) != n:
        raise InputError(f"bootstrap: need the same number >= 1 of examples in both arguments, got {n} and {len(denominators)}.")
    if not 0 < level < 1 or resamples < 1:
        raise InputError(f"bootstrap: need 0 < level < 1 and resamples >= 1, got level {level} and {resamples} resamples.")
    below = denominators.reshape(n, *denominators.shape[1:], *[1] * (numerators.ndim - denominators.ndim))
    counts = _resample_counts(n, resamples, rng)
    mean = _ratio(np.mean(numerators, axis=0, keepdims=True), np.mean(below, axis=0, keepdims=True))[0, ...]
    if n == 1:
        return Interval(mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan), n, level)
    ratios = _ratio(_resampled_means(counts, numerators), _resampled_means(counts, below))
    low, high = np.quantile(ratios, [(1 - level) / 2, (1 + level) / 2], axis=0)
    undefined = np.isnan(mean)
    return Interval(mean, np.where(undefined, np.nan, low), np.where(undefined, np.nan, high), n, level)


def _resample_counts(n: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """How often each example occurs in each resample, [resample, n]; drawing the examples and counting is multinomial."""
    counts = np.empty((resamples, n))
    for row, drawn in enumerate(rng.integers(n, size=(resamples, n))):  # one resample at a time stays in a core's cache
        counts[row] = np.bincount(drawn, minlength=n)
    return counts


def _resampled_means(counts: np.ndarray, values: np.ndarray) -> np.ndarray:
    n = counts.shape[1]
    return (counts @ values.reshape(n, -1)).reshape(len(counts), *values.shape[1:]) / n


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominator == 0, np.nan, numerator / denominator)


def _jsonable(values: np.ndarray) -> object:
    return np.where(np.isfinite(values), values, None).tolist()  # type: ignore[call-overload]
