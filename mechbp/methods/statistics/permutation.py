"""Whether two numbers per run go together, by permutation: no distribution is assumed, and few runs are no obstacle.

One of the two is dealt out anew among the runs, and p is the share of deals in which the two go together at least as much, the
deal at hand counted as one of them, so that p is never 0 and never too small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy import stats

from mechbp.errors import InputError
from mechbp.randomness import checked_generator

DRAWS = 20_000
ROUNDING = 1e-9
"""Deals that go together this much less than the one at hand, relative to it, still count as equal."""


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rank correlation of two numbers per run."""

    rho: float
    """NaN where fewer than three runs have both, or one does not vary."""
    p: float
    """Two-sided, by permutation; NaN with it."""
    n: int
    """Runs that have both numbers."""


def covariance_p(
    x: Float64[np.ndarray, " n"], y: Float64[np.ndarray, " n"], rng: np.random.Generator, *, draws: int = DRAWS
) -> float:
    """Return the two-sided permutation p of |cov(x, y)|.

    Of y in {0, 1} this is the score test of the slope of a logistic regression, its distribution exact up to `draws`.
    Raises InputError for fewer than two runs, other shapes, numbers that are not finite, or draws < 1.
    """
    generator = checked_generator(rng, "covariance_p")
    if len(x) < 2 or len(x) != len(y) or not (np.isfinite(x).all() and np.isfinite(y).all()) or draws < 1:
        raise InputError(
            f"covariance_p: need two finite numbers for each of 2 runs or more, draws >= 1, got {len(x)} and {len(y)}."
        )
    centred = x - x.mean()
    dealt = generator.permuted(np.broadcast_to(y, (draws, len(y))), axis=1)
    at_hand = abs(float(centred @ y))
    as_much = np.abs(dealt @ centred) >= at_hand * (1 - ROUNDING)
    return float((1 + np.count_nonzero(as_much)) / (1 + draws))


def rank_correlation(
    x: Float64[np.ndarray, " n"], y: Float64[np.ndarray, " n"], rng: np.random.Generator, *, draws: int = DRAWS
) -> RankCorrelation:
    """Return Spearman's rho with its permutation p over runs that have both numbers; NaN marks one that is missing."""
    both = np.isfinite(x) & np.isfinite(y)
    n = int(both.sum())
    if n < 3 or np.ptp(x[both]) == 0 or np.ptp(y[both]) == 0:
        return RankCorrelation(np.nan, np.nan, n)
    rank_x, rank_y = (stats.rankdata(values[both]) for values in (x, y))
    rho = float(np.corrcoef(rank_x, rank_y)[0, 1])
    return RankCorrelation(rho, covariance_p(rank_x, rank_y, rng, draws=draws), n)


def holm(p: Sequence[float]) -> Float64[np.ndarray, " test"]:
    """Return p-values adjusted for their number by Holm's step-down rule; NaN is no test, and stays.

    The i-th least of m is multiplied by m - i + 1 and made no less than those before it. (Source: Holm 1979.)
    """
    given = np.asarray(p, np.float64)
    adjusted = np.full(given.shape, np.nan)
    tests = np.flatnonzero(np.isfinite(given))
    order = tests[given[tests].argsort(kind="stable")]
    raised = given[order] * (len(order) - np.arange(len(order)))
    adjusted[order] = np.minimum(np.maximum.accumulate(raised), 1)
    return adjusted
