"""Student's intervals for what a few repetitions give: chains of a sampler, seeds of a training."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64
from scipy import stats

from mechbp.errors import InputError
from mechbp.methods.statistics.intervals import Interval, seed_mean

LEVEL = 0.95


def paired_difference(one: Float64[np.ndarray, " n"], other: Float64[np.ndarray, " n"]) -> Interval:
    """Return the mean of one - other, over repetitions that share their noise. Raises InputError unless as many are in both."""
    if one.shape != other.shape:
        raise InputError(f"paired_difference: need the same repetitions in both, got {len(one)} and {len(other)}.")
    return seed_mean(one - other, level=LEVEL)


def paired_ratio(one: Float64[np.ndarray, " n"], other: Float64[np.ndarray, " n"]) -> Interval:
    """Return mean(one) / mean(other), over repetitions that share their noise.

    The ratio R is where mean(one - R other) is 0; its standard error is that of this mean, over the mean below. That is first
    order in the noise of the denominator, which has to be well above 0. Raises InputError unless as many, two or more, are in
    both and the mean below is not 0.
    """
    n = len(one)
    if one.shape != other.shape or n < 2 or not other.mean():
        raise InputError(
            f"paired_ratio: need the same two repetitions or more in both, and a mean below that is not 0, "
            f"got {n} and {len(other)}, mean {float(other.mean()) if len(other) else float('nan'):g}."
        )
    ratio = one.mean() / other.mean()
    error = (one - ratio * other).std(ddof=1) / np.sqrt(n) / abs(other.mean())
    return _around(ratio, error, n - 1, n)


def independent_difference(one: Float64[np.ndarray, " n"], other: Float64[np.ndarray, " m"]) -> Interval:
    """Return mean(one) - mean(other) of repetitions that have nothing in common (Welch 1947).

    Raises InputError unless there are two or more of each.
    """
    if min(len(one), len(other)) < 2:
        raise InputError(f"independent_difference: need two repetitions or more of each, got {len(one)} and {len(other)}.")
    parts = np.array([values.var(ddof=1) / len(values) for values in (one, other)])
    total = parts.sum()
    freedom = total**2 / (parts**2 / np.array([len(one) - 1, len(other) - 1])).sum() if total else 1.0
    return _around(one.mean() - other.mean(), np.sqrt(total), freedom, min(len(one), len(other)))


def crossed_mean(values: Float64[np.ndarray, "repetition n"]) -> Interval:
    """Return the mean over repetitions and examples, where every repetition was scored on the same examples.

    Two sources of error add up in squares: Student's over repetitions, and the normal one over examples, of which the
    repetitions' mean is taken first; for a paired comparison give the differences. NaN ends of a single repetition.
    Raises InputError unless there is a repetition, and two examples or more.
    """
    _crossed("crossed_mean", values)
    over = seed_mean(values.mean(axis=1), level=LEVEL)
    half = np.hypot(over.high - over.mean, _over_examples(values))
    return Interval(over.mean, np.asarray(over.mean - half), np.asarray(over.mean + half), len(values), LEVEL)


def crossed_difference(one: Float64[np.ndarray, "repetition n"], other: Float64[np.ndarray, "repetition_ m"]) -> Interval:
    """Return the difference of two such means that share neither repetitions nor examples; raises InputError as those do."""
    _crossed("crossed_difference", one)
    _crossed("crossed_difference", other)
    over = independent_difference(one.mean(axis=1), other.mean(axis=1))
    half = np.hypot(over.high - over.mean, np.hypot(_over_examples(one), _over_examples(other)))
    return Interval(over.mean, np.asarray(over.mean - half), np.asarray(over.mean + half), over.n, LEVEL)


def _crossed(where: str, values: np.ndarray) -> None:
    if values.ndim != 2 or not len(values) or values.shape[1] < 2:
        raise InputError(f"{where}: need values [repetition >= 1, example >= 2], got {list(values.shape)}.")


def _over_examples(values: np.ndarray) -> float:
    """Half width of the interval over examples of the repetitions' mean."""
    means = values.mean(axis=0)
    return float(stats.norm.ppf((1 + LEVEL) / 2) * means.std(ddof=1) / np.sqrt(len(means)))


def _around(value: float, error: float, freedom: float, n: int) -> Interval:
    half = stats.t.ppf((1 + LEVEL) / 2, freedom) * error
    return Interval(np.asarray(value), np.asarray(value - half), np.asarray(value + half), n, LEVEL)
