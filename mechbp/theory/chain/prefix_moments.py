"""Second moments of features and targets over prefixes, and least-norm fits for many choices of rows from one factorisation.

Moments are summed once per block of words; those of a part are sums of blocks, and those of the rest what is left of the whole.
One eigenbasis of the whole serves all parts: in it, scaled so that the whole has unit moments, the moments of a part are near a
multiple of the identity, and Cholesky solves them. Only a part in which some direction is too flat for that is decomposed itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Float64, Int
from scipy.linalg import get_lapack_funcs
from torch import Tensor

from mechbp.brief import Brief
from mechbp.hooks import to_array

WIDE = 256
"""Features from which they are rotated to the directions in which any row differs."""
FLAT = 1e-12
"""Directions whose second moment is below this share of the largest are rounding noise of float32 activations."""

PIECE = 2048
"""Rows at a time, so that they stay in the processor's cache."""

_factorise, _inverse, _solve = get_lapack_funcs(("potrf", "potri", "potrs"), dtype=np.float64)


@dataclass(frozen=True, eq=False, repr=False)
class Design(Brief):
    """Centred and scaled features behind a column of ones, so that second moments are well conditioned.

    Many features are rotated to the directions in which any row differs: least-norm fits are the same in them, and cheaper.
    Rows are made as they are asked for, a few at a time: float32 activations take less memory than what is computed with.
    """

    features: Float[np.ndarray, "prefix d"]
    mean: Float64[np.ndarray, " d"]
    scale: float
    basis: Float64[np.ndarray, "d direction"] | None
    rotated: Float64[np.ndarray, "prefix direction"] | None

    @classmethod
    def of(cls, features: Float[np.ndarray, "prefix d"] | Float[Tensor, "prefix d"]) -> Design:
        """Prepare features for any number of regressions."""
        features = to_array(features)
        mean = features.mean(axis=0, dtype=np.float64)
        total = sum(float(np.square(features[rows] - mean).sum()) for rows in _pieces(len(features)))
        scale = float(np.sqrt(total / max(features.size, 1))) or 1.0
        if features.shape[1] <= WIDE:
            return cls(features, mean, scale, None, None)
        columns = features - mean
        columns /= scale
        values, vectors = np.linalg.eigh(columns.T @ columns)
        basis = vectors[:, values > FLAT * values[-1]]
        return cls(features, mean, scale, basis, columns @ basis)

    @property
    def n_features(self) -> int:
        """Number of features as given."""
        return self.features.shape[1]

    @property
    def n_columns(self) -> int:
        """Number of columns that are fitted, the one of ones included."""
        return 1 + (self.n_features if self.rotated is None else self.rotated.shape[1])

    def rows(self, which: Int[np.ndarray, " row"] | slice) -> Float64[np.ndarray, "row column"]:
        """Return some rows, which the caller may change."""
        taken = self.features[which] if self.rotated is None else self.rotated[which]
        rows = np.empty((len(taken), self.n_columns))
        rows[:, 0] = 1.0
        if self.rotated is None:
            np.subtract(taken, self.mean, out=rows[:, 1:])
            rows[:, 1:] /= self.scale
        else:
            rows[:, 1:] = taken
        return rows

    def cross(self, values: Float64[np.ndarray, "prefix column"]) -> Float64[np.ndarray, "p column"]:
        """Return the sum over all prefixes of row times value."""
        return np.sum([self.rows(piece).T @ values[piece] for piece in _pieces(len(values))], axis=0)

    def original(self, coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return weights and offset for the features as they were given."""
        weights = (coefficients[1:] if self.basis is None else self.basis @ coefficients[1:]) / self.scale
        return weights, coefficients[0] - self.mean @ weights


@dataclass(frozen=True, eq=False, repr=False)
class Moments(Brief):
    """Weighted second moments of all rows, or of every block of them."""

    gram: Float64[np.ndarray, "*block p p"]
    cross: Float64[np.ndarray, "*block p column"]
    squares: Float64[np.ndarray, "*block column"]
    mass: Float64[np.ndarray, "*block"]

    @classmethod
    def of_blocks(
        cls, design: Design, columns: Float64[np.ndarray, "n column"], weights: Float64[np.ndarray, "block n"]
    ) -> Moments:
        """Return the moments of every block of rows, each by its weights; rows of weight 0 cost nothing."""
        blocks = len(weights)
        p = design.n_columns
        k = columns.shape[1]
        gram = np.zeros((blocks, p, p))
        cross = np.zeros((blocks, p, k))
        squares = np.zeros((blocks, k))
        for block, weight in enumerate(weights):
            every = np.flatnonzero(weight)
            for piece in _pieces(len(every)):
                used = every[piece]
                root = np.sqrt(weight[used])[:, None]
                x = design.rows(used)
                x *= root
                y = columns[used] * root
                gram[block] += x.T @ x
                cross[block] += x.T @ y
                squares[block] += np.einsum("nk,nk->k", y, y)
        return cls(gram, cross, squares, weights.sum(axis=1))

    def total(self) -> Moments:
        """Return the moments of all blocks together."""
        gram, cross, squares, mass = (values.sum(axis=0) for values in (self.gram, self.cross, self.squares, self.mass))
        return Moments(gram, cross, squares, np.asarray(mass))


@dataclass(frozen=True, eq=False)
class WholeFit:
    """Least-norm fits on all rows, and the frame in which those of parts are solved."""

    moments: Moments

    @cached_property
    def _spectrum(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Moments along the directions of the whole, those directions, and which of them are more than rounding noise."""
        values, basis = np.linalg.eigh(self.moments.gram)
        return values, basis, values > FLAT * values[-1]

    @property
    def rank(self) -> int:
        """Directions used beside the intercept."""
        return int(self._spectrum[2].sum()) - 1

    @cached_property
    def frame(self) -> Float64[np.ndarray, "p direction"]:
        """Directions scaled so that the moments of the whole are the identity."""
        values, basis, kept = self._spectrum
        return basis[:, kept] / np.sqrt(values[kept])

    def coefficients(self, cross: Float64[np.ndarray, "p column"]) -> Float64[np.ndarray, "p column"]:
        """Return the least-norm coefficients of columns with these moments."""
        return self.frame @ (self.frame.T @ cross)

    def errors(self, coefficients: np.ndarray) -> np.ndarray:
        """Return the sum of squared errors of every column."""
        m = self.moments
        explained = 2 * (coefficients * m.cross).sum(axis=0) - (coefficients * (m.gram @ coefficients)).sum(axis=0)
        return np.maximum(m.squares - explained, 0.0)

    def held_out(
        self, blocks: Moments, chosen: Bool[np.ndarray, "split block"]
    ) -> tuple[Float64[np.ndarray, "split column"], Float64[np.ndarray, "split column"]]:
        """Fit on the blocks chosen in every split; return squared errors, and squares about the mean, on the others."""
        whole = self.moments
        cross = _sums(chosen, blocks.cross)
        left_cross = whole.cross - cross
        left_squares = whole.squares - _sums(chosen, blocks.squares)
        left_mass = whole.mass - _sums(chosen, blocks.mass)
        inside = self._in_frame(blocks, chosen)
        errors = np.empty_like(left_squares)
        for split, given in enumerate(cross):
            solved = None if inside is None else self._solved(inside[split], given)
            if solved is None:
                gram = _sums(chosen[split, None], blocks.gram)[0]
                coefficients = _least_norm(gram, given)
                quadratic = coefficients * ((whole.gram - gram) @ coefficients)
            else:
                coefficients = self.frame @ solved
                quadratic = solved * (solved - inside[split] @ solved)  # type: ignore[index]
            linear = coefficients * left_cross[split]
            errors[split] = left_squares[split] - 2 * linear.sum(axis=0) + quadratic.sum(axis=0)
        return np.maximum(errors, 0.0), left_squares - np.square(left_cross[:, 0]) / left_mass[:, None]

    def _in_frame(self, blocks: Moments, chosen: np.ndarray) -> Float64[np.ndarray, "split direction direction"] | None:
        """Moments of the fitted parts in the frame; None where the whole has directions too flat for any part."""
        values, _, kept = self._spectrum
        if values[kept][0] <= FLAT * values[-1] * kept.sum():  # see `_solved`: no part has more than unit moments
            return None
        if len(chosen) < len(blocks.mass):
            return self.frame.T @ _sums(chosen, blocks.gram) @ self.frame
        return _sums(chosen, self.frame.T @ blocks.gram @ self.frame)

    def _solved(self, gram: np.ndarray, cross: np.ndarray) -> np.ndarray | None:
        """Coefficients in the frame; None unless the part surely keeps just the directions that the whole keeps.

        The trace of the inverse bounds the least moment of the part in the frame from below, and with the least moment of the
        whole that in the features. Directions that the whole leaves out must be flat beside the part's largest.
        """
        values, _, kept = self._spectrum
        factor, failed = _factorise(gram, lower=1)
        if failed:
            return None
        inverse, _ = _inverse(factor, lower=1)
        left_out = values[~kept].max(initial=0.0)
        if values[kept][0] <= FLAT * values[-1] * np.trace(inverse) or left_out >= FLAT * values[-1] * gram[-1, -1]:
            return None
        return _solve(factor, self.frame.T @ cross, lower=1)[0]


def _sums(
    chosen: Bool[np.ndarray, "part block"], values: Float64[np.ndarray, "block *rest"]
) -> Float64[np.ndarray, "part *rest"]:
    """Sums over the blocks chosen for every part."""
    return (chosen.astype(np.float64) @ values.reshape(len(values), -1)).reshape(len(chosen), *values.shape[1:])


def _pieces(n: int) -> Iterator[slice]:
    """Slices that make up n rows."""
    return (slice(start, start + PIECE) for start in range(0, n, PIECE))


def _least_norm(gram: Float64[np.ndarray, "p p"], cross: Float64[np.ndarray, "p column"]) -> Float64[np.ndarray, "p column"]:
    """Least-norm coefficients by the part's own directions."""
    values, basis = np.linalg.eigh(gram)
    kept = values > FLAT * values[-1]
    return basis[:, kept] @ ((basis[:, kept].T @ cross) / values[kept, None])
