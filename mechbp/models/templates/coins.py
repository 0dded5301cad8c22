"""A process of your own, to be changed: coins of known biases lie in a bag, one is drawn, and nobody sees which.

`make` is what run.toml names. The process is held to `mechbp.check_process` before it is trained on, and by `mechbp verify`.
"""

from dataclasses import dataclass, replace
from itertools import product

import numpy as np

import mechbp
from mechbp.errors import InputError
from mechbp.processes.process import Joint, Query


@dataclass(frozen=True, eq=False)
class Flips:
    """Sequences, and the coin that was drawn for each."""

    tokens: np.ndarray
    coin: np.ndarray


@dataclass(frozen=True)
class Coins:
    """Flips of a coin drawn from a bag."""

    biases: tuple[float, ...] = (0.1, 0.4, 0.8)
    """P(1) of every coin."""
    length: int = 13
    """Flips of a sequence; a model is shown all but the last."""
    vocab_size = 2

    def sample(self, n, rng):
        """Draw n sequences."""
        coin = rng.integers(len(self.biases), size=n)
        return Flips((rng.random((n, self.length)) < np.array(self.biases)[coin, None]).astype(np.int64), coin)

    def beliefs(self, tokens):
        """Return P(coin | flips so far) after every flip, [n, flip, coin]."""
        tokens = np.asarray(tokens)
        if tokens.ndim != 2 or tokens.dtype.kind not in "iu" or (tokens.size and not 0 <= tokens.min() <= tokens.max() <= 1):
            raise InputError("Coins.beliefs: tokens must be integers [n, flip], 0 or 1.")
        biases = np.array(self.biases)
        likelihood = np.where(tokens[..., None] == 1, biases, 1 - biases).cumprod(axis=1)
        return likelihood / likelihood.sum(axis=-1, keepdims=True)

    def small(self):
        """Return the same coins, flipped so few times that `joint` can list all sequences."""
        return replace(self, length=min(self.length, 4))

    def joint(self):
        """List every coin with every sequence, the probability of both, and what `beliefs` says of them."""
        states = np.array(list(product(range(len(self.biases)), *[(0, 1)] * self.length)))
        coin = states[:, 0]
        tokens = states[:, 1:]
        bias = np.array(self.biases)[coin, None]
        probability = np.where(tokens == 1, bias, 1 - bias).prod(axis=1) / len(self.biases)
        known = np.tri(self.length, dtype=bool)  # after flip t the flips 0..t
        asked = Query(lambda coins, seen: coins.beliefs(seen), np.repeat(coin[:, None], self.length, axis=1), known)
        return Joint(tokens, probability, {"coin": asked})


class NextFlip(mechbp.Task):
    """The next flip after every flip shown: what a `mechbp.Task` asks unless it says otherwise."""

    def exact(self, process, tokens):
        """Return P(next flip | flips so far), [n, flip, 2]."""
        ones = process.beliefs(tokens) @ np.array(process.biases)
        return np.stack([1 - ones, ones], axis=-1)


def make(length=13):
    """Return the process, and what models of it can be asked."""
    return Coins(length=length), {"next-flip": NextFlip()}
