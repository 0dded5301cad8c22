"""Documents some of whose words are hidden behind ids that say nothing, and the exact answers about the hidden ones.

The words of a document are exchangeable given its proportions, so that all hidden words of a document have one answer: the
predictive of the beliefs after the words that it shows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int

from mechbp.brief import Brief
from mechbp.divergence import kl_nats
from mechbp.errors import InputError
from mechbp.processes.process import ABSENT
from mechbp.processes.topics.posterior import TopicBeliefs
from mechbp.processes.topics.supports import SupportMixture
from mechbp.processes.topics.topic_model import TopicModel

Topics = TopicModel | SupportMixture
Shown = Int[np.ndarray, "n position"]
"""Ids: words 0..V-1, V for a hidden word, greater ids for what is no word at all."""


@dataclass(frozen=True, eq=False, repr=False)
class HiddenWords(Brief):
    """Documents as a model is shown them, beside exact inference."""

    shown: Shown
    n_words: int
    beliefs: TopicBeliefs
    """Given the words shown."""
    unigram: Float64[np.ndarray, " word"]
    """P(word) when nothing is shown."""

    @classmethod
    def of(cls, process: Topics, shown: Shown) -> HiddenWords:
        """Ask exact inference about documents. Raises InputError where one hides no word."""
        hidden = shown == process.vocab_size
        if not hidden.any(axis=1).all():
            raise InputError(f"HiddenWords: document {int((~hidden.any(axis=1)).argmax())} hides no word; leave it out.")
        return cls(shown, process.vocab_size, shown_beliefs(process, shown), unigram(process))

    @property
    def hidden(self) -> Bool[np.ndarray, "n position"]:
        """Where a word is hidden."""
        return self.shown == self.n_words

    @property
    def histogram(self) -> Float64[np.ndarray, "n word"]:
        """How often each document shows every word."""
        counts = np.zeros((len(self.shown), self.n_words))
        rows, positions = np.nonzero(self.shown < self.n_words)
        np.add.at(counts, (rows, self.shown[rows, positions]), 1)
        return counts

    @property
    def learnable_nats(self) -> Float64[np.ndarray, " n"]:
        """KL(exact || unigram): what the words shown tell about a hidden one."""
        return kl_nats(self.beliefs.predictive, np.broadcast_to(self.unigram, self.beliefs.predictive.shape))

    def kl_nats(self, answers: Float64[np.ndarray, "n position word"]) -> Float64[np.ndarray, " n"]:
        """Return KL(exact || answer), mean over the hidden words of each document, nats."""
        divergence = kl_nats(np.broadcast_to(self.beliefs.predictive[:, None], answers.shape), answers)
        return np.where(self.hidden, divergence, 0).sum(axis=1) / self.hidden.sum(axis=1)


def shown_beliefs(process: Topics, shown: Shown) -> TopicBeliefs:
    """Return exact beliefs given the words among the ids shown."""
    return process.beliefs(np.where(shown < process.vocab_size, shown, ABSENT))


def unigram(process: Topics) -> Float64[np.ndarray, " word"]:
    """Return P(word) when nothing is shown."""
    return process.beliefs(np.full((1, 1), ABSENT)).predictive[0]
