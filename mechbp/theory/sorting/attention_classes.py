"""Where a model that sorts looks while it is asked: attention by what a key is to the answer.

answer        positions of the list that hold the value to be named next
further       other values of the list above the current one
current       the current value, where it stands in the list
below         values of the list below the current one, which have been named
separator     SEP, asked from a later position
own position  the position that is asked at: SEP itself at the first
outputs       values named before the current one, where they were named
With repeats the answer may equal the current value; it then counts as the answer. What uniform attention gives each class of a
sequence is known exactly, and stands beside every mass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from einops import reduce
from jaxtyping import Float, Float64, Int, Integer
from torch import Tensor

from mechbp.errors import InputError
from mechbp.figures.intervals import points
from mechbp.figures.picture import Picture
from mechbp.hooks import to_array
from mechbp.methods.shown import Shown
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.methods.telling import examples, frame, told
from mechbp.processes.sorting.sorted_lists import SortedLists
from mechbp.randomness import rng as named_rng
from mechbp.theory.sorting.asked import AskedLists, asked_lists

CLASSES = ("answer", "further", "current", "below", "separator", "own position", "outputs")
ANSWER, FURTHER, CURRENT, BELOW, SEPARATOR, OWN, OUTPUTS = range(len(CLASSES))
NO_KEY = len(CLASSES)
"""What stands behind the position asked at."""


@dataclass(frozen=True, eq=False, repr=False)
class ClassAttention(Shown):
    """Attention of every sequence from each position asked at, by class of key."""

    mass: Float64[np.ndarray, "n head asked class"]
    """Sum over the keys of a class; sums to 1 over classes."""
    counts: Int[np.ndarray, "n asked class"]
    """Keys of each class."""

    @property
    def mean(self) -> Float64[np.ndarray, "head asked class"]:
        """Mean mass over sequences."""
        return self.mass.mean(axis=0)

    @property
    def uniform(self) -> Float64[np.ndarray, "n asked class"]:
        """Mass of each class if all keys up to the position asked at had the same attention: the control."""
        return self.counts / self.counts.sum(axis=-1, keepdims=True)

    @property
    def mean_uniform(self) -> Float64[np.ndarray, "asked class"]:
        """The control's mean over sequences."""
        return self.uniform.mean(axis=0)

    @property
    def per_key(self) -> Float64[np.ndarray, "head asked class"]:
        """Attention that one key of a class gets, mean over sequences and keys; NaN where a class has no key."""
        total = self.counts.sum(axis=0)
        summed = self.mass.sum(axis=0)
        return np.divide(summed, total, out=np.full(summed.shape, np.nan), where=total > 0)

    def over_asked(self, rng: np.random.Generator) -> Interval:
        """Return the mean mass over the positions asked, [head, class], with an interval over sequences."""
        return bootstrap_mean(self.mass.mean(axis=2), rng)

    def picture(self, rng: np.random.Generator | None = None) -> Picture:
        """Draw the mean mass of every class, head by head, beside that of uniform attention."""
        found = self.over_asked(named_rng(0, "ClassAttention") if rng is None else rng)
        heads = [{"name": f"head {head}", **points(found[head], "x")} for head in range(len(found.mean))]
        uniform = {"name": "uniform attention", "x": self.mean_uniform.mean(axis=0), "control": True}
        return Picture(
            kind="dots",
            title="Where heads look while they are asked",
            caption=f"Attention mass by class of key, mean over the positions asked; {found.level:.0%} bootstrap intervals over "
            f"n = {found.n:,} lists. Hollow: what uniform attention gives each class.",
            alt=f"Dots with intervals by class of key ({len(CLASSES)}), one series per head, and uniform attention.",
            data={"x_title": "attention mass", "categories": list(CLASSES), "series": [*heads, uniform]},
        )

    def to_dataframe(self, rng: np.random.Generator | None = None) -> pd.DataFrame:
        """Return one row per head and class: mean mass over positions asked with its interval, and that of uniform attention."""
        found = self.over_asked(named_rng(0, "ClassAttention") if rng is None else rng)
        uniform = np.broadcast_to(self.mean_uniform.mean(axis=0), found.mean.shape)
        return frame({"head": range(len(found.mean)), "class": CLASSES}, {"mass": found, "uniform": uniform}).assign(n=found.n)

    def summary(self, rng: np.random.Generator | None = None) -> str:
        """Return the mass that up to four heads put on the answer, that of uniform attention, and n."""
        found = self.over_asked(named_rng(0, "ClassAttention") if rng is None else rng)
        heads = [f"head {head} {told(found[head, ANSWER])}" for head in range(len(found.mean))][:4]
        uniform = float(self.mean_uniform.mean(axis=0)[ANSWER])
        control = f"uniform attention, the control: {uniform:.3g}"
        return "\n".join([f"attention to the answer: {'; '.join(heads)}", control, examples(found, "lists")])


def class_attention(
    patterns: Float[np.ndarray, "n head query key"] | Float[Tensor, "n head query key"],
    tokens: Integer[np.ndarray, "n _positions"],
    process: SortedLists,
) -> ClassAttention:
    """Sum attention over the keys of every class.

    patterns: of one block, as captured on the sequences with or without their last token; rows sum to 1.
    Raises InputError where patterns and sequences do not fit, and as `asked_lists` does.
    """
    lists = asked_lists(process, tokens)
    rows = asked_rows(patterns, lists)
    classes = key_classes(lists)
    member = classes[..., None] == np.arange(len(CLASSES))
    mass = np.einsum("nhqk,nqkc->nhqc", rows, member.astype(np.float64), optimize=True)
    return ClassAttention(mass, reduce(member.astype(np.int64), "n q k c -> n q c", "sum"))


def key_classes(lists: AskedLists) -> Int[np.ndarray, "n asked key"]:
    """Return the class of every key, positions 0..2n-1, for every position asked at; NO_KEY behind it."""
    values, current, answer = lists.values[:, None, :], lists.current[..., None], lists.answer[..., None]
    of_list = np.select([values == answer, values > current, values == current], [ANSWER, FURTHER, CURRENT], BELOW)
    asked = np.arange(lists.length)[:, None]
    key = np.arange(lists.length)
    of_rest = np.select([key > asked, key == asked, key == 0], [NO_KEY, OWN, SEPARATOR], OUTPUTS)
    return np.concatenate([of_list, np.broadcast_to(of_rest, of_list.shape)], axis=2)


def asked_rows(
    patterns: Float[np.ndarray, "n head query key"] | Float[Tensor, "n head query key"], lists: AskedLists
) -> Float64[np.ndarray, "n head asked position"]:
    """Return the rows of the positions asked at, over keys 0..2n-1, in float64.

    Raises InputError unless there is a pattern of 2n or 2n + 1 positions for every sequence.
    """
    n, length = lists.values.shape
    if len(patterns) != n or patterns.shape[2] != patterns.shape[3] or patterns.shape[2] not in (2 * length, 2 * length + 1):
        raise InputError(
            f"sorting: need patterns [{n}, head, query, key] of {2 * length} or {2 * length + 1} positions, got "
            f"{list(patterns.shape)}.\nCapture blocks.0.attn.hook_pattern on the same sequences."
        )
    return to_array(patterns)[:, :, length : 2 * length, : 2 * length].astype(np.float64)
