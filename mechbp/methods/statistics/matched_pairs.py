"""Pairs that share something against pairs that do not: matched on what else sets them apart, resampled by what they are made of.

Pairs of a few hundred words in a few hundred passages are no independent examples: a word or a passage brings many at once. A
resample draws words and passages anew, each by itself, and counts a pair as often as its passage times its first word times its
second (Owen, "The pigeonhole bootstrap", 2007): intervals are then too wide rather than too narrow.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int

from mechbp.brief import Brief
from mechbp.errors import InputError
from mechbp.methods.statistics.intervals import Interval

CHUNK = 4096
"""Pairs resampled at a time: the counts of all of them would not fit."""
Members = Sequence[tuple[int, Int[np.ndarray, " pair"]]]
"""(factor, level of each pair) of all that a pair is made of."""


@dataclass(frozen=True, eq=False, repr=False)
class MatchedWeights(Brief):
    """How much each pair counts among those that share and those that do not, so that cells are as frequent in both."""

    same: Float64[np.ndarray, " pair"]
    different: Float64[np.ndarray, " pair"]
    kept: float
    """Share of the pairs that share, in cells where pairs of both kinds are; the rest has nothing to be held against."""


def matched_weights(
    same: Bool[np.ndarray, " pair"],
    different: Bool[np.ndarray, " pair"],
    cells: Int[np.ndarray, " pair"],
    reference: Float64[np.ndarray, " cell"] | None = None,
) -> MatchedWeights:
    """Weigh pairs so that each cell has the same share of both kinds: that of `reference`, else its share of `same` pairs.

    cells: number of each pair's cell, 0 or more, what is matched. Cells that lack either kind count for nothing; if all do, all
    weights are 0, and what is compared by them is NaN. Raises InputError where a pair is of both kinds.
    """
    if (same & different).any():
        raise InputError(f"matched_weights: {int((same & different).sum())} pairs are of both kinds, expected of one or of none.")
    n_cells = int(cells.max()) + 1 if reference is None else len(reference)
    counts = [np.bincount(cells[kind], minlength=n_cells).astype(np.float64) for kind in (same, different)]
    if len(counts[0]) > n_cells or len(counts[1]) > n_cells:
        raise InputError(f"matched_weights: cell {int(cells.max())} has no share in a reference of {n_cells} cells.")
    both = (counts[0] > 0) & (counts[1] > 0)
    target = np.where(both, counts[0] if reference is None else reference, 0.0)
    target = target / max(target.sum(), np.finfo(float).tiny)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = [np.where(both, target / count, 0.0) for count in counts]
    kept = float(counts[0][both].sum() / max(counts[0].sum(), 1))
    return MatchedWeights(np.where(same, share[0][cells], 0.0), np.where(different, share[1][cells], 0.0), kept)


def plain_weights(same: Bool[np.ndarray, " pair"], different: Bool[np.ndarray, " pair"]) -> MatchedWeights:
    """Weigh all pairs of a kind alike: the comparison that matches nothing."""
    return matched_weights(same, different, np.zeros(len(same), dtype=np.int64))


@dataclass(frozen=True, eq=False, repr=False)
class CrossedResampling(Brief):
    """How often every word and every passage, or whatever else pairs are made of, occurs in each resample."""

    counts: tuple[Float32[np.ndarray, "_ draw"], ...]
    """One entry per factor; the first draw is the sample itself, every level once."""

    @classmethod
    def draw(cls, levels: Sequence[int], resamples: int, rng: np.random.Generator) -> CrossedResampling:
        """Draw `resamples` resamples of factors with so many levels each."""
        found = []
        for n in levels:
            drawn = rng.multinomial(n, np.full(n, 1 / n), size=resamples).T
            found.append(np.concatenate([np.ones((n, 1)), drawn], axis=1).astype(np.float32))
        return cls(tuple(found))

    def occurrences(self, members: Members, part: Int[np.ndarray, " some"]) -> Float32[np.ndarray, "some draw"]:
        """Return how often each of these pairs occurs in each draw: the product over all that it is made of."""
        factor, level = members[0]
        found = self.counts[factor][level[part]]
        for factor, level in members[1:]:
            found = found * self.counts[factor][level[part]]
        return found


@dataclass(frozen=True, eq=False, repr=False)
class Contrast(Brief):
    """Weighted means of values over pairs that share and pairs that do not, in the sample and in each resample."""

    same: Float64[np.ndarray, "draw *cells"]
    different: Float64[np.ndarray, "draw *cells"]

    @property
    def difference(self) -> Float64[np.ndarray, "draw *cells"]:
        """Mean of those that share minus mean of those that do not."""
        return self.same - self.different

    @property
    def ratio(self) -> Float64[np.ndarray, "draw *cells"]:
        """Mean of those that share over mean of those that do not."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.same / self.different


