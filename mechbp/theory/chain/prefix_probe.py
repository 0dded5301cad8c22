"""Affine regression of beliefs on activations over all words of a process, and what its R² would be on words not fitted.

A causal model has one activation per prefix, so rows are distinct prefixes with weights. Splitting words leaves prefixes that
both parts share; splitting prefixes does not. Both are offered, because published numbers use the first.
Thousands of refits cost little: second moments are summed once per block of words, and every split is a choice of blocks.
(Source: Shai et al. 2024, section 3 and Fig. 6, for the regression and its split into 20 : 80.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from mechbp.brief import Brief
from mechbp.errors import InputError
from mechbp.figures.picture import Picture
from mechbp.hooks import to_array
from mechbp.methods.shown import Shown
from mechbp.processes.chain.words import Words
from mechbp.theory.chain.prefix_moments import WIDE, Design, Moments, WholeFit

Weighting = Literal["count", "probability", "prefix"]
Split = Literal["sequence", "prefix"]

TRAIN_SHARE = 0.2
"""Of the words, as Shai et al. split them."""
BLOCKS = 50
WIDE_BLOCKS = 20
"""Of designs with more than WIDE features, to bound memory."""
CONSTANT = 1e-12
"""Variance of a target, entries of a probability vector, below which it does not vary."""


@dataclass(frozen=True, eq=False, repr=False)
class AffineMap(Brief):
    """x -> x @ weights + offset."""

    weights: Float64[np.ndarray, "d target"]
    offset: Float64[np.ndarray, " target"]
    rank: int
    """Directions of the features that the fit used."""

    def __call__(self, features: Float[np.ndarray, "*rows d"] | Float[Tensor, "*rows d"]) -> Float64[np.ndarray, "*rows target"]:
        """Return the predictions."""
        return to_array(features).astype(np.float64, copy=False) @ self.weights + self.offset


@dataclass(frozen=True, eq=False, repr=False)
class WordScore(Shown):
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

    def picture(self) -> Picture:
        """Draw R² on the words fitted and on words left out, beside that of shuffled targets."""
        nan = np.nan
        return Picture(
            kind="dots",
            title=f"Affine probe: R² {self.r2:.4g}, held out {self.held_out_r2:.4g}",
            caption=f"{self.n_rows:,} distinct prefixes, {self.n_features} features; held out: mean and central 95 % over "
            "splits, which "
            "share words: no confidence interval. Hollow: fitted on targets shuffled over rows.",
            alt="Dots: R² on the words fitted, held out with the spread over splits, and of shuffled targets.",
            data={
                "x_title": "R²",
                "categories": ["words fitted", "held out", "shuffled targets"],
                "series": [
                    {
                        "name": "probe",
                        "x": [self.r2, self.held_out_r2, nan],
                        "low": [nan, self.held_out_low, nan],
                        "high": [nan, self.held_out_high, nan],
                    },
                    {"name": "control", "x": [nan, nan, self.shuffled_r2], "control": True},
                ],
            },
        )

    @property
    def shuffled_r2(self) -> float:
        """R² of the fit on shuffled targets, on the true ones; NaN where the fit is perfect, so that the variance is unknown."""
        return float(1 - self.shuffled_mse * (1 - self.r2) / self.mse) if self.mse > 0 else float("nan")

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row with every score."""
        scores = {name: [value] for name, value in vars(self).items() if isinstance(value, int | float)}
        return pd.DataFrame({**scores, "shuffled_r2": [self.shuffled_r2]})

    def summary(self) -> str:
        """Return R² in and out of sample, the control, and the sizes."""
        return (
            f"R² {self.r2:.4g} on the words fitted, {self.held_out_r2:.4g} [{self.held_out_low:.4g}, "
            f"{self.held_out_high:.4g}] held out (over splits)\nshuffled targets, the control: R² {self.shuffled_r2:.3g}\nn = "
            f"{self.n_rows:,} distinct prefixes, {self.n_features} features"
        )


