"""Erase a message from an activation: the smallest affine change after which no linear probe finds it.

LEACE removes the component of the activation along which it covaries with the message, obliquely, so that the squared distance
moved is least among all affine maps that leave no covariance. Plain projection removes an orthogonal subspace instead.
What was removed linearly may still be there nonlinearly; whether the model misses it is for the model's output to say.
(Source: Belrose et al., "LEACE: Perfect linear concept erasure in closed form", NeurIPS 2023, Theorem 4.3.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from mechbp.brief import Brief
from mechbp.hooks import to_array
from mechbp.methods.interchange.subspaces import Activations, Messages, Subspace, by_leaf

FLAT = 1e-8
"""Eigenvalues of the covariance below this share of the largest count as zero."""


@dataclass(frozen=True, eq=False, repr=False)
class Eraser(Brief):
    """h -> h - removed @ (h - mean), position by position; idempotent."""

    name: str
    mean: Float64[np.ndarray, "position d"]
    removed: Float64[np.ndarray, "position d d"]
    """Projection, oblique for LEACE, onto what is taken away; zero at a ROOT query."""

    def erased(self, activation: Float[Tensor, "n position d"]) -> Float[Tensor, "n position d"]:
        """Return the activation without what the eraser takes."""
        mean, removed = (torch.from_numpy(array).to(activation) for array in (self.mean, self.removed))
        return activation - torch.einsum("npd,ped->npe", activation - mean, removed)


def leace(activations: Activations, messages: Messages) -> Eraser:
    """Fit the least-squares eraser of every position's message.

    With S = Cov(h), C = Cov(h, message) and W = S^(-1/2), what is removed is W^(-1) P W, P the orthogonal projection onto
    the columns of W C; so Cov(h - removed (h - mean), message) = C - W^(-1) P W C = 0.
    """
    return leaces(activations, [messages])[0]


def leaces(activations: Activations, messages: Sequence[Messages]) -> list[Eraser]:
    """Return `leace` of each of several messages; all share the covariance of each position's activations."""
    empty = [_empty(activations) for _ in messages]
    for position, (features, targets) in enumerate(by_leaf(activations, messages)):
        mean = features.mean(axis=0)
        centred = features - mean
        values, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
        kept = values > FLAT * max(values[-1], 1e-300)
        roots = np.sqrt(values[kept])
        vectors = vectors[:, kept]
        for (removed, means), target in zip(empty, targets, strict=True):
            whitened = (vectors / roots).T @ (centred.T @ (target - target.mean(axis=0)) / len(centred))
            left, singular, _ = np.linalg.svd(whitened, full_matrices=False)
            concept = left[:, singular > FLAT * max(singular.max(initial=0.0), 1e-300)]  # none where nothing varies
            removed[position] = (vectors * roots) @ concept @ concept.T @ (vectors / roots).T
            means[position] = mean
    return [Eraser("LEACE", means, removed) for removed, means in empty]


def projection(activations: Activations, subspace: Subspace) -> Eraser:
    """Return the eraser that sets the component in a subspace to its mean over the activations, by orthogonal projection."""
    removed, means = _empty(activations)
    basis = np.broadcast_to(subspace.basis, (activations.shape[1], *subspace.basis.shape[1:]))
    removed[:] = basis @ basis.transpose(0, 2, 1)
    means[:] = to_array(activations).mean(axis=0, dtype=np.float64)
    return Eraser(f"projection: {subspace.name}", means, removed)


def _empty(activations: Activations) -> tuple[np.ndarray, np.ndarray]:
    _, positions, d = activations.shape
    return np.zeros((positions, d, d)), np.zeros((positions, d))
