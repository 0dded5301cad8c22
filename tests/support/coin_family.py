"""A family from outside the package: tosses of a coin of unknown bias, whose exact predictive is Laplace's rule of succession.

Every sequence has a coin of its own, its bias drawn from a Beta distribution. After t tosses with k ones the next one is a one
with probability (k + a) / (t + a + b): beliefs need nothing but counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mechbp.errors import InputError
from mechbp.models.tasks.task import Family, Lesson, Prompts, Questions


@dataclass(frozen=True, eq=False)
class Tosses:
    tokens: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True)
class Coin:
    """Sequences of `length` tosses; P(bias) is Beta(a, b), `a` belonging to ones."""

    length: int
    a: float = 1.0
    b: float = 1.0
    vocab_size: int = 2

    def sample(self, n, rng):
        bias = rng.beta(self.a, self.b, size=n)
        return Tosses((rng.random((n, self.length)) < bias[:, None]).astype(np.int64), bias)

    def predictive(self, tokens):
        """P(next toss | tosses so far) [n, length + 1, 2]; index 0 is before any."""
        if tokens.ndim != 2 or not np.isin(tokens, (0, 1)).all():
            raise InputError("Coin.predictive: tokens must be 0 or 1, [n, length].")
        ones = np.concatenate([np.zeros((len(tokens), 1)), tokens.cumsum(axis=1)], axis=1)
        seen = np.arange(tokens.shape[1] + 1)
        heads = (ones + self.a) / (seen + self.a + self.b)
        return np.stack([1 - heads, heads], axis=-1)


@dataclass(frozen=True)
class CoinRecipe:
    length: int
    kind: Literal["coin"] = "coin"
    a: float = 1.0
    b: float = 1.0

    @property
    def n_tokens(self) -> int:
        return self.length

    @property
    def name(self) -> str:
        return f"coin, Beta({self.a:g}, {self.b:g}), length {self.length}"

    def provenance(self) -> dict[str, str | int]:
        return {"process": self.name}

    def build(self) -> Coin:
        return Coin(self.length, self.a, self.b)


class NextToss:
    attention: Literal["causal", "bidirectional"] = "causal"
    verified_sequences = 512

    def n_positions(self, process):
        return process.length

    def n_input_tokens(self, process):
        return process.vocab_size

    def draw(self, process, n, rng):
        return Coin(process.length + 1, process.a, process.b).sample(n, rng)

    def questions(self, process, sample):
        return Questions(sample.tokens[:, :-1], sample.tokens[:, 1:])

    def lesson(self, process, objective, sample, rng):
        asked = self.questions(process, sample)
        exact = objective.targets == "posteriors"
        targets = self.exact(process, asked.tokens).reshape(-1, 2) if exact else asked.truth.reshape(-1)
        return Lesson(asked.tokens, np.ones(asked.tokens.shape, bool), targets)

    def inputs(self, process, tokens):
        return tokens

    def prompts(self, process, tokens):
        return Prompts(tokens, np.tile(np.arange(tokens.shape[1]), (len(tokens), 1)))

    def exact(self, process, tokens):
        return process.predictive(tokens)[:, 1:]

    def oracles(self, process) -> Mapping[str, Coin]:
        return {"laplace": process, "certain": Coin(process.length, 1000.0, 1000.0)}


COIN = Family("coin", (CoinRecipe,), {"next-token": NextToss()})
