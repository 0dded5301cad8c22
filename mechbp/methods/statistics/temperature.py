"""Confidence changed and nothing else: logits times one factor, so that their cross-entropy is another's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float64, Int
from scipy.optimize import brentq, minimize_scalar
from scipy.special import logsumexp

from mechbp.errors import InputError

FACTORS = (1e-3, 1e3)
"""Between which a factor is looked for."""


def scaled_cross_entropy(logits: Float64[np.ndarray, "n q"], answers: Int[np.ndarray, " n"], factor: float) -> float:
    """Return the mean cross-entropy, in nats, of the softmax of factor x logits."""
    scaled = factor * logits
    return float((np.asarray(logsumexp(scaled, axis=1)) - np.take_along_axis(scaled, answers[:, None], axis=1)[:, 0]).mean())


def matching_factor(logits: Float64[np.ndarray, "n q"], answers: Int[np.ndarray, " n"], cross_entropy: float) -> float | None:
    """Return the factor nearest to 1 whose cross-entropy is this, in nats; None where no factor has it.

    The cross-entropy is convex in the factor: of the two sides of its minimum that of 1 is searched, towards less confidence
    where it is larger than at 1 on both. Raises InputError for logits and answers that do not fit or are not finite.
    """
    if logits.ndim != 2 or answers.shape != logits.shape[:1] or not len(logits) or not np.isfinite(logits).all():
        raise InputError(f"matching_factor: need finite logits [n, q] and answers [n], got {logits.shape} and {answers.shape}.")

    def beyond(log_factor: float) -> float:
        return scaled_cross_entropy(logits, answers, float(np.exp(log_factor))) - cross_entropy

    here = beyond(0.0)
    # A larger value is met on the way to no confidence, where it is log q; a smaller one on the way to the minimum, if at all.
    low, high = np.log(FACTORS)
    end = low if here < 0 else _least(beyond, low, high)
    if beyond(end) * here > 0:
        return None
    found: Any = brentq(beyond, min(0.0, end), max(0.0, end))
    return float(np.exp(found))


def _least(function: Callable[[float], float], low: float, high: float) -> float:
    found: Any = minimize_scalar(function, bounds=(low, high), method="bounded")
    return float(found.x)
