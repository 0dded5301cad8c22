"""The sequences of a joint: all that have positive probability, each with its number, in the order of these numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int, Integer

from mechbp.brief import Brief
from mechbp.processes.process import Joint


@dataclass(frozen=True, eq=False, repr=False)
class Sequences(Brief):
    """Sequences of one length; the tokens of one, read as digits in base `base`, are its number."""

    tokens: Integer[np.ndarray, "sequence length"]
    number: Int[np.ndarray, " sequence"]
    """Rising."""
    probability: Float64[np.ndarray, " sequence"]
    state: Int[np.ndarray, " sequence"]
    """A state of the joint that has this sequence."""
    base: int


def sequences_of(joint: Joint) -> Sequences:
    """Return the sequences of the joint, their states summed."""
    base = int(joint.tokens.max()) + 1
    number, state, inverse = np.unique(number_of(joint.tokens, base), return_index=True, return_inverse=True)
    probability = np.bincount(inverse, joint.probability)
    possible = probability > 0
    tokens = np.ascontiguousarray(joint.tokens[state[possible]])
    return Sequences(tokens, number[possible], probability[possible], state[possible], base)


def number_of(
    tokens: Integer[np.ndarray, "n length"], base: int, given: Bool[np.ndarray, " length"] | None = None
) -> Int[np.ndarray, " n"]:
    """Read the tokens, those that `given` marks, as the digits of one integer."""
    digits = base ** np.arange(tokens.shape[1])[::-1]
    return tokens @ (digits if given is None else digits * given)
