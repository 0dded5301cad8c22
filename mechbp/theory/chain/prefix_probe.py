"""Affine regression of beliefs on activations over all words of a process, and what its R² would be on words not fitted.

A causal model has one activation per prefix, so rows are distinct prefixes with weights. Splitting words leaves prefixes that
both parts share; splitting prefixes does not. Both are offered, because published numbers use the first.
Thousands of refits cost little: second moments are summed once per block of words, and every split is a choice of blocks.
(Source: Shai et al. 2024, section 3 and Fig. 6, for the regression and its split into 20 : 80.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Float64

from mechbp.errors import InputError
from mechbp.processes.chain.words import Words

Weighting = Literal["count", "probability", "prefix"]
Split = Literal["sequence", "prefix"]

TRAIN_SHARE = 0.2
"""Of the words, as Shai et al. split them."""
BLOCKS = 50
WIDE = 256
WIDE_BLOCKS = 20
"""Features so many, and the blocks they get, to bound memory."""
CONSTANT = 1e-12
"""Variance of a target, entries of a probability vector, below which it does not vary."""
FLAT = 1e-12
"""Directions whose second moment is below this share of the largest are rounding noise of float32 activations."""


@dataclass(frozen=True, eq=False)
class AffineMap:
    """x -> x @ weights + offset."""

    weights: Float64[np.ndarray, "d target"]
    offset: Float64[np.ndarray, " target"]
    rank: int
    """Directions of the features that the fit used."""

    def __call__(self, features: Float[np.ndarray, "*rows d"]) -> Float64[np.ndarray, "*rows target"]:
        """Return the predictions."""
        return np.asarray(features, np.float64) @ self.weights + self.offset


@dataclass(frozen=True, eq=False)
class WordScore:
    """How well one target can be read, over words and positions."""

    r2: float
    """On the words fitted: 1 - SSE / SST, pooled over coordinates; NaN where the target does not vary."""
    mse: float
    """On the words fitted: mean over rows and coordinates."""
    held_out_r2: float
    """Mean over splits, fitted on `train_share` of the words or prefixes, scored on the others.

    NaN without splits in which the target varies."""
    held_out_low: float
    """The central 95 % of the splits; they share words, so this is no confidence interval."""
    held_out_high: float
    held_out_mse: float
    shuffled_mse: float
    """Fitted on targets shuffled over rows, scored on the true ones; the variance of the target is its limit."""
    map: AffineMap
    """The fit on all words."""
    n_rows: int
    """Distinct prefixes."""
    n_features: int


def word_probe(
    features: Float[np.ndarray, "prefix d"],
    targets: Mapping[str, Float64[np.ndarray, "prefix _state"]],
    words: Words,
    *,
    rng: np.random.Generator,
    weighting: Weighting = "count",
    split: Split = "sequence",
    repeats: int = 100,
    train_share: float = TRAIN_SHARE,
) -> dict[str, WordScore]:
    """Fit every target on the features by least squares with an intercept, and score it in and out of sample.

    `weighting` counts every word once, every word by its probability, or every prefix once; the last needs split="prefix", for
    short prefixes stand in many words. Each of `repeats` splits fits `train_share` of the words or prefixes. Fits use the
    least-norm solution where features are redundant.
    Raises InputError for rows that are not the prefixes of `words`, or an unknown weighting or split.
    """
    if weighting not in get_args(Weighting) or split not in get_args(Split):
        raise InputError(f"word_probe: no weighting {weighting!r:.40} and split {split!r:.40}; see Weighting and Split.")
    if not 0 < train_share < 1:
        raise InputError(f"word_probe: train_share must be between 0 and 1, got {train_share!r:.40}.")
    if weighting == "prefix" and split != "prefix":
        raise InputError('word_probe: weighting "prefix" counts prefixes once, whatever words hold them; pass split="prefix".')
    for name, values in {"features": features, **targets}.items():
        if len(values) != words.n_prefixes or not np.isfinite(values).all():
            raise InputError(f"word_probe: {name!r:.60} must be finite, one row for each of {words.n_prefixes:,} prefixes.")
    design = _Design.of(features)
    joined = np.concatenate(list(targets.values()), axis=1)
    shuffled = _shuffled(joined, words, weighting, rng)
    blocks = WIDE_BLOCKS if design.rows.shape[1] > WIDE else BLOCKS
    parts = list(_parts(words, split, weighting, min(blocks, len(words.tokens)), rng)) if repeats else [_whole(words, weighting)]
    moments = [_Moments.of(design.rows, np.hstack([joined, shuffled]), weights) for weights in parts]
    whole = _Moments.sum(moments)
    k = joined.shape[1]
    coefficients, rank = whole.fit()
    errors, totals = whole.errors(coefficients[:, :k], slice(0, k))
    noise_errors, _ = whole.errors(coefficients[:, k:], slice(0, k))
    held = np.array([_held_out(moments, rng, k, train_share) for _ in range(repeats)]).reshape(repeats, 2, k)
    where, scores = 0, {}
    for name, values in targets.items():
        part = slice(where, where := where + values.shape[1])
        fitted = AffineMap(*design.original(coefficients[:, part]), rank)
        out = np.array([_r2(*held[split][:, part].sum(axis=1), whole.mass) for split in range(repeats)])
        out = out[np.isfinite(out)] if np.isfinite(out).any() else np.full(1, np.nan)
        held_mass = whole.mass * (1 - train_share)
        scores[name] = WordScore(
            r2=_r2(errors[part].sum(), totals[part].sum(), whole.mass),
            mse=float(errors[part].mean() / whole.mass),
            held_out_r2=float(out.mean()),
            held_out_low=float(np.quantile(out, 0.025)),
            held_out_high=float(np.quantile(out, 0.975)),
            held_out_mse=float(held[:, 0, part].mean() / held_mass) if repeats else float("nan"),
            shuffled_mse=float(noise_errors[part].mean() / whole.mass),
            map=fitted,
            n_rows=len(features),
            n_features=features.shape[1],
        )
    return scores


@dataclass(frozen=True, eq=False)
class _Design:
    """Centred and scaled features behind a column of ones, so that second moments are well conditioned.

    Many features are rotated to the directions in which any row differs: least-norm fits are the same in them, and cheaper.
    """

    rows: Float64[np.ndarray, "prefix column"]
    mean: Float64[np.ndarray, " d"]
    scale: float
    basis: Float64[np.ndarray, "d direction"] | None

    @classmethod
    def of(cls, features: np.ndarray) -> _Design:
        mean = features.mean(axis=0, dtype=np.float64)
        centred = features - mean
        scale = float(np.sqrt(np.square(centred).mean())) or 1.0
        columns, basis = centred / scale, None
        if features.shape[1] > WIDE:
            values, vectors = np.linalg.eigh(columns.T @ columns)
            basis = vectors[:, values > FLAT * values[-1]]
            columns = columns @ basis
        return cls(np.hstack([np.ones((len(features), 1)), columns]), mean, scale, basis)

    def original(self, coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weights and offset for the features as they were given."""
        weights = (coefficients[1:] if self.basis is None else self.basis @ coefficients[1:]) / self.scale
        return weights, coefficients[0] - self.mean @ weights


