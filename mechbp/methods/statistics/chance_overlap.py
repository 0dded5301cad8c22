"""What two sets have in common where chance alone decides who is in them."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.stats import hypergeom

from mechbp.errors import InputError

LEVEL = 0.95


@dataclass(frozen=True)
class ChanceOverlap:
    """Share of all members that two random sets of given sizes have in common: hypergeometric."""

    mean: float
    low: float
    """Lower end of the central 95 %."""
    high: float


def chance_overlap(total: int, first: int, second: int) -> ChanceOverlap:
    """Return the overlap of two independent sets of `first` and of `second` members out of `total`, each set equally likely.

    Raises InputError unless there is a member and 0 <= first, second <= total.
    """
    if total < 1 or not 0 <= min(first, second) <= max(first, second) <= total:
        raise InputError(f"chance_overlap: need two sets within a total of 1 or more, got {first} and {second} of {total}.")
    low, high = hypergeom.interval(LEVEL, total, first, second)
    return ChanceOverlap(first * second / total**2, float(low) / total, float(high) / total)
