"""The mixture behind the theory: every document has tau distinct topics, each of weight 1 / tau.

(Source: Li, Li and Risteski 2023.) The posterior is a sum over the C(T, tau) sets of topics, its support.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from mechbp.errors import InputError
from mechbp.processes.topics.documents import (
    DocumentSample,
    Length,
    checked_length,
    checked_request,
    drawn_words,
    longest_of,
)
from mechbp.processes.topics.words import TopicWords, checked_words, disjoint_words


@dataclass(frozen=True, eq=False)
class SupportMixture(TopicWords):
    """A source of documents with `topics_per_document` distinct topics each, all such sets equally probable."""

    word_given_topic: Float64[np.ndarray, "topic word"]
    """P(word | topic), rows sum to 1; kept as a read-only float64 copy."""
    topics_per_document: int
    """tau, from 1 to the number of topics."""
    length: Length = None
    """Words per document where nobody says how long; (low, high) is uniform on low..high, both included."""

    def __post_init__(self) -> None:
        words = checked_words(self.word_given_topic, "SupportMixture")
        tau = self.topics_per_document
        if not isinstance(tau, int | np.integer) or isinstance(tau, bool) or not 1 <= tau <= len(words):
            raise InputError(
                f"SupportMixture: topics_per_document must be an integer from 1 to the number of topics, {len(words)}, got {tau!r:.60}."
            )
        object.__setattr__(self, "word_given_topic", words)
        object.__setattr__(self, "topics_per_document", int(tau))
        object.__setattr__(self, "length", checked_length(self.length, "SupportMixture"))

    @classmethod
    def disjoint(
        cls, n_topics: int, words_per_topic: int, topics_per_document: int, length: Length = None
    ) -> SupportMixture:  # fmt: skip
        """Return topics that share no word; topic t has the words t * words_per_topic.. with equal probability."""
        return cls(disjoint_words(n_topics, words_per_topic, "SupportMixture.disjoint"), topics_per_document, length)

    def of_length(self, length: Length) -> SupportMixture:
        """Return the same process, asked for documents of `length` words unless told otherwise."""
        return replace(self, length=length)

    def sample(self, n: int, rng: np.random.Generator, length: Length = None) -> DocumentSample:
        """Draw n independent documents of `length` words each, or as long as the process says.

        Raises InputError where neither says how long.
        """
        lengths = checked_request(n, rng, length, self.length, "SupportMixture.sample")
        tau = self.topics_per_document
        support = rng.random((n, self.n_topics)).argsort(axis=1)[:, :tau]
        rows = np.arange(n)[:, None]
        proportions = np.zeros((n, self.n_topics))
        proportions[rows, support] = 1 / tau
        assignments = support[rows, rng.integers(tau, size=(n, longest_of(length, self.length)))]
        tokens, assignments = drawn_words(self.word_given_topic, assignments, lengths, rng)
        return DocumentSample(tokens, proportions, assignments)
