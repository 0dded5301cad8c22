"""How far scores follow an order of values: more to larger values than to the rest, and among the larger more to the smaller.

For a query of value q and keys k0 <= q < k1 < k2, a head that looks for the next value in ascending order has
QK[q, k1] > QK[q, k2] and QK[q, k1] > QK[q, k0]. Scores that know no order make each true for half of all triples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64, Int, Integer

from mechbp.errors import InputError
from mechbp.figures.picture import Picture
from mechbp.methods.shown import Shown
from mechbp.methods.telling import frame


@dataclass(frozen=True, eq=False, repr=False)
class OrderScores(Shown):
    """Shares of triples of values in the expected order; equal scores count as out of order. NaN where there is no triple."""

    nearest_first: Float64[np.ndarray, "*head"]
    """Share of triples q < k1 < k2 with QK[q, k1] > QK[q, k2]."""
    larger_first: Float64[np.ndarray, "*head"]
    """Share of triples k0 <= q < k1 with QK[q, k1] > QK[q, k0]."""
    nearest_in_order: Int[np.ndarray, "*head query"]
    """Triples in order per query, of the first kind."""
    nearest_triples: Int[np.ndarray, " query"]
    """All of them."""
    larger_in_order: Int[np.ndarray, "*head query"]
    """Triples in order per query, of the second kind."""
    larger_triples: Int[np.ndarray, " query"]
    """All of them."""

    def picture(self) -> Picture:
        """Draw both shares of every head beside what scores without any order have."""
        shares = {"nearest first": self.nearest_first, "larger first": self.larger_first}
        return Picture(
            kind="dots",
            title="How far scores follow the order of values",
            caption="Share of triples of values in the expected order, all triples counted: no sampling. Nearest first: the next "
            f"larger value before a farther one ({int(self.nearest_triples.sum()):,} triples); larger first: a larger value "
            f"before one that is not ({int(self.larger_triples.sum()):,}). Scores that know no order have 1/2.",
            alt="Dots by head: shares of triples in order, for the two kinds of triples.",
            data={
                "x_title": "share of triples in order",
                "x_range": [-0.02, 1.02],
                "categories": self._heads,
                "series": [{"name": name, "x": values.ravel()} for name, values in shares.items()],
                "references": [{"name": "no order", "x": 0.5}],
            },
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per head: both shares."""
        columns = {"nearest_first": self.nearest_first.ravel(), "larger_first": self.larger_first.ravel()}
        return frame({"head": self._heads}, columns)

    def summary(self) -> str:
        """Return both shares of every head, up to four of them, and the numbers of triples."""
        lines = [
            f"{head}: nearest first {one:.3g}, larger first {other:.3g}"
            for head, one, other in zip(self._heads, self.nearest_first.ravel(), self.larger_first.ravel(), strict=True)
        ]
        more = [f"and {len(lines) - 4} more"] if len(lines) > 4 else []
        near, large = int(self.nearest_triples.sum()), int(self.larger_triples.sum())
        return "\n".join([*lines[:4], *more, f"n = {near:,} and {large:,} triples, all there are; without order 0.5"])

    @property
    def _heads(self) -> list[str]:
        return ["head " + ", ".join(map(str, where)) if where else "head" for where in np.ndindex(self.nearest_first.shape)]


def order_scores(
    qk: Float[np.ndarray, "*head query key"],
    query_values: Integer[np.ndarray, " query"] | None = None,
    key_values: Integer[np.ndarray, " key"] | None = None,
) -> OrderScores:
    """Count the triples of values whose attention scores are in order, per head and query.

    The values that rows and columns stand for, default 0, 1, ..: a separator that asks for the least value stands below all of
    them as -1, and takes part in triples of the first kind alone. Keys of equal value make no triple of the first kind with each
    other. Raises InputError for values that do not fit the scores, and scores that are not finite.
    """
    scores = np.asarray(qk, np.float64)
    if scores.ndim < 2 or not np.isfinite(scores).all():
        raise InputError(f"order_scores: qk must be finite scores [..., query, key], got {list(scores.shape)}.")
    asked = _values(query_values, scores.shape[-2], "query_values")
    offered = _values(key_values, scores.shape[-1], "key_values")
    by_value = np.argsort(offered, kind="stable")
    offered = offered[by_value]
    rows = scores.reshape(-1, *scores.shape[-2:])[..., by_value]  # [head, query, key]
    larger = offered > asked[:, None]
    apart = np.triu(offered[:, None] < offered)
    nearest = np.zeros(rows.shape[:2], np.int64)
    ahead = np.zeros(rows.shape[:2], np.int64)
    for query, above in enumerate(larger):  # V x V comparisons at a time: all triples at once would take V^3 of memory
        mine = rows[:, query, above]
        rest = rows[:, query, ~above]
        nearest[:, query] = ((mine[:, :, None] > mine[:, None, :]) & apart[np.ix_(above, above)]).sum(axis=(1, 2))
        ahead[:, query] = (mine[:, :, None] > rest[:, None, :]).sum(axis=(1, 2))
    nearest_all = np.array([apart[np.ix_(above, above)].sum() for above in larger])
    ahead_all = larger.sum(axis=1) * (~larger).sum(axis=1)
    heads = scores.shape[:-2]
    return OrderScores(
        nearest_first=_share(nearest, nearest_all).reshape(heads),
        larger_first=_share(ahead, ahead_all).reshape(heads),
        nearest_in_order=nearest.reshape(*heads, -1),
        nearest_triples=nearest_all,
        larger_in_order=ahead.reshape(*heads, -1),
        larger_triples=ahead_all,
    )


def _share(in_order: Int[np.ndarray, "head query"], triples: Int[np.ndarray, " query"]) -> Float64[np.ndarray, " head"]:
    total = int(triples.sum())
    return in_order.sum(axis=1) / total if total else np.full(len(in_order), np.nan)


def _values(given: Integer[np.ndarray, " row"] | None, size: int, name: str) -> Int[np.ndarray, " row"]:
    values = np.arange(size) if given is None else np.asarray(given)
    if values.shape != (size,) or values.dtype.kind not in "iu":
        raise InputError(f"order_scores: {name} must be {size} integers, got {list(values.shape)} of {values.dtype}.")
    return values.astype(np.int64)
