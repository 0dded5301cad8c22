"""What there is to lose: cross-entropy and accuracy of the best predictor that knows only so much, exactly, in expectation.

Each rung is the least cross-entropy possible given what it knows. (Plain derivation from the order statistics.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np
import pandas as pd
from jaxtyping import Float64
from scipy.special import xlogy

from mechbp.figures.picture import Picture
from mechbp.methods.shown import Shown
from mechbp.methods.telling import frame
from mechbp.processes.sorting.rungs import Knowledge, Rung, current_and_next
from mechbp.processes.sorting.sorted_lists import SortedLists


@dataclass(frozen=True, eq=False, repr=False)
class RungLoss(Shown):
    """Expectations over lists, one per position: after SEP, b_1, .. b_{n-1}."""

    knows: Knowledge
    cross_entropy_nats: Float64[np.ndarray, " position"]
    accuracy: Float64[np.ndarray, " position"]
    """P(the likeliest next value is the right one); ties are broken at random."""

    @property
    def mean_nats(self) -> float:
        """Mean cross-entropy over positions."""
        return float(self.cross_entropy_nats.mean())

    @property
    def mean_accuracy(self) -> float:
        """Mean accuracy over positions."""
        return float(self.accuracy.mean())

    def picture(self) -> Picture:
        """Draw the exact loss by position."""
        x = np.arange(1, len(self.cross_entropy_nats) + 1)
        return Picture(
            kind="lines",
            title=f"Loss of the best predictor that knows: {self.knows}",
            caption="Least possible cross-entropy given what it knows, an expectation over all lists: no sampling, no interval.",
            alt="A line over positions: the least possible cross-entropy.",
            data={
                "x_title": "answer of the list",
                "y_title": "cross-entropy (nats)",
                "series": [{"name": self.knows, "x": x, "y": self.cross_entropy_nats}],
            },
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per answer of the list: cross-entropy in nats and accuracy."""
        columns = {"cross_entropy_nats": self.cross_entropy_nats, "accuracy": self.accuracy}
        return frame({"answer": range(1, len(self.accuracy) + 1)}, columns).assign(knows=self.knows)

    def summary(self) -> str:
        """Return mean loss and accuracy; both exact."""
        return (
            f"best predictor that knows {self.knows!r}: cross-entropy {self.mean_nats:.4g} nats, accuracy "
            f"{self.mean_accuracy:.4g}\n"
            f"expectations over all lists of {len(self.accuracy)} values: no sampling"
        )


def information_ladder(lists: SortedLists) -> dict[Knowledge, RungLoss]:
    """Return the loss of every rung, from the one that knows least; with repeats only those that look at no list, and sorting."""
    names: tuple[Knowledge, ...] = get_args(Knowledge)
    return {name: rung_loss(Rung(lists, name)) for name in names if not (lists.repeats and name in ("list", "larger"))}


def rung_loss(rung: Rung) -> RungLoss:
    """Return the exact loss of one rung; of those that look at the list only where lists have no repeats."""
    n = rung.lists.length
    left = n - np.arange(n)
    if rung.knows == "sorted":
        return RungLoss(rung.knows, np.zeros(n), np.ones(n))
    if rung.knows == "list":
        return RungLoss(rung.knows, np.full(n, np.log(n)), np.full(n, 1 / n))
    if rung.knows == "larger":
        return RungLoss(rung.knows, np.log(left), 1 / left)
    return _table_loss(rung)


def _table_loss(rung: Rung) -> RungLoss:
    """The loss of a table of the current token and its position, averaged over P(position's tokens)."""
    joint = current_and_next(rung.lists)
    loss = -xlogy(joint, np.where(joint > 0, rung.table, 1.0)).sum(axis=(1, 2))
    best = rung.table == rung.table.max(axis=-1, keepdims=True)
    hits = (joint * best / best.sum(axis=-1, keepdims=True)).sum(axis=(1, 2))
    return RungLoss(rung.knows, loss, hits)
