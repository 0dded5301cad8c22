"""Intervals as series draw them: what results and pages have in common, whatever class their intervals are of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class HasInterval(Protocol):
    """Means with the ends of their intervals, arrays of one shape."""

    @property
    def mean(self) -> Any: ...
    @property
    def low(self) -> Any: ...
    @property
    def high(self) -> Any: ...


def points(intervals: HasInterval | Sequence[HasInterval], axis: str) -> dict[str, Any]:
    """Return values of a series along `axis` with `low` and `high`: of one interval [n], or of n scalar ones."""
    if isinstance(intervals, Sequence):
        found = {end: [float(getattr(interval, end)) for interval in intervals] for end in ("mean", "low", "high")}
    else:
        found = {end: getattr(intervals, end) for end in ("mean", "low", "high")}
    return {axis: found["mean"], "low": found["low"], "high": found["high"]}
