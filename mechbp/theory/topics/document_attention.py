"""Attention between the tokens of documents, by what their words share: patterns averaged by class, and made from class
weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from einops import rearrange
from jaxtyping import Bool, Float, Float64, Int, Int8

CLASSES = ("own word", "same topic", "another topic", "no word")
"""What a key shows, seen from a query that shows a word; then the two classes of queries that show none."""
ALL_CLASSES = (*CLASSES, "word, from no word", "no word, from no word")
N_CLASSES = len(ALL_CLASSES)


@dataclass(frozen=True, eq=False)
class TokenPairs:
    """The class of every pair of positions of some documents, and which positions are keys."""

    classes: Int8[np.ndarray, "n query key"]
    """Index into ALL_CLASSES."""
    seen: Bool[np.ndarray, "n key"]

    @classmethod
    def of(
        cls,
        shown: Int[np.ndarray, "n position"],
        shares_topic: Bool[np.ndarray, "word word"],
        seen: Bool[np.ndarray, "n position"],
    ) -> TokenPairs:
        """Return the classes for what stands at each position: a word 0..V-1, or anything else. shares_topic holds for a
        word itself."""
        n_words = len(shares_topic)
        is_word = (shown >= 0) & (shown < n_words)
        word = np.where(is_word, shown, 0)
        query, key = word[:, :, None], word[:, None, :]
        of_word = np.where(shares_topic[query, key], 1, 2)
        of_word = np.where(query == key, 0, of_word)
        of_word = np.where(is_word[:, None, :], of_word, 3)
        of_other = np.where(is_word[:, None, :], 4, 5)
        return cls(np.where(is_word[:, :, None], of_word, of_other).astype(np.int8), seen)


def attention_by_class(
    pattern: Float[np.ndarray, "n head query key"], pairs: TokenPairs, queries: Bool[np.ndarray, "n query"] | None = None
) -> Float64[np.ndarray, "n head class"]:
    """Return the mean attention to a key of each class times the number of keys: 1 is uniform; NaN where a document has
    no such pair.

    queries: which positions ask; None means all that are keys.
    """
    asking = pairs.seen if queries is None else queries
    n, heads = pattern.shape[:2]
    code = pairs.classes.astype(np.int64) + N_CLASSES * np.arange(n)[:, None, None]
    counted = asking[:, :, None] & pairs.seen[:, None, :]
    flat = code[counted]
    number = np.bincount(flat, minlength=n * N_CLASSES).reshape(n, N_CLASSES)
    total = np.stack(
        [
            np.bincount(flat, weights=pattern[:, head][counted], minlength=n * N_CLASSES).reshape(n, N_CLASSES)
            for head in range(heads)
        ],
        axis=1,
    )
    with np.errstate(invalid="ignore"):
        return total / np.where(number == 0, np.nan, number)[:, None] * pairs.seen.sum(axis=1)[:, None, None]


def pattern_of_classes(weights: Float64[np.ndarray, "head class"], pairs: TokenPairs) -> Float64[np.ndarray, "n head query key"]:
    """Return the pattern that gives every key the weight of its class, normalised over the keys; NaN weights count as 1."""
    given = np.where(np.isnan(weights), 1.0, weights)
    pattern = rearrange(given[:, pairs.classes], "head n query key -> n head query key") * pairs.seen[:, None, None, :]
    return pattern / pattern.sum(axis=-1, keepdims=True)
