"""A process from outside the package: flips of a coin of unknown bias, whose exact predictive is Laplace's rule of succession."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import betaln

from mechbp.processes.evidence import checked_evidence
from mechbp.processes.process import Joint, Query


@dataclass(frozen=True)
class Flips:
    tokens: np.ndarray


@dataclass(frozen=True)
class BiasedCoin:
    """Flips of one coin whose bias nobody knows: Beta(ones, zeros) before the first flip, Laplace's rule after some."""

    ones: float = 1.0
    zeros: float = 1.0
    length: int = 20
    vocab_size = 2

    def sample(self, n, rng):
        bias = rng.beta(self.ones, self.zeros, size=(n, 1))
        return Flips((rng.random((n, self.length)) < bias).astype(np.int64))

    def beliefs(self, tokens):
        """P(next flip | flips so far), [n, length + 1, 2]."""
        tokens = checked_evidence(tokens, "BiasedCoin", vocab_size=1, length=self.length, place="flip")
        heads = np.pad(tokens.cumsum(axis=1), ((0, 0), (1, 0)))
        n_ones = self.ones + heads
        n_zeros = self.zeros + np.arange(self.length + 1) - heads
        return np.stack([n_zeros, n_ones], axis=-1) / (n_zeros + n_ones)[..., None]

    def small(self):
        return replace(self, length=min(self.length, 5))

    def joint(self):
        tokens = np.stack(np.unravel_index(np.arange(2**self.length), (2,) * self.length), axis=-1)
        n_ones = tokens.sum(axis=1)
        probability = np.exp(
            betaln(self.ones + n_ones, self.zeros + self.length - n_ones) - betaln(self.ones, self.zeros)
        )  # the bias integrated out
        earlier = np.tri(self.length, k=-1, dtype=bool)
        return Joint(tokens, probability, {"predictive": Query(lambda coin, seen: coin.beliefs(seen)[:, :-1], tokens, earlier)})
