"""How far a score rises to its peak along training and falls from it, without the luck of choosing the peak."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from mechbp.errors import InputError
from mechbp.methods.brief import Brief


@dataclass(frozen=True, eq=False, repr=False)
class PeakFall(Brief):
    """Per example: the score at the peak less that at the first step (rise) and less that at the last (fall)."""

    rise: Float64[np.ndarray, " n"]
    fall: Float64[np.ndarray, " n"]
    peaks: tuple[int, int]
    """The step of highest mean among the examples of even and of odd number."""


def peak_fall(scores: Float64[np.ndarray, "n step"]) -> PeakFall:
    """Return rise and fall of every example, each measured at the peak that the other half of the examples chose.

    The highest of many noisy means stands too high, so that a curve which never falls seems to fall from it. A peak chosen by
    other examples does not: of scores without any peak, the fall measured here is 0 on average.
    Raises InputError for fewer than two examples or two steps.
    """
    if scores.ndim != 2 or min(scores.shape) < 2:
        raise InputError(f"peak_fall: need scores [n >= 2, step >= 2], got {list(scores.shape)}.")
    even, odd = (int(scores[half::2].mean(axis=0).argmax()) for half in (0, 1))
    peak = np.where(np.arange(len(scores)) % 2 == 0, odd, even)
    top = scores[np.arange(len(scores)), peak]
    return PeakFall(top - scores[:, 0], top - scores[:, -1], (even, odd))
