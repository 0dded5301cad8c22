"""Adam as in PyTorch, and plain gradient descent, with one learning rate per run of a batch.

torch.optim has one rate per tensor; here a batch of runs with rates of their own is one tensor [run, weight].
"""

from __future__ import annotations

from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

Rates = Float[Tensor, "run 1"]
Flat = Float[Tensor, "run _"]

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class Rule(Protocol):
    """Changes a batch of weights in place, given their gradients."""

    def update(self, name: str, weights: Flat, gradients: Flat) -> None: ...


class Sgd:
    """weights - rate * gradient."""

    def __init__(self, rates: Rates) -> None:
        self.rates = rates

    def update(self, name: str, weights: Flat, gradients: Flat) -> None:
        """Take one step, in place."""
        del name
        weights -= self.rates * gradients


class Adam:
    """Running means m and v of gradients and squares; step rate * m_hat / (sqrt(v_hat) + epsilon), hats for their start at 0.

    (Source: Kingma and Ba 2015, Algorithm 1, with epsilon outside the root of the corrected v, as in torch.optim.Adam.)
    """

    def __init__(self, rates: Rates) -> None:
        self.rates = rates
        self.state: dict[str, tuple[int, Tensor, Tensor]] = {}

    def update(self, name: str, weights: Flat, gradients: Flat) -> None:
        """Take one step, in place; `name` says whose running means to use."""
        blank = (0, torch.zeros_like(weights), torch.zeros_like(weights))
        count, mean, square = self.state.get(name, blank)
        count += 1
        mean.mul_(BETAS[0]).add_(gradients, alpha=1 - BETAS[0])
        square.mul_(BETAS[1]).addcmul_(gradients, gradients, value=1 - BETAS[1])
        self.state[name] = (count, mean, square)
        corrected = (square / (1 - BETAS[1] ** count)).sqrt_().add_(EPSILON)
        weights -= self.rates * (mean / (1 - BETAS[0] ** count)) / corrected
