"""Floors of given documents: those of a fresh set of 10,000 differ by more than trained models do.

Plain Dirichlet topics without shared words, selected positions invisible: m_t = (alpha_t + n_t) / (A + n), n_t the visible words.
(Source: plain derivation.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int

from mechbp.errors import InputError
from mechbp.figures.picture import Picture
from mechbp.methods.shown import Shown
from mechbp.methods.statistics.intervals import Interval, bootstrap_ratio
from mechbp.methods.telling import dots, frame, told
from mechbp.randomness import rng as named_rng


@dataclass(frozen=True, eq=False, repr=False)
class DocumentFloors(Shown):
    """Sums over the selected positions of each document, for means and for intervals over documents."""

    n_targets: Int[np.ndarray, " document"]
    ce_nats: Float64[np.ndarray, " document"]
    """Sum of -ln P(target | visible words)."""
    squared: Float64[np.ndarray, " document"]
    """Sum of the squared loss of the posterior against the one-hot target, over positions and outputs."""

    @property
    def mean_ce_nats(self) -> float:
        """Cross-entropy per selected position."""
        return float(self.ce_nats.sum() / self.n_targets.sum())

    @property
    def mean_squared(self) -> float:
        """Squared loss per selected position, summed over outputs."""
        return float(self.squared.sum() / self.n_targets.sum())

    def picture(self, rng: np.random.Generator | None = None) -> Picture:
        """Draw both floors per selected position, with intervals over documents."""
        return Picture(
            kind="dots",
            title="Floors of the given documents",
            caption=f"Per selected position, of {int(self.n_targets.sum()):,} in n = {len(self.n_targets):,} documents; 95% "
            "bootstrap intervals over documents, for how another set of as many would differ.",
            alt="Two dots with intervals: least cross-entropy and least squared loss per selected position.",
            data=dots("loss per selected position", self._floors(rng)),
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per document: selected positions and both sums over them."""
        columns = {"n_targets": self.n_targets, "ce_nats": self.ce_nats, "squared": self.squared}
        return frame({"document": range(len(self.n_targets))}, columns)

    def summary(self, rng: np.random.Generator | None = None) -> str:
        """Return both floors with intervals, and n."""
        floors = self._floors(rng)
        told_all = ", ".join(f"{name} {told(found)}" for name, found in floors.items())
        return f"per selected position: {told_all}\nn = {len(self.n_targets):,} documents, 95% intervals"

    def _floors(self, rng: np.random.Generator | None) -> dict[str, Interval]:
        draw = named_rng(0, "DocumentFloors") if rng is None else rng
        sums = np.stack([self.ce_nats, self.squared], axis=1)
        both = bootstrap_ratio(sums, self.n_targets.astype(np.float64), draw)
        return {"cross-entropy (nats)": both[0], "squared loss": both[1]}


def document_floors(
    visible: Int[np.ndarray, "document topic"],
    targets: Int[np.ndarray, "document topic"],
    alpha: Float64[np.ndarray, " topic"],
    words_per_topic: int,
) -> DocumentFloors:
    """Return the floors of documents given by their numbers of visible and of selected words per topic.

    Sum of squares: v m_t²/v² over topics, less 2 m_t / v for a target of topic t, plus 1.
    Raises InputError for negative counts, alpha <= 0, or no word per topic.
    """
    if (visible < 0).any() or (targets < 0).any() or not (alpha > 0).all() or words_per_topic < 1:
        raise InputError("document_floors: need counts >= 0, alpha > 0 and at least one word per topic.")
    probability = (alpha + visible) / (alpha.sum() + visible.sum(axis=1, keepdims=True))
    n_targets = targets.sum(axis=1)
    ce = -(targets * np.log(probability / words_per_topic)).sum(axis=1)
    square = np.square(probability).sum(axis=1) / words_per_topic
    hits = (targets * probability).sum(axis=1) / words_per_topic
    return DocumentFloors(n_targets, ce, n_targets * (1 + square) - 2 * hits)


def shown_word_ce(
    word_probability: Float64[np.ndarray, "position word"],
    targets: Int[np.ndarray, " position"],
    shown: Int[np.ndarray, " position"],
    keep: float,
    random_per_id: float,
) -> Float64[np.ndarray, " position"]:
    """Return -ln P(target | context, shown id) in nats, given the posterior of the context; ids from V on are no words.

    P(y | x) = (keep 1[y = x] P(x) + u P(y)) / (keep P(x) + u), u = `random_per_id`; an id that is no word leaves P(y).
    Raises InputError where no random word can be shown, for then x is certain.
    """
    if random_per_id <= 0 or not 0 <= keep <= 1:
        raise InputError(f"shown_word_ce: need random_per_id > 0 and 0 <= keep <= 1, got {random_per_id} and {keep}.")
    rows = np.arange(len(targets))
    n_words = word_probability.shape[1]
    is_word = shown < n_words
    prior = word_probability[rows, targets]
    of_shown = np.where(is_word, word_probability[rows, np.where(is_word, shown, 0)], 0.0)
    hit = np.where(shown == targets, keep * of_shown, 0.0)
    return -np.log((hit + random_per_id * prior) / (keep * of_shown + random_per_id))
