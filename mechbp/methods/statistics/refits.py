"""One interval for a measurement that was made with several refits of what it depends on, such as a learnt subspace."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mechbp.errors import InputError
from mechbp.methods.statistics.intervals import Interval


def over_refits(intervals: Sequence[Interval]) -> Interval:
    """Return the mean of the refits' means, from the lowest lower end to the highest upper end.

    The ends cover examples and refits without assuming how refits are distributed, of which there are few; NaN where any is.
    Raises InputError without intervals, or where they differ in shape, number of examples or level.
    """
    kinds = sorted({(found.mean.shape, found.n, found.level) for found in intervals})
    if len(kinds) != 1:
        raise InputError(f"over_refits: need intervals of one shape, n and level, got {kinds!r:.120}.")
    mean, low, high = (np.stack([getattr(found, end) for found in intervals]) for end in ("mean", "low", "high"))
    mean, low, high = (np.asarray(end) for end in (mean.mean(axis=0), low.min(axis=0), high.max(axis=0)))
    return Interval(mean, low, high, intervals[0].n, intervals[0].level)
