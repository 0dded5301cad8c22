"""Torch losses at whose minimum the local learning coefficient is known, in the form that `llc` takes.

Each returns (loss, parameters). All but the regression are expectations over the inputs, worked out, so that no data is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from mechbp.errors import InputError
from mechbp.methods.llc.objective import Loss

Problem = tuple[Loss, dict[str, Tensor]]


def quadratic(curvatures: Float64[np.ndarray, " d"]) -> Problem:
    """Return L(w) = 1/2 sum_i h_i w_i^2 at w* = 0; batches, where there are any, are gradients [d] added at every w."""
    scale = torch.from_numpy(np.asarray(curvatures, dtype=float))

    def loss(parameters: dict[str, Tensor], batch: Any) -> Tensor:
        w = parameters["w"]
        value = (scale * w * w).sum() / 2
        return value if batch is None else value + batch @ w

    return loss, {"w": torch.zeros(len(curvatures), dtype=torch.float64)}


def normal_crossing(powers: tuple[int, int], second_moment: float = 1.0) -> Problem:
    """Return L(w) = E[x^2] (w1^k1 w2^k2)^2, the noise-free squared loss of y = x w1^k1 w2^k2, at w* = 0."""

    def loss(parameters: dict[str, Tensor], batch: Any) -> Tensor:
        w = parameters["w"]
        return second_moment * (w[0] ** powers[0] * w[1] ** powers[1]) ** 2

    return loss, {"w": torch.zeros(2, dtype=torch.float64)}


def linear_regression(
    features: Float64[np.ndarray, "n d"], noise: float, rng: np.random.Generator
) -> tuple[Loss, dict[str, Tensor], tuple[Tensor, Tensor]]:
    """Return the halved mean squared error at its least-squares minimum, and the data (features, targets) for batches.

    Targets are a random linear function plus Gaussian noise. The curvatures are the eigenvalues of X^T X / n.
    """
    n, d = features.shape
    targets = features @ rng.standard_normal(d) + noise * rng.standard_normal(n)
    solution = np.linalg.lstsq(features, targets, rcond=None)[0]

    def loss(parameters: dict[str, Tensor], batch: Any) -> Tensor:
        x, y = batch
        return (x @ parameters["weight"] - y).square().mean() / 2

    return loss, {"weight": torch.from_numpy(solution)}, (torch.from_numpy(features), torch.from_numpy(targets))


def deep_linear(widths: Sequence[int], rank: int, rng: np.random.Generator) -> Problem:
    """Return 1/2 |W_L ... W_1 - W|^2 at a product W of that rank: a linear network's squared loss, inputs of unit covariance.

    Every factor is [H_s, H_{s-1}], has exactly that rank and singular values between 0.7 and 1.4 on one chain of random
    subspaces, so that the product is far from rank - 1. Raises InputError unless 0 <= rank <= the smallest width.
    """
    if len(widths) < 2 or not 0 <= rank <= min(widths):
        raise InputError(f"deep_linear: need two widths or more, and 0 <= rank <= the smallest, got {list(widths)}, {rank}.")
    bases = [np.linalg.qr(rng.standard_normal((width, width)))[0][:, :rank] for width in widths]
    factors = [(end * rng.uniform(0.7, 1.4, rank)) @ start.T for start, end in pairwise(bases)]
    parameters = {f"W{layer + 1}": torch.from_numpy(factor) for layer, factor in enumerate(factors)}

    def product(parameters: dict[str, Tensor]) -> Tensor:
        found = parameters["W1"]
        for layer in range(2, len(widths)):
            found = parameters[f"W{layer}"] @ found
        return found

    target = product(parameters)

    def loss(parameters: dict[str, Tensor], batch: Any) -> Tensor:
        return (product(parameters) - target).square().sum() / 2

    return loss, parameters
