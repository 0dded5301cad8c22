"""Ridge regression in closed form: one decomposition of the features serves every target and every penalty.

Targets are [symbol, node, example] and features [example, d]: with the example axis of the targets contiguous, elementwise
work on predictions runs over long rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from einops import rearrange
from jaxtyping import Float64

from mechbp.brief import Brief

PENALTIES = (1e-9, 1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Candidate penalties, relative to the mean eigenvalue of the Gram matrix of the training features."""

CONSTANT = 1e-12
"""Features whose variance is below this share of their mean square are rounding noise around a constant, not a signal."""

Features = Float64[np.ndarray, "_ d"]
Targets = Float64[np.ndarray, "q node _"]
"""The last axis runs over examples; it has no name because the parts of a split differ in it."""


@dataclass(frozen=True, eq=False, repr=False)
class Spectrum(Brief):
    """Centred training features in the eigenbasis of their Gram matrix."""

    mean: Float64[np.ndarray, " d"]
    values: Float64[np.ndarray, " d"]
    """Eigenvalues of the Gram matrix, ascending, >= 0."""
    basis: Float64[np.ndarray, "d d"]
    """Eigenvectors, one per column."""
    rotated: Features
    """Training features, centred and rotated."""
    scale: float
    """Mean eigenvalue, kept away from 0: the unit of penalties."""

    @classmethod
    def of(cls, features: Features) -> Spectrum:
        """Decompose the Gram matrix of the training features.

        By way of the singular values of the triangle R in features = QR, since R'R is the Gram matrix: forming the Gram matrix
        itself would square the condition number, and its smallest eigenvalues would be rounding noise of size 1e-16 of the
        largest, which penalties near 1e-9 do not cover.
        """
        mean = features.mean(axis=0)
        centred = features - mean
        _, singular, right = np.linalg.svd(np.linalg.qr(centred, mode="r"))
        values, basis = np.zeros(len(mean)), np.ascontiguousarray(right[::-1].T)
        values[len(mean) - len(singular) :] = np.square(singular[::-1])
        scale = max(float(values.mean()), CONSTANT * len(features) * float(np.square(features).mean())) or 1.0
        return cls(mean, values, basis, centred @ basis, scale)

    def rotate(self, features: Features) -> Features:
        """Return other features in the same coordinates."""
        return (features - self.mean) @ self.basis


@dataclass(frozen=True, eq=False, repr=False)
class RidgeFit(Brief):
    """One linear map per node, rotated features -> symbols, and the penalty each node was given."""

    weights: Float64[np.ndarray, "q node d"]
    intercept: Float64[np.ndarray, "q node 1"]
    """The targets' mean over the training split: the prediction at the mean feature."""
    penalty: Float64[np.ndarray, " node"]
    """Absolute: the fit minimises |Y - XW|^2 + penalty |W|^2 over centred training data (scikit-learn's `alpha`)."""

    def predict(self, rotated: Features) -> Targets:
        """Return predictions, whose symbols sum to what the targets' symbols sum to; entries may leave [0, 1]."""
        q, nodes, d = self.weights.shape
        return (self.weights.reshape(-1, d) @ rotated.T).reshape(q, nodes, -1) + self.intercept


def fit_ridge(
    spectrum: Spectrum, train: Targets, held_rotated: Features, held: Targets, penalties: Sequence[float] = PENALTIES
) -> RidgeFit:
    """Fit every node on `train`, each with the penalty of least squared error on the held-out (validation) part.

    With Gram matrix V diag(s) V' the weights at penalty p are (s + p)^-1 V'X'Y in the eigenbasis, and the held-out error is
    |H|^2 - 2 <W, Z'H> + <W, Z'Z W> for rotated features Z and targets H: a penalty costs d^2 per target, no refit and no
    prediction.
    """
    q, nodes, _ = train.shape
    intercept = train.mean(axis=-1, keepdims=True)
    cross = _flat(train) @ spectrum.rotated  # the features' mean is 0, so the targets need no centring
    held_gram = held_rotated.T @ held_rotated
    held_cross = _flat(held) @ held_rotated - _flat(intercept) * held_rotated.sum(axis=0)
    candidates = spectrum.scale * np.asarray(penalties, np.float64)
    errors = np.empty((len(candidates), nodes))
    for row, penalty in enumerate(candidates):
        weights = cross / (spectrum.values + penalty)
        errors[row] = (weights * (weights @ held_gram - 2 * held_cross)).reshape(q, nodes, -1).sum(axis=(0, 2))
    chosen = candidates[errors.argmin(axis=0)]
    weights = cross.reshape(q, nodes, -1) / (spectrum.values + chosen[:, None])
    return RidgeFit(weights, intercept, chosen)


def _flat(targets: Targets) -> Float64[np.ndarray, "rows _"]:
    return rearrange(targets, "symbol node example -> (symbol node) example")
