"""How far neighbours of a sorted list are apart, exactly, for every design: delta_i = b_{i+1} - b_i, and the mean over a list.

The mean gap of one list is (b_n - b_1) / (n - 1), so that its distribution is that of the range. In a window of W values,

    without repeats   P(b_n - b_1 = r) = (W' - r') C(r' - 1, n - 2) / C(W', n),  r = r' + (n - 1)(g - 1),  W' as in SortedLists
    with repeats      P(b_n - b_1 <= r) inside [a, a + r] is ((r + 1) / W)^n; differences over both ends leave r exactly

whatever the offset. (Plain derivation; the closed forms for subsets are textbook order statistics.)
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np
import pandas as pd
from jaxtyping import Float64

from mechbp.errors import InputError
from mechbp.figures.picture import Picture
from mechbp.methods.shown import Shown
from mechbp.methods.telling import frame
from mechbp.processes.sorting.order_statistics import order_statistics
from mechbp.processes.sorting.sorted_lists import SortedLists


@dataclass(frozen=True, eq=False, repr=False)
class GapLaws(Shown):
    """Exact distributions of gaps and values under a design."""

    gaps: Float64[np.ndarray, "gap distance"]
    """P(delta_i = d), d = 0..V-1; without repeats all rows are equal."""
    ranges: Float64[np.ndarray, " distance"]
    """P(b_n - b_1 = r), r = 0..V-1: the mean gap of a list is r / (n - 1)."""
    frequency: Float64[np.ndarray, " value"]
    """Mean number of times that a value is in a list; sums to n."""

    @property
    def expected_gap(self) -> float:
        """E delta, the mean over all gaps and lists."""
        return float(self.gaps.mean(axis=0) @ np.arange(self.gaps.shape[1]))

    @property
    def spread_of_mean_gap(self) -> float:
        """Standard deviation over lists of a list's mean gap."""
        mean_gaps = np.arange(len(self.ranges)) / len(self.gaps)
        centred = mean_gaps - self.ranges @ mean_gaps
        return float(np.sqrt(self.ranges @ np.square(centred)))

    @property
    def adjacent(self) -> float:
        """P(delta = 1), averaged over gaps."""
        return float(self.gaps[:, 1].mean()) if self.gaps.shape[1] > 1 else 0.0

    def picture(self) -> Picture:
        """Draw the exact distribution of gaps between neighbours, mean over the gaps of a list, and of the range."""
        distances = np.arange(self.gaps.shape[1])
        return Picture(
            kind="lines",
            title=f"Gaps of sorted lists: {self.expected_gap:.3g} on average",
            caption="Exact probabilities of a distance between neighbours, mean over places, and between the first and the "
            "last value.",
            alt="Two lines over distances: probabilities of gaps and of ranges.",
            data={
                "x_title": "distance",
                "y_title": "probability",
                "series": [
                    {"name": "neighbours", "x": distances, "y": self.gaps.mean(axis=0)},
                    {"name": "first and last", "x": distances, "y": self.ranges},
                ],
            },
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per distance: the probability that neighbours, and first and last values, are so far apart."""
        columns = {"gap": self.gaps.mean(axis=0), "range": self.ranges}
        return frame({"distance": range(self.gaps.shape[1])}, columns)

    def summary(self) -> str:
        """Return the expected gap, how far lists differ in theirs, and how often neighbours are adjacent; all exact."""
        return (
            f"expected gap {self.expected_gap:.4g}, standard deviation over lists {self.spread_of_mean_gap:.3g}\n"
            f"P(gap = 1) = {self.adjacent:.3g}; exact, for lists of {len(self.gaps) + 1} of {self.gaps.shape[1]} values"
        )


def gap_laws(lists: SortedLists) -> GapLaws:
    """Return the distributions of gaps, of mean gaps and of values. Raises InputError for lists of one value."""
    if lists.length < 2:
        raise InputError("gap_laws: a list of one value has no gaps. Use length 2 or more.")
    statistics = order_statistics(lists)
    distances = range(lists.vocab_size)
    gaps = np.stack([np.trace(statistics.neighbours, offset=d, axis1=1, axis2=2) for d in distances], axis=1)
    return GapLaws(gaps, _range_distribution(lists), statistics.values.sum(axis=0))


def _range_distribution(lists: SortedLists) -> Float64[np.ndarray, " distance"]:
    """P(b_n - b_1 = r), from exact integers."""
    n, width = lists.length, lists.width
    found = np.zeros(lists.vocab_size)
    if lists.repeats:
        for r in range(width):
            exactly = (r + 1) ** n - 2 * r**n + max(r - 1, 0) ** n if r else 1
            found[r] = (width - r) * exactly / width**n
        return found
    stretch = (n - 1) * (lists.gap - 1)
    for r in range(n - 1, lists.free_values):
        found[r + stretch] = (lists.free_values - r) * comb(r - 1, n - 2) / comb(lists.free_values, n)
    return found
