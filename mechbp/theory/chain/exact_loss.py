"""What a causal model loses against the exact predictive, as an expectation over all words and not over a sample.

On these processes whole theories differ by less than 1e-3 nats per token, less than the noise of any sampled loss, so the loss is
also given relative to what guessing without a model loses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64

from mechbp.divergence import kl_nats
from mechbp.errors import InputError
from mechbp.figures.picture import Picture
from mechbp.methods.shown import Shown
from mechbp.methods.telling import frame
from mechbp.processes.chain.hmm import HiddenMarkovModel
from mechbp.processes.chain.words import Words


@dataclass(frozen=True, eq=False, repr=False)
class ExactLoss(Shown):
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

    def picture(self) -> Picture:
        """Draw the loss by position beside that of guessing; on a logarithmic axis where none of it is 0."""
        x = np.arange(1, len(self.kl_nats) + 1)
        positive = bool((self.kl_nats > 0).all() and (self.kl_uniform_nats > 0).all())
        return Picture(
            kind="lines",
            title=f"Exact loss: {self.relative:.3g} of what there is to learn",
            caption="KL(exact predictive || model) by the number of tokens read, an expectation over all words: no sampling, "
            "no interval. "
            "Control: guessing without a model.",
            alt="Lines over positions: the model's exact loss, and that of guessing.",
            data={
                "x_title": "tokens read",
                "y_title": "KL(exact || model) (nats)",
                "y_log": positive,
                "series": [
                    {"name": "model", "x": x, "y": self.kl_nats},
                    {"name": "guessing", "x": x, "y": self.kl_uniform_nats, "control": True},
                ],
            },
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per number of tokens read: the loss, that of guessing, and the exact entropy, nats."""
        columns = {"kl_nats": self.kl_nats, "kl_uniform_nats": self.kl_uniform_nats, "entropy_nats": self.entropy_nats}
        return frame({"tokens_read": range(1, len(self.kl_nats) + 1)}, columns)

    def summary(self) -> str:
        """Return the mean loss, alone and relative to guessing."""
        return (
            f"KL(exact || model) {self.mean_nats:.4g} nats per token, {self.relative:.3g} of the "
            f"{self.kl_uniform_nats.mean():.3g} that "
            f"guessing loses\nan expectation over all words of {len(self.kl_nats)} tokens: no sampling"
        )


def exact_loss(answers: Float64[np.ndarray, "prefix token"], words: Words, hmm: HiddenMarkovModel) -> ExactLoss:
    """Return the exact loss of answers given after every prefix. Raises InputError where there is not one row per prefix."""
    if len(answers) != words.n_prefixes:
        raise InputError(f"exact_loss: need one answer for each of {words.n_prefixes:,} prefixes, got {len(answers):,}.")
    exact = hmm.predictive(words.of_prefixes(words.beliefs[:, 1:]))
    entropy = -np.where(exact > 0, exact * np.log(np.where(exact > 0, exact, 1)), 0).sum(axis=1)
    uniform = np.full_like(exact, 1 / exact.shape[1])
    columns = (kl_nats(exact, answers), kl_nats(exact, uniform), entropy)
    return ExactLoss(*(np.bincount(words.last_position, words.prefix_probability * column) for column in columns))
