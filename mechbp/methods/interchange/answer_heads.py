"""Which positions answer, how their logits are read, and how far that is from exact inference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from mechbp.arguments import told
from mechbp.errors import InputError
from mechbp.methods.interchange.pairs import Pairs

Reading = Callable[[Float[Tensor, "n q"]], Float[Tensor, "n q"]]
"""Logits at one position -> log-probabilities."""

FLOOR = 1e-12
"""Shares below this are raised to it, as everywhere in the suite: a wrong zero costs 27.6 nats and not infinity."""


READ_SUM = 1e-2
"""Probabilities of a reading may miss 1 by this much: half precision, and floors."""


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


def checked_reading(where: str, reading: Reading) -> Reading:
    """Return a user's reading so that it raises InputError, in the name of `where`, for what are no log-probabilities [n, q]."""
    if not callable(reading):
        raise InputError(f"{where}: reading must map logits [n, q] to log-probabilities [n, q], got {told(reading)}.")
    if reading in (softmax_reading, proportional_reading) or getattr(reading, "checked", False):
        return reading

    def read(logits: Tensor) -> Tensor:
        try:
            found = reading(logits)
        except Exception as error:  # a user's own function
            text = f"{type(error).__name__}: {told(str(error), 100)}"
            raise InputError(
                f"{where}: reading failed on logits {list(logits.shape)}: {text}. It maps [n, q] to [n, q]."
            ) from error
        if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(logits):
            got = list(found.shape) if isinstance(found, Tensor) else told(found)
            raise InputError(f"{where}: reading must return log-probabilities [{len(logits)}, q], got {got}.")
        sums = found.detach().double().exp().sum(dim=1)
        if bool((sums - 1).abs().max() > READ_SUM):  # NaN passes, and is refused by name as an answer
            raise InputError(
                f"{where}: reading must return log-probabilities; those of the first pairs sum to {float(sums[0]):.3g}, not to 1."
            )
        return found

    read.checked = True  # type: ignore[attr-defined]
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
