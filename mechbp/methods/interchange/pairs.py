"""Pairs of inputs for causal tests: what the answer must be once the base run holds what the source lends."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int

Message = Literal["upward", "downward"]


LEAST_NATS = 0.02
"""Pairs whose exact answer moves by less say little about who follows it."""


CANDIDATES = 8
"""Pairs drawn for every pair wanted."""


LEAST_PAIRS = 8


@dataclass(frozen=True, eq=False)
class MessagePairs:
    """Row i of every field is one pair."""

    message: Message
    depth: int
    """Of the node whose message is taken."""
    base: Int[np.ndarray, "n position"]
    """Model inputs that receive the message, MASK where a leaf is hidden."""
    source: Int[np.ndarray, "n position"]
    """Model inputs that lend it; the queried leaves are hidden in both."""
    nodes: Int[np.ndarray, " n"]
    """Index of the node at its depth."""
    positions: Bool[np.ndarray, "n position"]
    """The leaves below the node: where its message may be held."""
    query: Int[np.ndarray, " n"]
    """Position whose answer the message decides."""
    before: Float64[np.ndarray, "n q"]
    """Exact answer at the query on the base as it is."""
    expected: Float64[np.ndarray, "n q"]
    """Exact answer with the source's message in place of the base's."""
    without: Float64[np.ndarray, "n q"]
    """Exact answer without the message: constant if it is upward, the node's prior if downward."""
    bystander: Int[np.ndarray, " n"] | None
    """Position of a hidden leaf that the message does not reach; None where there is none."""
    bystander_answer: Float64[np.ndarray, "n q"] | None
    """Exact answer there, the same before and after."""
    share_kept: float
    """Share of candidates whose exact answer moves by at least `LEAST_NATS`."""

    def __len__(self) -> int:
        return len(self.base)

    def mismatched(self, rng: np.random.Generator) -> MessagePairs:
        """Return pairs whose exact answers, the bystander's too, are those of other pairs at random: a control for learning."""
        spared = self.bystander_answer
        return replace(
            self,
            expected=self.expected[rng.permutation(len(self))],
            bystander_answer=None if spared is None else spared[rng.permutation(len(self))],
        )
