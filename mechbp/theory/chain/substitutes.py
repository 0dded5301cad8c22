"""Patterns and values that can be put in the place of a first block's own: what the theory predicts, and what competes with it.

Patterns: the mean over words, the decay law from its first entries, the softmax warp, uniform attention, the own token alone.
Values: one direction per token with the lengths found, with those that attention predicts, or with one length everywhere; the
tokens' values swapped. Directions, means over tokens and the common scale of lengths stay the model's own.
(Source: Piotrowski et al. 2025, Eqs. 13-20, for what is predicted.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from mechbp.errors import InputError
from mechbp.theory.chain.constrained_attention import Lags, softmax_warp, whole_pattern
from mechbp.theory.chain.constrained_values import value_factor
from mechbp.theory.chain.first_block import OneBlock
from mechbp.theory.chain.first_block_edits import predicted_lengths, profile

MEAN = "mean pattern"
DECAY = "predicted pattern"
WARP = "softmax warp"
UNIFORM = "uniform pattern"
NO_ATTENTION = "own token alone"
PROFILE = "one direction per token"
LENGTHS = "predicted lengths"
EQUAL = "equal lengths"
SWAPPED = "tokens swapped"

Patterns = Float64[np.ndarray, "head destination source"]
Values = Float64[np.ndarray, "head position token d"]


@dataclass(frozen=True, eq=False)
class Substitutes:
    """What can stand in for the attention and for the values of a first block, by name."""

    patterns: dict[str, Patterns]
    values: dict[str, Values]
    shares: list[float]
    """Of the variance of a head's values in one direction per token, per head."""


def substitutes(block: OneBlock, pattern: Patterns, zeta: float, lags: Sequence[Lags]) -> Substitutes:
    """Return the substitutes for a block whose mean pattern is `pattern` and whose heads have these lags.

    Raises InputError where heads differ in number.
    """
    if not len(block.written) == len(pattern) == len(lags):
        raise InputError(
            f"substitutes: need one pattern and one set of lags per head, got {len(pattern)} and {len(lags)} for "
            f"{len(block.written)} heads."
        )
    length = pattern.shape[1]
    heads = list(zip(pattern, lags, strict=True))
    uniform = np.tril(np.ones((length, length))) / np.arange(1, length + 1)[:, None]
    patterns = {
        MEAN: pattern,
        DECAY: np.stack([whole_pattern(own, zeta, reach) for own, reach in heads]),
        WARP: np.stack([_with_empty_rows(softmax_warp(length, zeta, reach), own) for own, reach in heads]),
        UNIFORM: np.broadcast_to(uniform, pattern.shape),
        NO_ATTENTION: np.broadcast_to(np.eye(length), pattern.shape),
    }
    profiles = [profile(written) for written in block.written]
    factors = [value_factor(own, zeta, reach, length - reach.first) for own, reach in heads]
    lengths = [predicted_lengths(found, factor) for found, factor in zip(profiles, factors, strict=True)]
    values = {
        PROFILE: np.stack([found.values() for found in profiles]),
        LENGTHS: np.stack([found.values(factor) for found, factor in zip(profiles, lengths, strict=True)]),
        EQUAL: np.stack([found.values(np.full(length, found.factor.mean())) for found in profiles]),
        SWAPPED: np.roll(block.written, 1, axis=2),
    }
    return Substitutes(patterns, values, [found.share for found in profiles])


def silenced(block: OneBlock, head: int) -> Values:
    """Return the values of all heads with those of one replaced by their mean over tokens, so that it tells nothing."""
    values = block.written.copy()
    values[head] = values[head].mean(axis=1, keepdims=True)
    return values


def _with_empty_rows(predicted: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """A row without any lag of the head's own keeps what was measured."""
    empty = predicted.sum(axis=1) == 0
    return np.where(empty[:, None], measured, predicted)
