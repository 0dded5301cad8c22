"""What a method is asked: a model, pairs of inputs, and places of which it is to say whether the message is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int

from mechbp.brief import Brief
from mechbp.judging.truth import Kind
from mechbp.methods.interchange.answer_heads import Reading, proportional_reading
from mechbp.methods.interchange.pairs import Pairs
from mechbp.methods.patching.metric import Metric
from mechbp.models.architectures import HookedTransformer


class Candidate(NamedTuple):
    """A place that a method is asked about: an activation [n, position, d], at these positions together."""

    hook: str
    positions: tuple[int, ...]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Question(Brief):
    """Row i of `clean` and of `corrupted` is one pair: equal but for the leaves below one node, so only its message differs.

    Its node, and what the hooks hold, are not told. Everything is given that a trained model would give as well.
    """

    name: str
    """Such as "grammar 3, copied"."""
    kind: Kind
    """What the score of a candidate is to say: see `RIGHT`."""
    model: HookedTransformer
    """In eval mode, float64; every pass through its blocks is counted."""
    candidates: tuple[Candidate, ...]
    clean: Int[np.ndarray, "n position"]
    corrupted: Int[np.ndarray, "n position"]
    query: int
    """Position whose answer is asked for; hidden in every input."""
    metric: Metric
    """Logits [n, position, q] of all n pairs, in order -> [n]; larger where the answer is nearer to that of `clean`."""
    exact_clean: Float64[np.ndarray, "n q"]
    """Exact answer at the query."""
    exact_corrupted: Float64[np.ndarray, "n q"]
    exact_without: Float64[np.ndarray, "n q"]
    """Exact answer where nothing is known of the node."""
    tokens: Int[np.ndarray, "m position"]
    """Other inputs, in which what is below the node is independent of the rest."""
    message: Float64[np.ndarray, "m q"]
    """The exact upward message of the node in each of `tokens`, divided by its sum: what a probe is to find."""
    rng: np.random.Generator
    budget: int | None
    """Passes that may be used; None where they are only counted. One is one sequence through all blocks, backward counts 2."""

    @property
    def reading(self) -> Reading:
        """Logits at a position -> log-probabilities: the model's outputs are probabilities up to scale."""
        return proportional_reading

    @property
    def messages(self) -> Float64[np.ndarray, "m position q"]:
        """The message once for every position, as subspaces and erasers are fitted to it."""
        return np.repeat(self.message[:, None], self.tokens.shape[1], axis=1)

    def pairs(self, positions: Sequence[int]) -> Pairs:
        """Return `corrupted` and `clean` as base and source of an interchange at these positions."""
        n, length = self.clean.shape
        where = np.isin(np.arange(length), positions)
        return Pairs(
            base=self.corrupted,
            source=self.clean,
            positions=np.repeat(where[None], n, axis=0),
            query=np.full(n, self.query),
            before=self.exact_corrupted,
            expected=self.exact_clean,
            without=self.exact_without,
            share_kept=1.0,
        )

    def by_positions(self) -> dict[tuple[int, ...], list[str]]:
        """Return the hooks that are asked about at each group of positions."""
        groups: dict[tuple[int, ...], list[str]] = {}
        for hook, positions in self.candidates:
            groups.setdefault(positions, []).append(hook)
        return groups

    def hooks(self) -> tuple[str, ...]:
        """Return every hook that some candidate names, once."""
        return tuple(dict.fromkeys(candidate.hook for candidate in self.candidates))

    def in_order(self, found: dict[Candidate, float]) -> Float64[np.ndarray, " candidate"]:
        """Return what was found of each candidate in the order of `candidates`."""
        return np.array([found[candidate] for candidate in self.candidates])
