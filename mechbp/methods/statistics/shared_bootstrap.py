"""One bootstrap resampling of examples shared by many cells that are computed at different times.

`intervals` resamples all cells of one array together; here the resamples are kept, so that thousands of probes, fitted one by
one, are resampled alike in bounded memory. The product with the counts runs in float32, whose error of 1e-6 is far below the
width of any interval; the estimates themselves stay float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float32, Float64, Int

from mechbp.brief import Brief
from mechbp.methods.statistics.intervals import Interval

LEVEL = 0.95
CONSTANT = 1e-24
"""A target whose mean squared distance from its mean is below this is a constant with rounding noise; R^2 is undefined."""


@dataclass(frozen=True, eq=False, repr=False)
class Resampling(Brief):
    """How often each example occurs in each resample, and in how many resamples."""

    counts: Float32[np.ndarray, "example resample"]

    @classmethod
    def draw(cls, groups: Int[np.ndarray, " example"], resamples: int, rng: np.random.Generator) -> Resampling:
        """Draw groups (0..g-1 per example) with replacement: copies of one sequence are no independent evidence."""
        n_groups = int(groups.max()) + 1
        drawn = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=resamples)
        return cls(np.ascontiguousarray(drawn.T.astype(np.float32)[groups]))

    def mean(self, values: Float64[np.ndarray, "*cells example"]) -> Interval:
        """Return the mean over examples of every cell, with its percentile interval."""
        return self._interval(np.asarray(values.mean(axis=-1)), self._sums(values) / self._sums(np.ones(len(self.counts))))

    def explained(self, errors: Float64[np.ndarray, "*cells example"], totals: Float64[np.ndarray, "*cells example"]) -> Interval:
        """Return 1 - sum(errors) / sum(totals), R^2 if these are squares; NaN where the totals are 0 to rounding."""
        defined = np.asarray(totals.mean(axis=-1) > CONSTANT)
        with np.errstate(divide="ignore", invalid="ignore"):
            value = np.where(defined, 1 - errors.sum(axis=-1) / totals.sum(axis=-1), np.nan)
            resampled = np.where(defined[..., None], 1 - self._sums(errors) / self._sums(totals), np.nan)
        return self._interval(value, resampled)

    @cached_property
    def _alike(self) -> bool:
        return bool((self.counts == 1).all())

    def _sums(self, values: np.ndarray) -> np.ndarray:
        flat = values.reshape(-1, values.shape[-1]).astype(np.float32)
        return (flat @ self.counts).astype(np.float64).reshape(*values.shape[:-1], -1)

    def _interval(self, value: np.ndarray, resampled: np.ndarray) -> Interval:
        tail = (1 - LEVEL) / 2 * (resampled.shape[-1] - 1)
        low, high = int(np.floor(tail)), int(np.ceil(resampled.shape[-1] - 1 - tail))
        ordered = np.partition(resampled, (low, high), axis=-1)  # two order statistics: 5 times faster than np.quantile
        if self._alike:  # one group: every resample is the same, and nothing is known about the spread
            ordered = np.full_like(ordered, np.nan)
        return Interval(np.asarray(value), ordered[..., low], ordered[..., high], len(self.counts), LEVEL)
