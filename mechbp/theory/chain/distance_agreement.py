"""How closely distances between what is read follow distances between beliefs, with intervals over prefix trees.

Pairs of one prefix are no independent evidence, and prefixes of one tree resemble each other: trees are resampled, and every pair
of prefixes counts as often as both trees together were drawn. Weighted sums over all pairs are products of matrices, so that many
resamples cost little.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int
from scipy.spatial.distance import pdist, squareform

from mechbp.errors import InputError
from mechbp.figures.picture import Picture
from mechbp.methods.shown import Shown
from mechbp.methods.statistics.intervals import Interval
from mechbp.methods.telling import dots, named, told

LEVEL = 0.95


@dataclass(frozen=True, eq=False, repr=False)
class DistanceAgreement(Shown):
    """Squared correlations of read distances with those of each target, once on all prefixes and once per resample."""

    value: dict[str, float]
    resampled: dict[str, Float64[np.ndarray, " resample"]]
    n_trees: int

    def interval(self, target: str) -> Interval:
        """Return one target's squared correlation with its percentile interval."""
        return self._interval(self.value[target], self.resampled[target])

    def over(self, target: str, rival: str, other: DistanceAgreement | None = None) -> Interval:
        """Return how much higher a target's is than a rival's on the same resampled trees; a rival of `other` if one is given."""
        beside = self if other is None else other
        difference = self.resampled[target] - beside.resampled[rival]
        return self._interval(self.value[target] - beside.value[rival], difference)

    def _interval(self, value: float, resampled: np.ndarray) -> Interval:
        low, high = np.nanquantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) if self.n_trees > 1 else (np.nan, np.nan)
        return Interval(np.asarray(value), np.asarray(low), np.asarray(high), self.n_trees, LEVEL)

    def picture(self) -> Picture:
        """Draw every target's squared correlation with its interval."""
        return Picture(
            kind="dots",
            title="Distances that are read against distances between beliefs",
            caption=f"Squared correlation over all pairs of prefixes; {LEVEL:.0%} intervals over n = {self.n_trees:,} "
            "resampled prefix trees.",
            alt=f"Dots with intervals: squared correlation with the distances of {len(self.value)} targets.",
            data=dots("squared correlation of distances", {name: self.interval(name) for name in self.value}),
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per target: its squared correlation and the ends of its interval."""
        return named({name: self.interval(name) for name in self.value}, "target").assign(n=self.n_trees)

    def summary(self) -> str:
        """Return the squared correlation of up to four targets, and n."""
        lines = [f"{name}: squared correlation {told(self.interval(name))}" for name in self.value][:4]
        return "\n".join([*lines, f"n = {self.n_trees:,} prefix trees, {LEVEL:.0%} intervals"])


def distance_agreement(
    read: Float64[np.ndarray, "n read"],
    targets: Mapping[str, Float64[np.ndarray, "n _target"]],
    tree: Int[np.ndarray, " n"],
    counts: Float64[np.ndarray, "resample tree"],
) -> DistanceAgreement:
    """Correlate Euclidean distances of all pairs of rows. Raises InputError where rows do not fit, or a tree has no count.

    `tree` numbers the tree of every row; `counts` says how often each was drawn. Pairs of a row with itself do not count,
    however often its tree was drawn.
    """
    if len(tree) != len(read) or any(len(values) != len(read) for values in targets.values()):
        raise InputError(f"distance_agreement: need {len(read)} rows of every target and of tree, got other numbers.")
    if len(tree) == 0 or tree.min() < 0 or tree.max() >= counts.shape[1]:
        raise InputError(f"distance_agreement: trees must be 0..{counts.shape[1] - 1}, those that counts are given for.")
    weights = np.vstack([np.ones(len(tree)), counts[:, tree]])
    mine = squareform(pdist(read))
    mass = weights.sum(axis=1) ** 2 - np.square(weights).sum(axis=1)
    mass = np.where(mass > 0, mass, np.nan)  # no two rows were drawn, so there is no pair
    first = _over_pairs(mine, weights) / mass
    spread = _over_pairs(mine**2, weights) / mass - first**2
    found = {}
    for name, values in targets.items():
        exact = squareform(pdist(values))
        mean = _over_pairs(exact, weights) / mass
        variance = _over_pairs(exact**2, weights) / mass - mean**2
        shared = _over_pairs(mine * exact, weights) / mass - first * mean
        with np.errstate(divide="ignore", invalid="ignore"):
            found[name] = shared**2 / (spread * variance)
    return DistanceAgreement(
        {name: float(values[0]) for name, values in found.items()}, {name: values[1:] for name, values in found.items()},
        len(np.unique(tree)),
    )  # fmt: skip


def _over_pairs(values: Float64[np.ndarray, "n n"], weights: Float64[np.ndarray, "draw n"]) -> Float64[np.ndarray, " draw"]:
    """Sum of w_i w_j values_ij; the diagonal is 0."""
    return np.einsum("dn,dn->d", weights @ values, weights)
