"""How often every topic uses every word: the table that all processes of topics share, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float64, Int
from scipy.special import xlogy

from mechbp.arguments import check_memory, checked_count, checked_number, checked_reals
from mechbp.brief import Brief
from mechbp.errors import InputError
from mechbp.processes.process import ABSENT
from mechbp.processes.read_only import read_only

ROW_SUM_TOLERANCE = 1e-9
"""Rows may miss 1 by this much; they are renormalised exactly."""


@dataclass(frozen=True, eq=False, repr=False)
class WordClasses(Brief):
    """Words sorted by what they say about topics: words of one class have columns that differ by a factor only."""

    of_word: Int[np.ndarray, " word"]
    """Class of every word; -1 where no topic uses it."""
    likelihood: Float64[np.ndarray, "class topic"]
    """P(word | topic), the largest entry scaled to 1."""
    log_factor: Float64[np.ndarray, " word"]
    """What that scaling divided the column of the word by, nats; 0 where no topic uses it."""

    def counts(self, histogram: Int[np.ndarray, "n word"]) -> Float64[np.ndarray, "n class"]:
        """Return how many words of every class are in each document; words that no topic uses are not counted."""
        members = self.of_word[:, None] == np.arange(len(self.likelihood))
        return histogram @ members.astype(np.float64)


class TopicWords(Brief):
    """What follows from `word_given_topic` alone."""

    word_given_topic: Float64[np.ndarray, "topic word"]

    @property
    def n_topics(self) -> int:
        """Number of topics; topics are 0..n_topics-1."""
        return self.word_given_topic.shape[0]

    @property
    def vocab_size(self) -> int:
        """Number of words V; words are 0..V-1."""
        return self.word_given_topic.shape[1]

    @property
    def mask_token(self) -> int:
        """Token id V: a word that is not observed."""
        return self.vocab_size

    @property
    def absent_token(self) -> int:
        """Token -1: what stands after the end of a document that is shorter than others."""
        return ABSENT

    @property
    def topics_of_word(self) -> Bool[np.ndarray, "word topic"]:
        """Whether the word has positive probability in the topic."""
        return self.word_given_topic.T > 0

    @property
    def are_disjoint(self) -> bool:
        """Whether every word has positive probability in at most one topic."""
        return bool((self.topics_of_word.sum(axis=1) <= 1).all())

    @property
    def topic_of_word(self) -> Int[np.ndarray, " word"]:
        """Return the only topic of every word, -1 for a word that none uses. Raises InputError where topics overlap."""
        if not self.are_disjoint:
            word = int(np.flatnonzero(self.topics_of_word.sum(axis=1) > 1)[0])
            raise InputError(
                f"{type(self).__name__}.topic_of_word: word {word} belongs to topics "
                f"{np.flatnonzero(self.topics_of_word[word]).tolist()}, so the topics are not disjoint.\nUse topics_of_word."
            )
        return np.where(self.topics_of_word.any(axis=1), self.topics_of_word.argmax(axis=1), -1)

    @property
    def ambiguity(self) -> Float64[np.ndarray, " word"]:
        """Entropy of P(topic | word) under topics that are equally probable, nats; 0 for a word that no topic uses."""
        total = self.word_given_topic.sum(axis=0)
        share = np.divide(self.word_given_topic, total, out=np.zeros_like(self.word_given_topic), where=total > 0)
        return np.abs(xlogy(share, share).sum(axis=0))

    @cached_property
    def word_classes(self) -> WordClasses:
        """Words sorted by what they say about topics."""
        return classes_of(self.word_given_topic)


def classes_of(word_given_topic: Float64[np.ndarray, "topic word"]) -> WordClasses:
    """Sort words into classes of proportional columns, equal to the last bit once their largest entry is 1."""
    largest = word_given_topic.max(axis=0)
    used = largest > 0
    scaled = (word_given_topic[:, used] / largest[used]).T
    likelihood, inverse = np.unique(scaled, axis=0, return_inverse=True)
    of_word = np.full(len(used), -1)
    of_word[used] = inverse.ravel()
    log_factor = np.log(np.where(used, largest, 1.0))
    return WordClasses(read_only(of_word), read_only(likelihood), read_only(log_factor))


def checked_words(word_given_topic: object, where: str) -> Float64[np.ndarray, "topic word"]:
    """Return a read-only float64 copy whose rows sum to 1, or raise InputError in the name of `where`."""
    table = np.array(checked_reals(word_given_topic, where, "word_given_topic", "real numbers [topic, word]"), np.float64)
    if table.ndim != 2 or 0 in table.shape:
        raise InputError(f"{where}: word_given_topic must be real numbers [topic, word], got shape {list(table.shape)}.")
    if not np.isfinite(table).all() or (table < 0).any():
        t, w = np.argwhere(~(np.isfinite(table) & (table >= 0)))[0]
        raise InputError(f"{where}: word_given_topic[{t}, {w}] = {table[t, w]} is no probability.")
    sums = table.sum(axis=1)
    wrong = np.flatnonzero(np.abs(sums - 1) > ROW_SUM_TOLERANCE)
    if wrong.size:
        raise InputError(f"{where}: the words of topic {wrong[0]} sum to {sums[wrong[0]]:.12g}, expected 1.")
    return read_only(table / sums[:, None])


def disjoint_words(n_topics: int, words_per_topic: int, where: str) -> Float64[np.ndarray, "topic word"]:
    """Return topics of `words_per_topic` equally probable words each; topic t has the words from t * words_per_topic on."""
    n_topics = checked_count(n_topics, where, "n_topics")
    words_per_topic = checked_count(words_per_topic, where, "words_per_topic")
    what = f"{n_topics:,} topics of {words_per_topic:,} words each"
    check_memory(24.0 * n_topics**2 * words_per_topic, where, what, "Take fewer topics, or words.")
    return np.repeat(np.eye(n_topics), words_per_topic, axis=1) / words_per_topic


def ring_words(
    n_topics: int, words_per_topic: int, shared: int, share: float, where: str
) -> Float64[np.ndarray, "topic word"]:  # fmt: skip
    """Return topics in a ring: each spends `share` evenly on the first `shared` words of the next, the rest on its own."""
    own = disjoint_words(n_topics, words_per_topic, where)
    n_topics = checked_count(n_topics, where, "n_topics", least=2)
    shared = checked_count(shared, where, "shared", most=int(words_per_topic), why="at most words_per_topic")
    share = checked_number(share, where, "share", least=0, below=1)
    table = (1 - share) * own
    for topic in range(n_topics):
        start = (topic + 1) % n_topics * words_per_topic
        table[topic, start : start + shared] += share / shared
    return table
