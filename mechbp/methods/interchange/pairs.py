"""Pairs of inputs for causal tests: what the answer must be once the base run holds what the source lends."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from jaxtyping import Bool, Float64, Int

from mechbp.brief import Brief
from mechbp.divergence import kl_nats

LEAST_NATS = 0.02
"""Pairs whose exact answer moves by less say little about who follows it."""
CANDIDATES = 8
"""Pairs drawn for every pair wanted."""
LEAST_PAIRS = 8


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Pairs(Brief):
    """Row i of every field is one pair: two inputs, and what exact inference says of a quantity that one lends the other."""

    base: Int[np.ndarray, "n position"]
    """Model inputs that receive."""
    source: Int[np.ndarray, "n position"]
    """Model inputs that lend."""
    positions: Bool[np.ndarray, "n position"]
    """Where the quantity may be held, and is written."""
    query: Int[np.ndarray, " n"]
    """Position whose answer the quantity decides."""
    before: Float64[np.ndarray, "n q"]
    """Exact answer at the query on the base as it is."""
    expected: Float64[np.ndarray, "n q"]
    """Exact answer with the source's quantity in place of the base's."""
    without: Float64[np.ndarray, "n q"]
    """Exact answer without the quantity."""
    bystander: Int[np.ndarray, " n"] | None = None
    """Position whose answer the quantity does not reach; None where there is none."""
    bystander_answer: Float64[np.ndarray, "n q"] | None = None
    """Exact answer there, the same before and after."""
    share_kept: float
    """Share of candidates whose exact answer moves by at least `LEAST_NATS`."""

    def __len__(self) -> int:
        return len(self.base)

    @property
    def deletion_kl_nats(self) -> Float64[np.ndarray, " n"]:
        """KL(expected || without), nats: how far off an answer is that ignores the quantity instead of taking the source's.

        A model whose own quantity was merely destroyed answers so; one that obeys the source's must come nearer.
        """
        return kl_nats(self.expected, self.without)

    @property
    def erasure_rivals_kl_nats(self) -> dict[str, Float64[np.ndarray, " n"]]:
        """KL(without || rival), nats, of what an erasure may have done instead of taking the quantity away."""
        return {"another message": kl_nats(self.without, self.expected)}

    def resampled(self, rng: np.random.Generator) -> Pairs:
        """Return as many pairs, drawn from these with replacement: what a refit of a learnt subspace learns from."""
        return self.at(rng.integers(len(self), size=len(self)))

    def at(self, rows: Int[np.ndarray, " m"] | Bool[np.ndarray, " n"]) -> Pairs:
        """Return the pairs at these rows."""
        held = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: value[rows] for name, value in held.items() if isinstance(value, np.ndarray)})

    def mismatched(self, rng: np.random.Generator) -> Pairs:
        """Return pairs whose exact answers, the bystander's too, are those of other pairs at random: a control for learning."""
        spared = self.bystander_answer
        return replace(
            self,
            expected=self.expected[rng.permutation(len(self))],
            bystander_answer=None if spared is None else spared[rng.permutation(len(self))],
        )
