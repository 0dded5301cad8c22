"""The mixture behind the theory: every document has tau distinct topics, each of weight 1 / tau.

(Source: Li, Li and Risteski 2023.) The posterior is a sum over all sets of topics that a document may have, its supports.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from math import comb

import numpy as np
from jaxtyping import Bool, Integer, Real

from mechbp.errors import InputError, LimitExceeded
from mechbp.processes.process import Joint
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
from mechbp.processes.topics.joint import small_length, support_urn, topics_joint
from mechbp.processes.topics.listed import ListedProportions, listed_posterior
from mechbp.processes.topics.posterior import TopicBeliefs, topic_beliefs
from mechbp.processes.topics.words import TopicWords, checked_words, disjoint_words

MAX_SUPPORTS = 20_000
"""More sets of topics are refused before they are listed."""


@dataclass(frozen=True, eq=False, repr=False)
class SupportMixture(TopicWords):
    """A source of documents with `topics_per_document` distinct topics each, all such sets equally probable."""

    word_given_topic: Real[np.ndarray, "topic word"]
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
                f"SupportMixture: topics_per_document must be an integer from 1 to {len(words)}, the number of topics, "
                f"got {tau!r:.60}."
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

    def small(self) -> SupportMixture:
        """Return the same process at one length, at which its joint can be listed."""
        length = small_length(self.word_given_topic, self.length)
        return self if length == self.length else self.of_length(length)

    def joint(self) -> Joint:
        """List P(assignments, words) at this process's length. Raises InputError without one, LimitExceeded if too long."""
        urn = partial(support_urn, n_topics=self.n_topics, topics_per_document=self.topics_per_document)
        return topics_joint(self.word_given_topic, urn, self.length, "SupportMixture.joint")

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

    def beliefs(
        self, tokens: Integer[np.ndarray, "n length"], observed: Bool[np.ndarray, "n length"] | None = None
    ) -> TopicBeliefs:
        """Return the exact posterior given the observed words, whatever their order; tokens ABSENT or V are not observed.

        Raises ImpossibleEvidence, naming the first example, where the words have probability 0, and LimitExceeded where there
        are more than MAX_SUPPORTS sets of topics.
        """
        where = "SupportMixture.beliefs"
        evidence = read_evidence(tokens, observed, self.vocab_size, where)
        posterior = partial(listed_posterior, self.listed_proportions(where=where), self.word_classes)
        return topic_beliefs(evidence, self.word_classes, posterior, self.word_given_topic, where)

    def listed_proportions(
        self, n_words: int | None = None, where: str = "SupportMixture.listed_proportions"
    ) -> ListedProportions:
        """Return all proportions there are, whatever the length. Raises LimitExceeded where they are too many."""
        tau = self.topics_per_document
        n_supports = comb(self.n_topics, tau)
        if n_supports > MAX_SUPPORTS:
            raise LimitExceeded(
                f"{where}: {tau} of {self.n_topics} topics can be chosen in {float(n_supports):.1e} ways; "
                f"at most {MAX_SUPPORTS:,} are summed.\nUse fewer topics."
            )
        members = np.array(list(combinations(range(self.n_topics), tau)))
        theta = np.zeros((n_supports, self.n_topics))
        theta[np.arange(n_supports)[:, None], members] = 1 / tau
        return ListedProportions(read_only(theta.T), read_only(np.full(n_supports, 1 / n_supports)))