def word_probe(
    features: Float[np.ndarray, "prefix d"] | Float[Tensor, "prefix d"] | Design,
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

    Features that are probed several times can be prepared once, by `Design.of`.

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
    given = features.features if isinstance(features, Design) else to_array(features)
    for name, values in {"features": given, **targets}.items():
        if len(values) != words.n_prefixes or not np.isfinite(values).all():
            raise InputError(f"word_probe: {name!r:.60} must be finite, one row for each of {words.n_prefixes:,} prefixes.")
    design = features if isinstance(features, Design) else Design.of(given)
    joined = np.concatenate(list(targets.values()), axis=1)
    shuffled = _shuffled(joined, words, weighting, rng)
    n_blocks = min(WIDE_BLOCKS if design.n_columns > WIDE else BLOCKS, len(words.tokens))
    whole_weights = _whole(words, weighting)
    weights = _block_weights(words, split, weighting, n_blocks, rng) if repeats else whole_weights[None]
    blocks = Moments.of_blocks(design, joined, weights)
    whole = WholeFit(blocks.total())
    coefficients = whole.coefficients(whole.moments.cross)
    errors = whole.errors(coefficients)
    totals = whole.moments.squares - np.square(whole.moments.cross[0]) / whole.moments.mass
    noise = whole.coefficients(design.cross(shuffled * whole_weights[:, None]))
    noise_errors = whole.errors(noise)
    chosen = _chosen(repeats, n_blocks, train_share, rng) if repeats else np.zeros((0, 1), bool)
    out_errors, out_totals = whole.held_out(blocks, chosen)
    mass = float(whole.moments.mass)
    where = 0
    scores = {}
    for name, values in targets.items():
        part = slice(where, where := where + values.shape[1])
        fitted = AffineMap(*design.original(coefficients[:, part]), whole.rank)
        pairs = zip(out_errors[:, part].sum(axis=1), out_totals[:, part].sum(axis=1), strict=True)
        out = np.array([_r2(error, total, mass) for error, total in pairs])
        out = out[np.isfinite(out)] if np.isfinite(out).any() else np.full(1, np.nan)
        scores[name] = WordScore(
            r2=_r2(errors[part].sum(), totals[part].sum(), mass),
            mse=float(errors[part].mean() / mass),
            held_out_r2=float(out.mean()),
            held_out_low=float(np.quantile(out, 0.025)),
            held_out_high=float(np.quantile(out, 0.975)),
            held_out_mse=float(out_errors[:, part].mean() / (mass * (1 - train_share))) if repeats else float("nan"),
            shuffled_mse=float(noise_errors[part].mean() / mass),
            map=fitted,
            n_rows=len(design.features),
            n_features=design.n_features,
        )
    return scores


def _r2(error: float, total: float, mass: float) -> float:
    return float(1 - error / total) if total > CONSTANT * mass else float("nan")


def _block_weights(
    words: Words, split: Split, weighting: Weighting, blocks: int, rng: np.random.Generator
) -> Float64[np.ndarray, "block prefix"]:
    """Weights of every prefix in every block."""
    if split == "prefix":
        owner = rng.permutation(words.n_prefixes) % blocks
        return np.where(owner == np.arange(blocks)[:, None], _whole(words, weighting), 0.0)
    owner = rng.permutation(len(words.tokens)) % blocks
    length = words.tokens.shape[1]
    weight = words.probability if weighting == "probability" else np.ones(len(words.tokens))
    parts = [owner == block for block in range(blocks)]
    return np.stack(
        [np.bincount(words.prefix[mine].ravel(), np.repeat(weight[mine], length), minlength=words.n_prefixes) for mine in parts]
    )


def _shuffled(targets: np.ndarray, words: Words, weighting: Weighting, rng: np.random.Generator) -> np.ndarray:
    """Targets permuted over (word, position), and their mean over the words that share a prefix: what a fit can see of them."""
    if weighting == "prefix":
        return targets[rng.permutation(len(targets))]
    owner = words.prefix.ravel()
    order = rng.permutation(len(owner)).reshape(words.tokens.shape)
    sums = np.empty((words.n_prefixes, targets.shape[1]))
    for place, prefix in enumerate(words.prefix.T):  # words are in order, so those that share a prefix stand together
        taken = targets[owner[order[:, place]]]
        if weighting == "probability":
            taken *= words.probability[:, None]
        starts = np.flatnonzero(np.diff(prefix, prepend=-1))
        sums[prefix[starts]] = np.add.reduceat(taken, starts, axis=0)
    return sums / _whole(words, weighting)[:, None]


def _whole(words: Words, weighting: Weighting) -> Float64[np.ndarray, " prefix"]:
    if weighting == "probability":
        return words.prefix_probability
    if weighting == "prefix":
        return np.ones(words.n_prefixes)
    return np.bincount(words.prefix.ravel()).astype(np.float64)


def _chosen(repeats: int, blocks: int, train_share: float, rng: np.random.Generator) -> Bool[np.ndarray, "split block"]:
    """Which blocks are fitted in every split."""
    cut = max(1, min(round(train_share * blocks), blocks - 1))
    chosen = np.zeros((repeats, blocks), bool)
    for row in chosen:
        row[rng.permutation(blocks)[:cut]] = True
    return chosen
