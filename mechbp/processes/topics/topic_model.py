"""Latent Dirichlet allocation with known topics: every document mixes topics in proportions of its own.

theta ~ Dirichlet(alpha) per document; z_i ~ theta and w_i ~ word_given_topic[z_i] for every word, in any order. (Source: Blei,
Ng and Jordan 2003; the topics that share no word are the setting of Li, Li and Risteski 2023.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float64, Integer, Real

from mechbp.arguments import checked_count, checked_label, checked_reals, told
from mechbp.errors import InputError
from mechbp.processes.process import ABSENT, Joint
from mechbp.processes.read_only import read_only
from mechbp.processes.topics.documents import (
    DocumentSample,
    Length,
    checked_length,
    checked_request,
    drawn_words,
    longest_of,
    read_evidence,
)
from mechbp.processes.topics.joint import dirichlet_urn, small_length, topics_joint
from mechbp.processes.topics.listed import ListedProportions, listed_posterior
from mechbp.processes.topics.posterior import TopicBeliefs, disjoint_posterior, topic_beliefs
from mechbp.processes.topics.simplex import dirichlet_rule
from mechbp.processes.topics.words import TopicWords, checked_words, disjoint_words, ring_words

__all__ = ["ABSENT", "DocumentSample", "TopicBeliefs", "TopicModel"]

if TYPE_CHECKING:
    Concentration = Float64[np.ndarray, " topic"]
else:  # a model may be given one number; it always has an array
    Concentration = Real[np.ndarray, " topic"] | float


@dataclass(frozen=True, eq=False, repr=False)
class TopicModel(TopicWords):
    """A source of documents whose topics are known and whose proportions of topics are not.

    >>> import mechbp
    >>> topics = mechbp.TopicModel.disjoint(3, 4, alpha=0.1)
    >>> documents = topics.sample(2, mechbp.rng(0, "documents"), length=10)
    >>> topics.beliefs(documents.tokens).predictive.shape
    (2, 12)
    """

    word_given_topic: Real[np.ndarray, "topic word"]
    """P(word | topic), rows sum to 1; kept as a read-only float64 copy."""
    alpha: Concentration
    """Parameters of the Dirichlet distribution of the proportions, above 0: one per topic, or one number for all of them; kept as
    a read-only float64 array [topic]."""
    length: Length = None
    """Words per document where nobody says how long; (low, high) is uniform on low..high, both included."""

    def __post_init__(self) -> None:
        words = checked_words(self.word_given_topic, "TopicModel")
        object.__setattr__(self, "word_given_topic", words)
        object.__setattr__(self, "alpha", _checked_alpha(self.alpha, len(words)))
        object.__setattr__(self, "length", checked_length(self.length, "TopicModel"))

    @classmethod
    def disjoint(
        cls, n_topics: int, words_per_topic: int, alpha: float | Float64[np.ndarray, " topic"], length: Length = None
    ) -> TopicModel:
        """Return topics that share no word; topic t has the words t * words_per_topic.. with equal probability."""
        words = disjoint_words(n_topics, words_per_topic, "TopicModel.disjoint")
        return cls(words, _checked_alpha(alpha, n_topics), length)

    @classmethod
    def ring(
        cls,
        n_topics: int,
        words_per_topic: int,
        shared: int,
        share: float,
        alpha: float | Float64[np.ndarray, " topic"],
        length: Length = None,
    ) -> TopicModel:
        """Return topics that overlap: each has `words_per_topic` words of its own and borrows the first `shared` of the next.

        A word of its own has probability (1 - share) / words_per_topic, one that it borrows share / shared.
        """
        words = ring_words(n_topics, words_per_topic, shared, share, "TopicModel.ring")
        return cls(words, _checked_alpha(alpha, n_topics), length)

    def of_length(self, length: Length) -> TopicModel:
        """Return the same process, asked for documents of `length` words unless told otherwise."""
        return replace(self, length=length)

    def small(self) -> TopicModel:
        """Return the same process at one length, at which its joint can be listed."""
        length = small_length(self.word_given_topic, self.length)
        return self if length == self.length else self.of_length(length)

    def joint(self) -> Joint:
        """List P(assignments, words) at this process's length. Raises InputError without one, LimitExceeded if too long."""
        urn = partial(dirichlet_urn, alpha=self.alpha)
        return topics_joint(self.word_given_topic, urn, self.length, "TopicModel.joint")

    def sample(self, n: int, rng: np.random.Generator, length: Length = None) -> DocumentSample:
        """Draw n independent documents of `length` words each, or as long as the model says.

        Raises InputError where neither says how long.
        """
        lengths = checked_request(n, rng, length, self.length, "TopicModel.sample")
        proportions = rng.dirichlet(self.alpha, size=n)
        point = rng.random((n, longest_of(length, self.length)))
        assignments = np.zeros(point.shape, np.int64)
        for bound in proportions.cumsum(axis=1).T[:-1]:
            assignments += point >= bound[:, None]
        tokens, assignments = drawn_words(self.word_given_topic, assignments, lengths, rng)
        return DocumentSample(tokens, proportions, assignments)

    def beliefs(
        self, tokens: Integer[np.ndarray, "n length"], observed: Bool[np.ndarray, "n length"] | None = None
    ) -> TopicBeliefs:
        """Return the exact posterior given the observed words, whatever their order; tokens ABSENT or V are not observed.

        Raises ImpossibleEvidence, naming the first example, where the words have probability 0.
        """
        where = "TopicModel.beliefs"
        evidence = read_evidence(tokens, observed, self.vocab_size, where)
        classes = self.word_classes
        if self.are_disjoint:
            posterior = partial(disjoint_posterior, self.alpha, classes)
        else:
            posterior = partial(listed_posterior, self.listed_proportions(evidence.words.shape[1], where), classes)
        return topic_beliefs(evidence, classes, posterior, self.word_given_topic, where)

    def listed_proportions(self, n_words: int, where: str = "TopicModel.listed_proportions") -> ListedProportions:
        """Return proportions and weights that give every expectation over theta behind `beliefs` of `n_words` words exactly.

        Raises LimitExceeded where they are too many.
        """
        where = checked_label(where, "TopicModel.listed_proportions", "where")
        n_words = checked_count(n_words, where, "n_words", least=0)
        return dirichlet_rule(self.alpha, n_words + 2, where)  # each word is one factor linear in theta, the variance two


def _checked_alpha(alpha: object, n_topics: int) -> Float64[np.ndarray, " topic"]:
    expected = f"one number or {n_topics}, one per topic"
    array = checked_reals(alpha, "TopicModel", "alpha", expected)
    if array.shape not in ((), (n_topics,)):
        raise InputError(f"TopicModel: alpha must be {expected}, got shape {list(array.shape)}.")
    array = np.array(np.broadcast_to(array, (n_topics,)), np.float64)
    if not np.isfinite(array).all() or (array <= 0).any():
        raise InputError(f"TopicModel: alpha must be above 0 and finite, got {told(alpha)}.")
    return read_only(array)
