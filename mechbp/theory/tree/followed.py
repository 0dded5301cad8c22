"""Which oracle some answers follow, and by how much.

That answers stay near the exact ones is not enough: the oracle of the next level is near them too. A static pattern keeps what
a model computes only where its answers still follow the oracle that they followed before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from mechbp.methods.brief import Brief
from mechbp.methods.statistics.answers import nearest
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.theory.tree.oracle_distances import oracle_distances


@dataclass(frozen=True, eq=False, repr=False)
class Followed(Brief):
    """Which oracle some answers follow, by both directions of the divergence."""

    oracle_to_answers_nats: Interval
    """Mean D(oracle || answers), one entry per oracle."""
    answers_to_oracle_nats: Interval
    """Mean D(answers || oracle), zeros of the oracle raised to the floor: it alone may set this number."""
    nearest: tuple[int, int]
    """The nearest oracle in either direction."""
    lead: tuple[Interval, Interval]
    """How much farther the runner-up is, nats."""


def followed(
    answers: Float64[np.ndarray, "n q"], oracles: Mapping[int, Float64[np.ndarray, "n q"]], rng: np.random.Generator
) -> Followed:
    """Compare answers with those of every oracle, given by filter level 0, 1, … in order, on the same sequences."""
    distances = oracle_distances(answers, np.stack(list(oracles.values()), axis=1))
    there, back = distances[:, 0], distances[:, 1]
    levels = list(oracles)
    first, second = nearest(there, rng), nearest(back, rng)
    return Followed(
        bootstrap_mean(there, rng),
        bootstrap_mean(back, rng),
        (levels[first[0]], levels[second[0]]),
        (first[1], second[1]),
    )
