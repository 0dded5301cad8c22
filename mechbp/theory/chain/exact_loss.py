"""What a causal model loses against the exact predictive, as an expectation over all words and not over a sample.

On these processes whole theories differ by less than 1e-3 nats per token, less than the noise of any sampled loss, so the loss is
also given relative to what guessing without a model loses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from mechbp.divergence import kl_nats
from mechbp.errors import InputError
from mechbp.methods.brief import Brief
from mechbp.processes.chain.hmm import HiddenMarkovModel
from mechbp.processes.chain.words import Words


@dataclass(frozen=True, eq=False, repr=False)
class ExactLoss(Brief):
    """Expectations over the words of a process, one per number of tokens read, 1..length."""

    kl_nats: Float64[np.ndarray, " position"]
    """KL(exact predictive || model)."""
    kl_uniform_nats: Float64[np.ndarray, " position"]
    """KL(exact predictive || uniform): all that there is to learn."""
    entropy_nats: Float64[np.ndarray, " position"]
    """Entropy of the exact predictive: the least possible cross-entropy."""

    @property
    def mean_nats(self) -> float:
        """Mean KL per token."""
        return float(self.kl_nats.mean())

    @property
    def relative(self) -> float:
        """Share of the learnable nats that the model misses; 0 is exact, 1 no better than guessing."""
        return float(self.kl_nats.mean() / self.kl_uniform_nats.mean())

    @property
    def normalised(self) -> float:
        """Cross-entropy over the least possible one."""
        return float(1 + self.kl_nats.mean() / self.entropy_nats.mean())


def exact_loss(answers: Float64[np.ndarray, "prefix token"], words: Words, hmm: HiddenMarkovModel) -> ExactLoss:
    """Return the exact loss of answers given after every prefix. Raises InputError where there is not one row per prefix."""
    if len(answers) != words.n_prefixes:
        raise InputError(f"exact_loss: need one answer for each of {words.n_prefixes:,} prefixes, got {len(answers):,}.")
    exact = hmm.predictive(words.of_prefixes(words.beliefs[:, 1:]))
    entropy = -np.where(exact > 0, exact * np.log(np.where(exact > 0, exact, 1)), 0).sum(axis=1)
    uniform = np.full_like(exact, 1 / exact.shape[1])
    columns = (kl_nats(exact, answers), kl_nats(exact, uniform), entropy)
    return ExactLoss(*(np.bincount(words.last_position, words.prefix_probability * column) for column in columns))
