"""Regressions judged on whole trees of prefixes that were left out, with intervals over trees.

Words that begin alike share prefixes, and so activations: words are no independent units, and prefixes of one word resemble
each other. A tree is all prefixes that begin with the same few tokens; nothing in it is shared with another. Each is predicted by
a fit on the others, and resampling trees says how far a score depends on which words there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int

from mechbp.brief import Brief
from mechbp.errors import InputError
from mechbp.methods.statistics.intervals import RESAMPLES, Interval
from mechbp.processes.chain.words import Words
from mechbp.theory.chain.prefix_moments import Design, Moments, WholeFit

LEAST_TREES = 20
"""Trees wanted: with many fewer an interval over them means little."""


@dataclass(frozen=True, eq=False, repr=False)
class PrefixTrees(Brief):
    """Which tree every prefix belongs to, and how many words hold it."""

    depth: int
    """Tokens that the prefixes of one tree have in common."""
    tree: Int[np.ndarray, " prefix"]
    """Numbers 0.. of the trees; -1 for prefixes of fewer tokens, which every fit may use and none is judged by."""
    weight: Float64[np.ndarray, " prefix"]
    """Words that hold the prefix: every word and position counts once."""

    @classmethod
    def of(cls, words: Words, depth: int | None = None) -> PrefixTrees:
        """Cut the words into trees; by the fewest tokens that give LEAST_TREES, if there are as many, where none is given.

        Raises InputError unless 1 <= depth <= length of the words.
        """
        length = words.tokens.shape[1]
        cut = _enough(words) if depth is None else depth
        if not 1 <= cut <= length:
            raise InputError(f"PrefixTrees: depth must be 1..{length}, the length of the words, got {depth!r}.")
        word = words.first_of_prefix // length
        roots = np.unique(words.prefix[:, cut - 1])
        tree = np.where(words.last_position >= cut - 1, np.searchsorted(roots, words.prefix[word, cut - 1]), -1)
        return cls(cut, tree, np.bincount(words.prefix.ravel()).astype(np.float64))

    def __len__(self) -> int:
        return int(self.tree.max()) + 1

    def counts(self, rng: np.random.Generator, resamples: int = RESAMPLES) -> Float64[np.ndarray, "resample tree"]:
        """Return how often each tree occurs in each resample."""
        return rng.multinomial(len(self), np.full(len(self), 1 / len(self)), size=resamples).astype(np.float64)


@dataclass(frozen=True, eq=False, repr=False)
class TreeErrors(Brief):
    """Squared errors of the prefixes of every tree, predicted from the others, and squares about the mean of all."""

    errors: Float64[np.ndarray, " tree"]
    totals: Float64[np.ndarray, " tree"]
    rows: Float64[np.ndarray, " tree"]
    """Words and positions, times the coordinates of the target."""

    @property
    def r2(self) -> float:
        """1 - SSE / SST over all trees; NaN where the target does not vary."""
        total = self.totals.sum()
        return float(1 - self.errors.sum() / total) if total > 0 else float("nan")

    @property
    def mse(self) -> float:
        """Mean over words, positions and coordinates."""
        return float(self.errors.sum() / self.rows.sum())


def held_out(
    features: Float[np.ndarray, "prefix d"] | Design,
    targets: Mapping[str, Float[np.ndarray, "prefix _column"]],
    trees: PrefixTrees,
) -> dict[str, TreeErrors]:
    """Predict the targets of every tree by least squares with intercept on all other prefixes, weighted by words.

    Fits are of least norm where features are redundant. Raises InputError for rows that are not the prefixes of the trees.
    """
    design = features if isinstance(features, Design) else Design.of(features)
    for name, values in {"features": design.features, **targets}.items():
        if len(values) != len(trees.tree):
            raise InputError(
                f"held_out: {name!r:.60} has {len(values):,} rows, expected one for each of {len(trees.tree):,} prefixes."
            )
    columns = np.concatenate([np.asarray(values, np.float64) for values in targets.values()], axis=1)
    owners = np.arange(-1, len(trees))
    blocks = Moments.of_blocks(design, columns, np.where(trees.tree == owners[:, None], trees.weight, 0.0))
    total = blocks.total()
    errors = WholeFit(total).held_out(blocks, owners != np.arange(len(trees))[:, None])[0]
    mean = total.cross[0] / total.mass
    about = (blocks.squares - 2 * mean * blocks.cross[:, 0] + mean**2 * blocks.mass[:, None])[1:]
    found = {}
    where = 0
    for name, values in targets.items():
        part = slice(where, where := where + values.shape[1])
        found[name] = TreeErrors(errors[:, part].sum(axis=1), about[:, part].sum(axis=1), blocks.mass[1:] * values.shape[1])
    return found


def residual(
    target: Float64[np.ndarray, "prefix column"], given: Float64[np.ndarray, "prefix d"], trees: PrefixTrees
) -> Float64[np.ndarray, "prefix column"]:
    """Return what an affine function of `given` leaves of the target, every word counted once: what it says beyond that."""
    design = Design.of(given)
    blocks = Moments.of_blocks(design, target, trees.weight[None])
    return target - design.rows(slice(None)) @ WholeFit(blocks.total()).coefficients(blocks.cross[0])


def r2_over_trees(found: TreeErrors, counts: Float64[np.ndarray, "resample tree"], *, level: float = 0.95) -> Interval:
    """Return R² with its percentile interval over resampled trees."""
    return _over_trees(lambda c: 1 - _ratio(c @ found.errors, c @ found.totals), counts, level)


def mse_over_trees(found: TreeErrors, counts: Float64[np.ndarray, "resample tree"], *, level: float = 0.95) -> Interval:
    """Return the mean squared error with its percentile interval over resampled trees."""
    return _over_trees(lambda c: _ratio(c @ found.errors, c @ found.rows), counts, level)


def r2_gain(
    found: TreeErrors, rival: TreeErrors, counts: Float64[np.ndarray, "resample tree"], *, level: float = 0.95
) -> Interval:
    """Return how much higher R² is than a rival's, both on the same resampled trees; their targets may differ."""

    def gain(c: np.ndarray) -> np.ndarray:
        return _ratio(c @ rival.errors, c @ rival.totals) - _ratio(c @ found.errors, c @ found.totals)

    return _over_trees(gain, counts, level)


def _enough(words: Words) -> int:
    """The fewest tokens that give LEAST_TREES; where no number does, one less than all, which leaves more than single words."""
    length = words.tokens.shape[1]
    numbers = (len(np.unique(words.prefix[:, place])) for place in range(length))
    return next((place + 1 for place, number in enumerate(numbers) if number >= LEAST_TREES), max(length - 1, 1))


def _over_trees(statistic: Callable[[np.ndarray], np.ndarray], counts: np.ndarray, level: float) -> Interval:
    n = counts.shape[1]
    mean = np.asarray(statistic(np.ones((1, n)))[0])
    if n == 1:
        return Interval(mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan), n, level)
    low, high = np.quantile(statistic(counts), [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, np.asarray(low), np.asarray(high), n, level)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 0, above / np.where(below > 0, below, 1.0), np.nan)
