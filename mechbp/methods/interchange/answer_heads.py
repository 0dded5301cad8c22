"""Which positions answer, how their logits are read, and how far that is from exact inference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from mechbp.errors import InputError
from mechbp.methods.interchange.pairs import Pairs

Reading = Callable[[Float[Tensor, "n q"]], Float[Tensor, "n q"]]
"""Logits at one position -> log-probabilities."""

TOLERANCE = 0.01
"""How far a user's probabilities may sum beside 1, where small ones were raised."""
FLOOR = 1e-12
"""Shares below this are raised to it, as everywhere in the suite: a wrong zero costs 27.6 nats and not infinity."""


def softmax_reading(logits: Float[Tensor, "n q"]) -> Float[Tensor, "n q"]:
    """Return log softmax in float64: how trained models answer."""
    return logits.double().log_softmax(dim=-1)


def proportional_reading(logits: Float[Tensor, "n q"]) -> Float[Tensor, "n q"]:
    """Return the log of each output's share of the sum: how compiled models answer, whose logits are probabilities up to scale.

    An edited compiled model can leave outputs below 0, which are no weights; their magnitudes are read, so that such an answer is
    finite, wrong, and has a gradient. Outputs that are all 0, or overflow, answer nothing: every symbol alike.
    """
    weights = logits.double().abs()
    total = weights.sum(dim=-1, keepdim=True)
    says = (total > 0) & total.isfinite()
    shares = torch.where(says, weights / torch.where(says, total, 1), 1 / logits.shape[-1])
    return shares.clamp_min(FLOOR).log()


def reading_of(model: Any) -> Reading:
    """Return how a model's outputs are read: as shares of their sum where `cfg.outputs` is "probabilities", else by softmax."""
    return softmax_reading if getattr(getattr(model, "cfg", None), "outputs", "logits") == "logits" else proportional_reading


def checked_reading(reading: Reading, where: str) -> Reading:
    """Return a user's reading that refuses, whenever it is used, to be anything but log-probabilities."""
    if not callable(reading):
        raise InputError(f"{where}: reading must be a function, logits [n, q] -> log-probabilities [n, q], got {reading!r:.40}.")

    def read(logits: Tensor) -> Tensor:
        found = reading(logits)
        total = found.detach().exp().sum(dim=-1) if isinstance(found, Tensor) and found.shape == logits.shape else None
        if total is None or not bool(((total - 1).abs() < TOLERANCE).all()):
            shape = list(getattr(found, "shape", ()))
            got = f"{type(found).__name__} {shape}" if total is None else f"a sum of {float(total.flatten()[0]):.3g}"
            raise InputError(
                f"{where}: reading must return log-probabilities, the shape of the logits, exp() of which sums to 1; got {got}.\n"
                "Take the logarithm: lambda logits: probabilities(logits).clamp_min(1e-12).log()."
            )
        return found

    return read


def kl_to_reading(exact: Float64[Tensor, "n q"], log_answer: Float[Tensor, "n q"]) -> Float[Tensor, " n"]:
    """Return D(exact || answer) in nats."""
    return (torch.special.xlogy(exact, exact) - exact * log_answer).sum(dim=-1)


def asked_of(pairs: Pairs, target: Float64[np.ndarray, "n q"]) -> list[tuple[Int[np.ndarray, " n"], Float64[np.ndarray, "n q"]]]:
    """Return the positions asked, each with its exact answers: the query with `target`, then the bystander if there is one."""
    asked = [(pairs.query, target)]
    if pairs.bystander is not None and pairs.bystander_answer is not None:
        asked.append((pairs.bystander, pairs.bystander_answer))
    return asked
