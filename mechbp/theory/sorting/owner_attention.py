"""Whether the head that would copy the answer looks at it: attention to the list, from the head that owns each answer.

Heads may share the values out between them, so that the head that matters differs from question to question. The owner of a value
is given: the head whose OV circuit raises its logit most when it is attended to. Attention outside the list is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float64, Int, Integer
from torch import Tensor

from mechbp.errors import InputError
from mechbp.figures.intervals import points
from mechbp.figures.picture import Picture
from mechbp.methods.shown import Shown
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean, bootstrap_ratio
from mechbp.methods.telling import examples, frame, told
from mechbp.processes.sorting.sorted_lists import SortedLists
from mechbp.randomness import rng as named_rng
from mechbp.theory.sorting.asked import asked_lists
from mechbp.theory.sorting.attention_classes import ANSWER, FURTHER, asked_rows, key_classes


@dataclass(frozen=True, eq=False, repr=False)
class OwnerAttention(Shown):
    """Attention of the answer's owner from every position asked at, to keys of the list."""

    first: Bool[np.ndarray, "n asked"]
    """Whether no key of the list has more attention than the answer; a tie with another value is none."""
    larger: Float64[np.ndarray, "n asked"]
    """Share of the attention to the list that values above the current one have; NaN where the list has none."""
    uniform_first: Float64[np.ndarray, "n asked"]
    """What `first` is on average where the attention knows nothing: keys of the list with the answer's value over all."""
    uniform_larger: Float64[np.ndarray, "n asked"]
    """What `larger` is with the same attention to every key of the list."""

    def picture(self, rng: np.random.Generator | None = None) -> Picture:
        """Draw by position asked how often the owner looks most at the answer, and its attention to larger values."""
        first, larger = self._intervals(rng)
        x = np.arange(1, self.first.shape[1] + 1)
        return Picture(
            kind="lines",
            title="Whether the owner of the answer looks at it",
            caption=f"Mean over n = {first.n:,} lists with {first.level:.0%} bootstrap bands. Dotted: attention that knows "
            "nothing.",
            alt="Lines over positions asked: share with the answer first, attention to larger values, and their controls.",
            data={
                "x_title": "answer of the list",
                "y_title": "share",
                "y_range": [-0.02, 1.02],
                "series": [
                    {"name": "answer first", "x": x, **points(first, "y"), "color": 0},
                    {"name": "attention to larger values", "x": x, **points(larger, "y"), "color": 1},
                    {"name": "answer first, uniform", "x": x, "y": self.uniform_first.mean(axis=0), "color": 0, "control": True},
                    {"name": "larger, uniform", "x": x, "y": self.uniform_larger.mean(axis=0), "color": 1, "control": True},
                ],
            },
        )

    def to_dataframe(self, rng: np.random.Generator | None = None) -> pd.DataFrame:
        """Return one row per answer of the list: both shares with intervals, and both controls."""
        first, larger = self._intervals(rng)
        columns = {"first": first, "larger": larger}
        columns |= {"uniform_first": self.uniform_first.mean(axis=0), "uniform_larger": self.uniform_larger.mean(axis=0)}
        return frame({"answer": range(1, self.first.shape[1] + 1)}, columns).assign(n=first.n)

    def summary(self, rng: np.random.Generator | None = None) -> str:
        """Return both shares over all positions beside their controls, and n."""
        draw = named_rng(0, "OwnerAttention") if rng is None else rng
        first = bootstrap_mean(self.first.mean(axis=1), draw)
        seen = ~np.isnan(self.larger)
        larger = bootstrap_ratio(np.where(seen, self.larger, 0.0).sum(axis=1), seen.sum(axis=1).astype(np.float64), draw)
        return (
            f"answer first {told(first)}; uniform attention {self.uniform_first.mean():.3g}\n"
            f"attention to larger values {told(larger)}; uniform attention {self.uniform_larger.mean():.3g}\n"
            f"{examples(first, 'lists')}"
        )

    def _intervals(self, rng: np.random.Generator | None) -> tuple[Interval, Interval]:
        """Both shares by position asked."""
        draw = named_rng(0, "OwnerAttention") if rng is None else rng
        seen = ~np.isnan(self.larger)
        larger = bootstrap_ratio(np.where(seen, self.larger, 0.0), seen.astype(np.float64), draw)
        return bootstrap_mean(self.first.astype(np.float64), draw), larger


def owner_attention(
    patterns: Float[np.ndarray, "n head query key"] | Float[Tensor, "n head query key"],
    tokens: Integer[np.ndarray, "n _positions"],
    process: SortedLists,
    owner: Int[np.ndarray, " value"],
) -> OwnerAttention:
    """Read the attention of each answer's owner.

    patterns: of one block, as captured on the sequences with or without their last token. owner: one head per value, as
    `mechbp.methods.circuits.modes.modes(...).owner`. Raises InputError for owners that do not fit, and as `class_attention` does.
    """
    lists = asked_lists(process, tokens)
    rows = asked_rows(patterns, lists)
    if owner.shape != (process.vocab_size,) or owner.min() < 0 or owner.max() >= rows.shape[1]:
        raise InputError(
            f"owner_attention: need a head among 0..{rows.shape[1] - 1} for each of {process.vocab_size} values, got "
            f"{list(owner.shape)}, {owner.min()}..{owner.max()}."
        )
    head = owner[lists.answer]
    sequence, asked = np.indices(head.shape)
    to_list = rows[sequence, head, asked][..., : lists.length]
    classes = key_classes(lists)[..., : lists.length]
    answer = classes == ANSWER
    above = answer | (classes == FURTHER)
    total = to_list.sum(axis=2)
    on_larger = np.where(above, to_list, 0).sum(axis=2)
    return OwnerAttention(
        first=np.where(answer, to_list, -1).max(axis=2) > np.where(answer, -1, to_list).max(axis=2),
        larger=np.divide(on_larger, total, out=np.full(total.shape, np.nan), where=total > 0),
        uniform_first=answer.mean(axis=2),
        uniform_larger=above.mean(axis=2),
    )
