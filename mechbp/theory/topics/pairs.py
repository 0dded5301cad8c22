"""Pairs of words by what their topics share: a word with itself, with another of the same topic, with one of another topic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int

from mechbp.brief import Brief
from mechbp.errors import InputError

SHUFFLES = 10_000
BATCH = 1000


@dataclass(frozen=True, eq=False, repr=False)
class PairClasses(Brief):
    """Masks over pairs of words that share no pair."""

    own: Bool[np.ndarray, "word word"]
    """A word with itself."""
    same: Bool[np.ndarray, "word word"]
    """Distinct words that share a topic."""
    different: Bool[np.ndarray, "word word"]

    @classmethod
    def of(cls, topic: Int[np.ndarray, " word"]) -> PairClasses:
        """Return the classes where every word has one topic."""
        own = np.eye(len(topic), dtype=bool)
        alike = topic[:, None] == topic
        return cls(own, alike & ~own, ~alike)

    @classmethod
    def of_sets(cls, word_given_topic: Float64[np.ndarray, "topic word"]) -> PairClasses:
        """Return the classes where a word may have several topics; words are of the same topic if their sets meet."""
        has = (word_given_topic > 0).astype(float)
        own = np.eye(has.shape[1], dtype=bool)
        alike = has.T @ has > 0
        return cls(own, alike & ~own, ~alike)

    def means(self, table: Float64[np.ndarray, "word word"]) -> tuple[float, float, float]:
        """Return the mean entry of each class, in the order above; NaN for a class without pairs."""
        own, same, different = (
            float(table[mask].mean()) if mask.any() else float("nan") for mask in (self.own, self.same, self.different)
        )
        return own, same, different

    def difference(self, table: Float64[np.ndarray, "word word"]) -> float:
        """Return the mean over distinct words of the same topic less that over words of different topics."""
        return float(table[self.same].mean() - table[self.different].mean())


def topic_label_test(
    table: Float64[np.ndarray, "word word"], topic: Int[np.ndarray, " word"], rng: np.random.Generator, shuffles: int = SHUFFLES
) -> float:
    """Return `pair_class_test` where every word has one topic."""
    return pair_class_test(table, PairClasses.of(topic), rng, shuffles)


def pair_class_test(
    table: Float64[np.ndarray, "word word"], classes: PairClasses, rng: np.random.Generator, shuffles: int = SHUFFLES
) -> float:
    """Return the one-sided p of same less different over random assignments of the same topics to words.

    table: any number per ordered pair of words; its diagonal does not count.
    p = (1 + shuffles at least as large) / (1 + shuffles).
    Raises InputError where the labels leave a class of pairs empty.
    """
    if not classes.same.any() or not classes.different.any():
        raise InputError("topic_label_test: need two words that share a topic, and two that do not; give other labels.")
    off = np.where(classes.own, 0.0, table)
    total = off.sum()
    n_same = int(classes.same.sum())
    n_different = int(classes.different.sum())

    def difference(same: np.ndarray) -> np.ndarray:
        return same / n_same - (total - same) / n_different

    first_word, second_word = np.nonzero(classes.same)
    seen = difference(off[classes.same].sum(keepdims=True))[0]
    above = 0
    for first in range(0, shuffles, BATCH):
        order = rng.permuted(np.tile(np.arange(len(off)), (min(BATCH, shuffles - first), 1)), axis=1)
        same = off[order[:, first_word], order[:, second_word]].sum(axis=1)
        above += int((difference(same) >= seen - 1e-12 * abs(seen)).sum())
    return (1 + above) / (1 + shuffles)


def cosine_table(vectors: Float64[np.ndarray, "word d"]) -> Float64[np.ndarray, "word word"]:
    """Return the cosine of every pair of rows; 0 for a row of zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, lengths, out=np.zeros_like(vectors, dtype=np.float64), where=lengths > 0)
    return unit @ unit.T