@dataclass(frozen=True, eq=False)
class _Moments:
    """Weighted second moments of one block of rows."""

    gram: Float64[np.ndarray, "p p"]
    cross: Float64[np.ndarray, "p column"]
    squares: Float64[np.ndarray, " column"]
    mass: float

    @classmethod
    def of(cls, rows: np.ndarray, columns: np.ndarray, weights: Float64[np.ndarray, " prefix"]) -> _Moments:
        used = np.flatnonzero(weights)
        x, y, w = rows[used], columns[used], weights[used]
        heavy = x * w[:, None]
        return cls(heavy.T @ x, heavy.T @ y, w @ np.square(y), float(w.sum()))

    @classmethod
    def sum(cls, parts: list[_Moments]) -> _Moments:
        return cls(
            np.sum([m.gram for m in parts], axis=0),
            np.sum([m.cross for m in parts], axis=0),
            np.sum([m.squares for m in parts], axis=0),
            sum(m.mass for m in parts),
        )

    def fit(self) -> tuple[Float64[np.ndarray, "p column"], int]:
        """Least-norm coefficients, and the directions used beside the intercept."""
        values, basis = np.linalg.eigh(self.gram)
        kept = values > FLAT * values[-1]
        return basis[:, kept] @ ((basis[:, kept].T @ self.cross) / values[kept, None]), int(kept.sum()) - 1

    def errors(self, coefficients: np.ndarray, columns: slice) -> tuple[np.ndarray, np.ndarray]:
        """Sums of squared errors and of squared distances from the mean, per column."""
        cross, squares = self.cross[:, columns], self.squares[columns]
        explained = 2 * (coefficients * cross).sum(axis=0) - (coefficients * (self.gram @ coefficients)).sum(axis=0)
        return np.maximum(squares - explained, 0.0), squares - np.square(cross[0]) / self.mass


def _r2(error: float, total: float, mass: float) -> float:
    return float(1 - error / total) if total > CONSTANT * mass else float("nan")


def _parts(
    words: Words, split: Split, weighting: Weighting, blocks: int, rng: np.random.Generator
) -> Iterator[Float64[np.ndarray, " prefix"]]:
    """Weights of every prefix in every block."""
    if split == "prefix":
        weights, owner = _whole(words, weighting), rng.permutation(words.n_prefixes) % blocks
        for block in range(blocks):
            yield np.where(owner == block, weights, 0.0)
        return
    owner, length = rng.permutation(len(words.tokens)) % blocks, words.tokens.shape[1]
    weight = words.probability if weighting == "probability" else np.ones(len(words.tokens))
    for block in range(blocks):
        mine = owner == block
        yield np.bincount(words.prefix[mine].ravel(), np.repeat(weight[mine], length), minlength=words.n_prefixes)


def _shuffled(targets: np.ndarray, words: Words, weighting: Weighting, rng: np.random.Generator) -> np.ndarray:
    """Targets permuted over (word, position), and their mean over the words that share a prefix: what a fit can see of them."""
    if weighting == "prefix":
        return targets[rng.permutation(len(targets))]
    owner, length = words.prefix.ravel(), words.tokens.shape[1]
    weight = np.repeat(words.probability, length) if weighting == "probability" else np.ones(len(owner))
    taken = targets[owner[rng.permutation(len(owner))]]
    sums = [np.bincount(owner, weight * column) for column in taken.T]
    return np.stack(sums, axis=1) / np.bincount(owner, weight)[:, None]


def _whole(words: Words, weighting: Weighting) -> Float64[np.ndarray, " prefix"]:
    if weighting == "probability":
        return words.prefix_probability
    if weighting == "prefix":
        return np.ones(words.n_prefixes)
    return np.bincount(words.prefix.ravel()).astype(np.float64)


def _held_out(moments: list[_Moments], rng: np.random.Generator, k: int, train_share: float) -> Float64[np.ndarray, "2 column"]:
    """Errors and totals on the blocks not fitted, for one random choice of blocks."""
    order = rng.permutation(len(moments))
    cut = max(1, min(round(train_share * len(moments)), len(moments) - 1))
    train, test = (_Moments.sum([moments[i] for i in part]) for part in (order[:cut], order[cut:]))
    coefficients, _ = train.fit()
    return np.stack(test.errors(coefficients[:, :k], slice(0, k)))
