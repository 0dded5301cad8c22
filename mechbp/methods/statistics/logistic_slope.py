"""How the odds of one of two outcomes move with a number per run: a logistic slope that exists for few and separated runs too.

P(1 | x) = 1 / (1 + exp(-(a + b x))). Where some x parts all zeros from all ones, the likelihood rises without end in b, and an
interval from its curvature says nothing. It is therefore multiplied by the root of the determinant of its information matrix,
which takes off the leading bias and keeps b finite, and intervals are those of the profile: all b that lose less than half the
quantile of chi-squared. (Source: Firth 1993; for separated data Heinze and Schemper 2002.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64
from scipy import stats
from scipy.optimize import brentq, minimize_scalar
from scipy.special import expit, log_expit

from mechbp.errors import InputError
from mechbp.methods.statistics.permutation import DRAWS, covariance_p

LEVEL = 0.95
WIDEST = 1e3
"""Where the search for an end of the interval gives up: standardised slopes beyond are infinite."""
STEEPEST_INTERCEPT = 2e3


@dataclass(frozen=True)
class LogisticSlope:
    """Change of the log-odds of outcome 1 per unit of x."""

    slope: float
    low: float
    """Ends of the profile interval; infinite where nothing bounds them."""
    high: float
    p: float
    """Two-sided, by permutation of the outcomes; of the slope's score, not of the interval."""
    n: int
    ones: int
    """Runs with outcome 1."""


def logistic_slope(
    x: Float64[np.ndarray, " n"], ones: np.ndarray, rng: np.random.Generator, *, draws: int = DRAWS
) -> LogisticSlope:
    """Fit the slope; `ones` says which runs have outcome 1.

    Raises InputError unless both outcomes occur, x varies and is finite, and both have one entry per run.
    """
    outcome = np.asarray(ones, np.float64)
    if x.shape != outcome.shape or not np.isfinite(x).all() or not np.isin(outcome, (0, 1)).all():
        raise InputError(f"logistic_slope: need a finite x and an outcome 0 or 1 per run, got {len(x)} and {len(outcome)}.")
    if np.ptp(x) == 0 or np.ptp(outcome) == 0:
        raise InputError(
            f"logistic_slope: {int(outcome.sum())} of {len(x)} runs have outcome 1 at {len(np.unique(x))} values of x; both "
            f"outcomes and two values are needed for a slope."
        )
    scale = float(x.std())
    z = (x - x.mean()) / scale

    def profile(slope: float) -> float:
        found: Any = minimize_scalar(lambda a: -_penalised(a, slope, z, outcome), bounds=_bracket(slope, z), method="bounded")
        return -float(found.fun)

    best: Any = minimize_scalar(lambda b: -profile(b), bracket=(-1.0, 1.0))
    slope, top = float(best.x), -float(best.fun)
    allowed = top - float(stats.chi2.ppf(LEVEL, 1)) / 2
    ends = [_crossing(lambda b: profile(b) - allowed, slope, direction) for direction in (-1.0, 1.0)]
    p = covariance_p(z, outcome, rng, draws=draws)
    return LogisticSlope(slope / scale, ends[0] / scale, ends[1] / scale, p, len(x), int(outcome.sum()))


def _penalised(a: float, b: float, z: np.ndarray, outcome: np.ndarray) -> float:
    """Log-likelihood plus half the log-determinant of the information of (a, b)."""
    line = a + b * z
    likelihood = float(log_expit(np.where(outcome == 1, line, -line)).sum())
    weight = expit(line) * expit(-line)
    total = weight.sum()
    determinant = total * (weight @ z**2) - (weight @ z) ** 2
    return likelihood + 0.5 * float(np.log(max(determinant, np.finfo(float).tiny)))


def _bracket(slope: float, z: np.ndarray) -> tuple[float, float]:
    """Intercepts among which the best one is: the curve's middle lies among the runs, or not far outside."""
    reach = abs(slope) * float(np.abs(z).max()) + 10
    return -min(reach, STEEPEST_INTERCEPT), min(reach, STEEPEST_INTERCEPT)


def _crossing(excess: Callable[[float], float], start: float, direction: float) -> float:
    """Where the profile falls below what the interval allows, going from its maximum; infinite beyond WIDEST."""
    step = 1.0
    while excess(start + direction * step) > 0:
        step *= 2
        if step > WIDEST:
            return direction * np.inf
    near, far = sorted((start, start + direction * step))
    root: Any = brentq(excess, near, far, xtol=1e-6)
    return float(root)
