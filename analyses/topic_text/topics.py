"""Topics of words, by latent Dirichlet allocation on the passages of some articles (gensim's LdaModel)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from gensim.models import LdaModel
from jaxtyping import Bool, Float64, Int

from analyses.topic_text.corpus import NO_WORD, Passages

PASSES = 4
CHUNK = 256
"""Passages between two updates of the topics."""
OFFSET = 4.0
"""Updates by which the first one is late: without it the first chunk alone would settle the topics."""
ITERATIONS = 30
SHOWN_WORDS = 8


@dataclass(frozen=True, eq=False)
class TopicFit:
    """One fit."""

    n_topics: int
    seed: int
    topic_given_word: Float64[np.ndarray, "word topic"]
    """P(topic | word) over the passages fitted, each row sums to 1."""
    word_given_topic: Float64[np.ndarray, "topic word"]

    @property
    def name(self) -> str:
        """What the fit is called on the page."""
        return f"{self.n_topics} topics, seed {self.seed}"

    def topics_of(self, threshold: float) -> Bool[np.ndarray, "word topic"]:
        """Return the topics of each word: those that the word, wherever it stands, is from with at least this probability.

        A word may have several below 1/2, one at most above it, or none.
        """
        return self.topic_given_word >= threshold

    def shown(self, vocabulary: tuple[str, ...], topic: int) -> str:
        """Return the words that a topic gives the highest probability."""
        return ", ".join(vocabulary[word] for word in self.word_given_topic[topic].argsort()[::-1][:SHOWN_WORDS])


def fit_topics(passages: Passages, n_topics: int, seed: int, rng: np.random.Generator) -> TopicFit:
    """Fit a topic model to the words of the passages; `rng` draws its starting point, `seed` is its name only."""
    bags = []
    for row in passages.words[rng.permutation(len(passages))]:  # else the first chunk is a few articles
        words, counts = np.unique(row[row != NO_WORD], return_counts=True)
        bags.append(list(zip(words.tolist(), counts.tolist(), strict=True)))
    # In float32, gensim's default, a word that the first chunk lacks would keep probability 0: an epsilon outweighs it.
    model = cast(Any, LdaModel)(
        bags,
        num_topics=n_topics,
        id2word={number: word for number, word in enumerate(passages.vocabulary)},
        passes=PASSES,
        iterations=ITERATIONS,
        chunksize=CHUNK,
        update_every=1,
        offset=OFFSET,
        eval_every=0,
        dtype=np.float64,
        random_state=int(rng.integers(2**31)),
    )
    expected = model.state.get_lambda().astype(np.float64)  # counts of each word in each topic, the prior's among them
    return TopicFit(n_topics, seed, (expected / expected.sum(axis=0)).T, expected / expected.sum(axis=1, keepdims=True))


def share_topic(
    topics: Bool[np.ndarray, "word topic"], first: Int[np.ndarray, "*pairs"], second: Int[np.ndarray, "*pairs"]
) -> Bool[np.ndarray, "*pairs"]:
    """Return which pairs of words have a topic in common."""
    packed = np.packbits(topics, axis=-1)
    return np.any(packed[first] & packed[second], axis=-1)
