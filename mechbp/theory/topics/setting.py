"""The setting of the theory: documents of a few topics, infinitely long, some positions masked.

A document draws `topics_per_document` of the topics without repetition, weighs them equally and draws every word uniformly from
the `words_per_topic` words of a topic; topics share no words. A share `mask_rate` of the positions is selected; of these a share
`keep` shows the word, `random` a random one, and the rest MASK. Ids: word w is w, topic w // words_per_topic; MASK is n_words.

In an infinite document only the frequencies of types matter. Per position, of all positions:

    genuine a = 1 - (1 - keep) mask_rate      noise b = mask_rate random      MASK p0 = 1 - a - b

so that a topic of weight theta has frequency a theta + b / T. Where selected positions are no keys, a = 1 and b = p0 = 0.
(Source: Li, Li and Risteski 2023, the topic mixture of the theory; frequencies by plain derivation.)
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float64

from mechbp.errors import InputError, LimitExceeded

Keys = Literal["all", "unselected"]

SUPPORT_LIMIT = 20_000
"""Sets of topics that are enumerated at most."""


@dataclass(frozen=True)
class TopicSetting:
    """Sizes, masking rates, and which positions may be attended to.

    `n_ids` is the number of ids that a random replacement is drawn from; None means the words. Ids beyond the words say nothing
    about the topic, and queries that show one are left out of every loss.
    Raises InputError where a size or a rate is out of range.
    """

    n_topics: int
    words_per_topic: int
    topics_per_document: int = 1
    mask_rate: float = 0.15
    keep: float = 0.1
    random: float = 0.1
    keys: Keys = "all"
    n_ids: int | None = None

    def __post_init__(self) -> None:
        if self.n_topics < 1 or self.words_per_topic < 1:
            raise InputError(f"TopicSetting: need topics and words, got {self.n_topics} topics of {self.words_per_topic} words.")
        if not 1 <= self.topics_per_document <= self.n_topics:
            raise InputError(f"TopicSetting: need 1 to {self.n_topics} topics per document, got {self.topics_per_document}.")
        rates = (self.mask_rate, self.keep, self.random)
        if not all(0 <= rate <= 1 for rate in rates) or self.keep + self.random > 1 + 1e-12:
            raise InputError(f"TopicSetting: rates must be shares with keep + random <= 1, got {rates}.")
        if self.mask_rate == 1 and self.keep == 0:
            raise InputError("TopicSetting: no genuine word is ever shown with mask_rate 1 and keep 0. Lower mask_rate.")
        if self.keys not in get_args(Keys):
            raise InputError(f"TopicSetting: keys must be one of {', '.join(get_args(Keys))}, got {self.keys!r:.40}.")
        if self.n_ids is not None and self.n_ids < self.n_words:
            raise InputError(f"TopicSetting: n_ids must be at least the {self.n_words} words, got {self.n_ids}.")

    @property
    def n_words(self) -> int:
        """Number of words: the id of MASK."""
        return self.n_topics * self.words_per_topic

    @property
    def genuine(self) -> float:
        """Share of keys that show the word that was drawn there: a."""
        return 1 - (1 - self.keep) * self.mask_rate if self.keys == "all" else 1.0

    @property
    def noise(self) -> float:
        """Share of keys that show a random word: b."""
        return self.mask_rate * self.random if self.keys == "all" else 0.0

    @property
    def masked(self) -> float:
        """Share of keys that show MASK: p0."""
        return self.mask_rate * self.hidden if self.keys == "all" else 0.0

    @property
    def hidden(self) -> float:
        """Share of selected positions that show MASK."""
        return max(1 - self.keep - self.random, 0.0)

    @property
    def random_per_word(self) -> float:
        """Probability that a selected position shows one given word by random replacement."""
        return self.random / (self.n_words if self.n_ids is None else self.n_ids)

    def supports(self) -> Float64[np.ndarray, "support topic"]:
        """Return 1 where a topic belongs to a document, for every set of topics. Raises LimitExceeded above 20,000 sets."""
        count = comb(self.n_topics, self.topics_per_document)
        if count > SUPPORT_LIMIT:
            raise LimitExceeded(
                f"TopicSetting: {count:,} sets of {self.topics_per_document} out of {self.n_topics} topics, "
                f"at most {SUPPORT_LIMIT:,} are listed."
            )
        found = np.zeros((count, self.n_topics))
        for row, chosen in enumerate(combinations(range(self.n_topics), self.topics_per_document)):
            found[row, list(chosen)] = 1.0
        return found

    def key_mass(self) -> Float64[np.ndarray, "support block"]:
        """Return the share of keys in every topic, and of MASK in the last column; rows sum to 1."""
        topics = self.genuine * self.supports() / self.topics_per_document + self.noise / self.n_topics
        return np.hstack([topics, np.full((len(topics), 1), self.masked)])

    def topic_products(self) -> Float64[np.ndarray, "topic topic"]:
        """Return E[theta_t theta_s] over documents, in closed form.

        Two given topics both belong to a document with probability tau (tau - 1) / (T (T - 1)).
        """
        tau = self.topics_per_document
        pair = (tau - 1) / (tau * self.n_topics * max(self.n_topics - 1, 1))
        return np.where(np.eye(self.n_topics, dtype=bool), 1 / (tau * self.n_topics), pair)

    def spread(self, topics: np.ndarray) -> np.ndarray:
        """Return [.., topic] values shared out equally over the words of each topic, [.., word]."""
        return np.repeat(topics / self.words_per_topic, self.words_per_topic, axis=-1)
