"""How logits are read as answers: log-probabilities over symbols."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Float64
from torch import Tensor

Reading = Callable[[Float[Tensor, "n q"]], Float[Tensor, "n q"]]
"""Logits at one position -> log-probabilities."""

TINY = 1e-300
"""Answers of a compiled model are raised to this: rounding can leave a probability of 0 a little below it."""


def softmax_reading(logits: Float[Tensor, "n q"]) -> Float[Tensor, "n q"]:
    """Return log softmax in float64: how trained models answer."""
    return logits.double().log_softmax(dim=-1)


def proportional_reading(logits: Float[Tensor, "n q"]) -> Float[Tensor, "n q"]:
    """Return log of the outputs divided by their sum: how compiled models answer, whose logits are probabilities up to scale."""
    kept = logits.double().clamp_min(TINY)
    return (kept / kept.sum(dim=-1, keepdim=True)).log()


def kl_to_reading(exact: Float64[Tensor, "n q"], log_answer: Float[Tensor, "n q"]) -> Float[Tensor, " n"]:
    """Return D(exact || answer) in nats."""
    return (torch.special.xlogy(exact, exact) - exact * log_answer).sum(dim=-1)
