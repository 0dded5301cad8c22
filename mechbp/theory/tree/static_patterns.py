"""What is left of a model whose attention no longer depends on what it reads: distances to every oracle under static patterns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mechbp.hooks import HookedModel
from mechbp.methods.attention.patterns import mean_pattern
from mechbp.theory.tree.attention import block_average
from mechbp.theory.tree.oracle_distances import AskedOnce, Distances, answers_with_patterns, oracle_distances


@dataclass(frozen=True, eq=False)
class StaticDistances:
    """Distances to the oracles, in nats, of a model as it is and with static patterns in all blocks."""

    unedited: Distances
    mean: Distances
    """With the mean pattern over the sequences."""
    by_level: dict[int, Distances]
    """With the mean pattern averaged over pairs of leaves of the same level: {levels told apart: distances}. -1 is uniform
    attention; depth - 1 tells all levels apart, since those beyond are one."""

    @property
    def levels(self) -> Distances:
        """With all levels told apart: a static pattern per level."""
        return self.by_level[max(self.by_level)]


def static_distances(model: HookedModel, asked: AskedOnce, n_leaves: int) -> StaticDistances:
    """Replace the patterns of all blocks by static ones, from the finest to uniform attention.

    Patterns are over the leaves: a ROOT query's row, and what leaves send to it, stay as they are.
    """
    mean = mean_pattern(model, asked.shown, n_leaves).mean
    depth = n_leaves.bit_length() - 1

    def found(patterns: np.ndarray | None) -> Distances:
        return oracle_distances(answers_with_patterns(model, asked, patterns), asked.oracles)

    by_level = {kept: found(block_average(mean, kept)) for kept in range(-1, depth)}
    return StaticDistances(found(None), found(mean), by_level)