def contrasts(
    cases: Sequence[tuple[Float[np.ndarray, "pair _"], MatchedWeights]], resampling: CrossedResampling, members: Members
) -> list[Contrast]:
    """Compare, in each case, values of pairs that share with those of pairs that do not; all cases share the resamples.

    members: (factor, level of each pair) of all that a pair is made of; a factor may be named twice, as by a pair of two words.
    Weights stay those of the sample in each resample.
    """
    ends = [(values, weight) for values, weights in cases for weight in (weights.same, weights.different)]
    used = np.flatnonzero(np.any([weight > 0 for _, weight in ends], axis=0))
    totals = np.zeros((resampling.counts[0].shape[1], sum(1 + values.shape[1] for values, _ in ends)))
    for start in range(0, len(used), CHUNK):  # what a chunk is made of serves all cases
        part = used[start : start + CHUNK]
        columns = [_weighted(values[part], weight[part]) for values, weight in ends]
        stacked = np.concatenate(columns, axis=1)
        occurs = torch.from_numpy(resampling.occurrences(members, part))
        # torch's product is several times as fast as NumPy's where their libraries differ, and here it is what takes the time.
        totals[1:] += (occurs[:, 1:].T @ torch.from_numpy(stacked)).numpy()
        totals[0] += stacked.sum(axis=0, dtype=np.float64)  # the sample to more digits than its resamples, which float32 serves
    widths = np.cumsum([1 + values.shape[1] for values, _ in ends])[:-1]
    means = []
    for sums in np.split(totals, widths, axis=1):
        with np.errstate(divide="ignore", invalid="ignore"):
            means.append(sums[:, 1:] / sums[:, :1])
    return [Contrast(same, different) for same, different in zip(means[::2], means[1::2], strict=True)]


def draws_interval(draws: Float64[np.ndarray, "draw *cells"], n: int, level: float = 0.95) -> Interval:
    """Return the sample's value, the first draw, with the percentile interval over the others; n: what was resampled."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)  # what no resample can tell is NaN
        low, high = np.nanquantile(draws[1:], [(1 - level) / 2, (1 + level) / 2], axis=0)
    return Interval(np.asarray(draws[0]), np.asarray(low), np.asarray(high), n, level)


def over_repetitions(
    draws: Float64[np.ndarray, "repetition draw *cells"], rng: np.random.Generator
) -> Float64[np.ndarray, "draw *cells"]:
    """Return the mean over repetitions, such as fits: of all in the sample, of as many drawn anew in each resample.

    Repetitions share the resamples of everything else. Of few repetitions an interval over draws says little more than theirs.
    """
    n, n_draws = draws.shape[:2]
    counts = np.concatenate([np.ones((n, 1)), rng.multinomial(n, np.full(n, 1 / n), size=n_draws - 1).T], axis=1)
    return np.einsum("rd,rd...->d...", counts, draws) / n


def _weighted(values: Float[np.ndarray, "pair cell"], weight: Float64[np.ndarray, " pair"]) -> Float32[np.ndarray, "pair column"]:
    """The weight, whose sum is the denominator, and the weighted values."""
    columns = np.empty((len(values), 1 + values.shape[1]), dtype=np.float32)
    columns[:, 0] = weight
    np.multiply(values, columns[:, :1], out=columns[:, 1:], casting="same_kind")
    return columns
