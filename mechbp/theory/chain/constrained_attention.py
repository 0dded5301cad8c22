"""What attention must look like if it carries out the constrained belief update, and how near a trained model comes.

Positions are counted from 0 and A[d, s] is how much destination d looks at source s. With one eigenvalue zeta besides 1:

- zeta > 0, one head:   A[s + 1 + m, s] = zeta^m A[s + 1, s]                                           (Eq. 13)
- zeta < 0, two heads:  the same in steps of two, one head at even lags, the other at odd ones       (Eq. 19)

The diagonal is free, for only embedding and own value together are determined. A softmax of scores that fall linearly with the
lag gives zeta^lag / Z_d instead, which breaks these equations by its normaliser yet comes close: report it beside them.
(Source: Piotrowski et al. 2025, Eqs. 13-20.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from mechbp.errors import InputError
from mechbp.processes.chain.constrained import decay
from mechbp.processes.chain.hmm import HiddenMarkovModel

Pattern = Float64[np.ndarray, "destination source"]


@dataclass(frozen=True)
class Lags:
    """The lags at which one head carries the update: first, first + step, ..."""

    first: int
    step: int

    @property
    def name(self) -> str:
        """ "all lags", "even lags" or "odd lags"."""
        return "all lags" if self.step == 1 else "odd lags" if self.first % 2 else "even lags"

    def at(self, length: int) -> Bool[np.ndarray, "destination source"]:
        """Return where the head looks, the diagonal left out."""
        lag = np.subtract.outer(np.arange(length), np.arange(length))
        return (lag >= self.first) & ((lag - self.first) % self.step == 0)


@dataclass(frozen=True)
class PatternFit:
    """How well a predicted pattern describes a measured one."""

    r2: float
    """1 - SSE / SST over the scored entries; negative where the mean entry would do better."""
    squared_correlation: float
    n: int
    """Entries scored."""


def only_eigenvalue(hmm: HiddenMarkovModel) -> float:
    """Return the one eigenvalue of T besides 1. Raises InputError where there are several, or it is 0 or not real."""
    values = decay(hmm.transitions).values
    if len(values) != 2 or abs(values[1].imag) > 1e-9 or values[1] == 0:
        listed = ", ".join(f"{value.real:.2g}{value.imag:+.2g}i" if value.imag else f"{value.real:.2g}" for value in values[1:])
        raise InputError(
            f"constrained updates: the theory of attention needs one real eigenvalue besides 1, this process has {listed}."
        )
    return float(values[1].real)


def lags_of_heads(pattern: Float64[np.ndarray, "head destination source"], zeta: float) -> tuple[Lags, ...]:
    """Return the lags of every head: all of them for zeta > 0; for zeta < 0 those of the parity it looks at more.

    Of two heads the one that looks more at odd lags has them, and the other the even ones.
    """
    if not -1 < zeta < 1 or zeta == 0:
        raise InputError(f"attention theory: zeta must be between -1 and 1 and not 0, got {zeta!r:.40}.")
    if zeta > 0:
        return (Lags(1, 1),) * len(pattern)
    if len(pattern) == 2:
        odd = int(parity_mass(pattern[1], 1) > parity_mass(pattern[0], 1))
        return (Lags(2, 2), Lags(1, 2)) if odd else (Lags(1, 2), Lags(2, 2))
    return tuple(Lags(1, 2) if parity_mass(head, 1) > parity_mass(head, 0) else Lags(2, 2) for head in pattern)


def parity_mass(pattern: Pattern, parity: int) -> float:
    """Return the share of the off-diagonal attention that falls on lags of this parity (0 even, 1 odd)."""
    lag = np.subtract.outer(np.arange(len(pattern)), np.arange(len(pattern)))
    outside = pattern * (lag > 0)
    return float((outside * (lag % 2 == parity)).sum() / outside.sum())


def decay_prediction(pattern: Pattern, zeta: float, lags: Lags) -> Pattern:
    """Return Eq. 13 or 19 with each column's first entry as measured: |zeta|^(lag - first) times it; other entries are 0."""
    predicted = np.zeros_like(pattern)
    where = lags.at(len(pattern))
    for destination, source in np.argwhere(where):
        lag = destination - source
        predicted[destination, source] = abs(zeta) ** (lag - lags.first) * pattern[source + lags.first, source]
    return predicted


def softmax_warp(length: int, zeta: float, lags: Lags) -> Pattern:
    """Return |zeta|^lag / Z_d over the head's lags and, unless they are odd, the diagonal: scores linear in the lag."""
    lag = np.subtract.outer(np.arange(length), np.arange(length))
    where = lags.at(length) | ((lag == 0) & (lags.name != "odd lags"))
    weights = np.where(where, abs(zeta) ** np.abs(lag), 0.0)
    sums = weights.sum(axis=1, keepdims=True)
    return np.divide(weights, sums, out=np.zeros_like(weights), where=sums > 0)


def whole_pattern(pattern: Pattern, zeta: float, lags: Lags) -> Pattern:
    """Return a pattern that could be put in the model's place: the decay prediction, the diagonal takes what is left.

    Rows in which the prediction exceeds 1 are scaled down; a row without any lag of the head attends to itself.
    """
    predicted = decay_prediction(pattern, zeta, lags)
    sums = predicted.sum(axis=1)
    predicted /= np.maximum(sums, 1.0)[:, None]
    predicted[np.diag_indices(len(pattern))] = 1 - np.minimum(sums, 1.0)
    return predicted


def own_decay(pattern: Pattern, lags: Lags) -> float:
    """Return how much attention falls from one own lag of a head to its next: sums over all columns and lags that have both.

    The theory asks for |zeta|^step whatever the first entries of the columns are. Raises InputError where no column has two lags.
    """
    earlier = lags.at(len(pattern))
    earlier[len(pattern) - lags.step :] = False
    destination, source = np.nonzero(earlier)
    if not len(source):
        raise InputError(f"own_decay: a pattern of {len(pattern)} positions has no column with two {lags.name}.")
    return float(pattern[destination + lags.step, source].sum() / pattern[destination, source].sum())


def pattern_fit(pattern: Pattern, predicted: Pattern, lags: Lags) -> PatternFit:
    """Score a prediction on the off-diagonal entries that it does not take from the measurement."""
    lag = np.subtract.outer(np.arange(len(pattern)), np.arange(len(pattern)))
    scored = (lag > 0) & (lag != lags.first)
    truth = pattern[scored]
    guess = predicted[scored]
    if len(truth) < 3:
        raise InputError(f"pattern_fit: a pattern of {len(pattern)} positions leaves {len(truth)} entries to predict, need 3.")
    error = np.square(truth - guess).sum()
    total = np.square(truth - truth.mean()).sum()
    correlation = np.corrcoef(truth, guess)[0, 1] if guess.std() > 0 else 0.0
    return PatternFit(float(1 - error / total), float(correlation**2), len(truth))
