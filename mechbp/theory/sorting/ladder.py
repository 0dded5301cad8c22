"""What there is to lose: cross-entropy and accuracy of the best predictor that knows only so much, exactly, in expectation.

Each rung is the least cross-entropy possible given what it knows. (Plain derivation from the order statistics.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np
from jaxtyping import Float64
from scipy.special import xlogy

from mechbp.methods.brief import Brief
from mechbp.processes.sorting.rungs import Knowledge, Rung, current_and_next
from mechbp.processes.sorting.sorted_lists import SortedLists


@dataclass(frozen=True, eq=False, repr=False)
class RungLoss(Brief):
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
