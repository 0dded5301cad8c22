"""Does attention fall from smaller to larger values? Over pairs of values of one list that are both above the current one.

That the answer gets more attention than what is further up may be all there is; pairs beyond the answer say whether attention
falls at all distances. Attention without order scores one half on both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int, Integer

from mechbp.methods.statistics.intervals import Interval, bootstrap_ratio
from mechbp.processes.sorting.sorted_lists import SortedLists
from mechbp.theory.sorting.asked import asked_lists
from mechbp.theory.sorting.attention_classes import asked_rows

PAIRS = ("with the answer", "beyond the answer")


@dataclass(frozen=True, eq=False)
class LargerOrder:
    """Pairs of larger values of every sequence, from each position asked at."""

    wins: Float64[np.ndarray, "n head asked pair"]
    """Pairs whose smaller value has more attention, ties counted half; the last axis is PAIRS."""
    pairs: Int[np.ndarray, "n asked pair"]

    def share(self, rng: np.random.Generator) -> Interval:
        """Return the share of pairs won, [head, pair], pooled over positions, with an interval over sequences; NaN if none."""
        return bootstrap_ratio(self.wins.sum(axis=2), self.pairs.sum(axis=1)[:, None].astype(np.float64), rng)

    @property
    def by_asked(self) -> Float64[np.ndarray, "head asked pair"]:
        """Share of pairs won from each position asked at; NaN where there are none."""
        won = self.wins.sum(axis=0)
        total = self.pairs.sum(axis=0)
        return np.divide(won, total, out=np.full(won.shape, np.nan), where=total > 0)


def larger_order(
    patterns: Float[np.ndarray, "n head query key"], tokens: Integer[np.ndarray, "n _positions"], process: SortedLists
) -> LargerOrder:
    """Compare the attention of every two different values above the current one. Raises as `class_attention` does."""
    lists = asked_lists(process, tokens)
    rows = asked_rows(patterns, lists)
    place = lists.place_of_rank
    by_rank = np.take_along_axis(rows, place[:, None, None], axis=3)
    values = np.take_along_axis(lists.values, place, axis=1)
    larger = values[:, None] > lists.current[..., None]
    answer = values[:, None] == lists.answer[..., None]
    wins = np.zeros((*rows.shape[:3], 2))
    pairs = np.zeros((len(rows), lists.length, 2), np.int64)
    for smaller in range(lists.length - 1):
        above = values[:, smaller + 1 :] > values[:, smaller, None]
        pair = (larger[..., smaller, None] & larger[..., smaller + 1 :]) & above[:, None]
        mine = by_rank[..., smaller, None]
        theirs = by_rank[..., smaller + 1 :]
        won = (mine > theirs) + (mine == theirs) / 2
        kinds = (pair & answer[..., smaller, None], pair & ~answer[..., smaller, None])
        for which, kind in enumerate(kinds):
            wins[..., which] += (won * kind[:, None]).sum(axis=-1)
            pairs[..., which] += kind.sum(axis=-1)
    return LargerOrder(wins, pairs)
