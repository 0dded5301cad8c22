"""Metrics that are ready for patching, ablation and attribution: functions of the logits, one number per example.

    effects = mechbp.patch(model, clean, corrupted, mechbp.metrics.log_prob(position=3, symbol=1), hooks)

They say which positions they read, so that `patch` computes no others, and are differentiable, so that attribution takes them.
`position` and `symbol` are one for all examples, or one per example, [n]. Positions count from the end where they are negative;
a model that answers once per sequence has position 0 alone. All logarithms are natural.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechbp.arguments import as_array, checked_reals, told
from mechbp.errors import InputError

Which = int | np.integer | Int[np.ndarray, " n"] | Int[Tensor, " n"]
"""One for all examples, or one per example."""


@dataclass(frozen=True, eq=False)
class Metric:
    """A function of the log-probabilities [n, q] at one position of every example, or [n, position, q] at all of them."""

    name: str
    value: Callable[[Float[Tensor, "n *position q"]], Float[Tensor, " n"]]
    position: Which | None
    """None: all positions are read."""

    def __call__(self, logits: Float[Tensor, "n position q"]) -> Float[Tensor, " n"]:
        """Return the metric of every example. Raises InputError for positions or symbols that the logits do not have."""
        if self.position is None:
            return self.value(logits.double().log_softmax(dim=-1))
        places = self._places(logits)
        return self.value(logits[torch.arange(len(logits), device=logits.device), places].double().log_softmax(dim=-1))

    def reads(self, logits: Float[Tensor, "n position q"]) -> Bool[Tensor, "n position"]:
        """Return which positions of each example the metric depends on."""
        if self.position is None:
            return torch.ones(logits.shape[:2], dtype=torch.bool)
        return torch.arange(logits.shape[1]) == self._places(logits).cpu()[:, None]

    def _places(self, logits: Tensor) -> Int[Tensor, " n"]:
        length = logits.shape[1]
        places = _each(self.name, "position", self.position, len(logits), (-length, length), logits.device)
        return torch.where(places < 0, places + length, places)

    def __repr__(self) -> str:
        return f"metrics.{self.name}"


def log_prob(position: Which, symbol: Which) -> Metric:
    """Return the metric ln P(symbol) at a position, nats.

    Raises InputError, when called, for positions or symbols that the logits do not have, or that are not one per example.

    >>> import mechbp, torch
    >>> mechbp.metrics.log_prob(position=0, symbol=1)(torch.zeros(2, 3, 4))
    tensor([-1.3863, -1.3863], dtype=torch.float64)
    """
    _integers("log_prob", position=position, symbol=symbol)
    return Metric("log_prob", lambda logs: _of("log_prob", logs, symbol), position)


def logit_difference(position: Which, symbol: Which, other: Which) -> Metric:
    """Return the metric logit(symbol) - logit(other) at a position, the log of the odds of the two. Raises as `log_prob` does.

    >>> import mechbp, torch
    >>> mechbp.metrics.logit_difference(position=-1, symbol=1, other=0)(torch.arange(4.0).expand(2, 3, 4))
    tensor([1., 1.], dtype=torch.float64)
    """
    name = "logit_difference"
    _integers(name, position=position, symbol=symbol, other=other)
    return Metric(name, lambda logs: _of(name, logs, symbol) - _of(name, logs, other), position)


def kl_to(exact: Float[np.ndarray, "n *position q"] | Float[Tensor, "n *position q"], position: Which | None = None) -> Metric:
    """Return the metric KL(exact || model), nats: at one position for exact answers [n, q], mean over all for [n, position, q].

    0 is exact; it falls as the model's answers come nearer. Raises InputError for exact answers that are no distributions, or
    without the position that [n, q] are about; when called, for logits of other shapes.

    >>> import mechbp, numpy as np, torch
    >>> mechbp.metrics.kl_to(np.full((2, 4), 0.25), position=0)(torch.zeros(2, 3, 4)).abs() < 1e-12
    tensor([True, True])
    """
    if not isinstance(exact, Tensor):
        exact = torch.from_numpy(np.array(checked_reals(exact, "kl_to", "the exact answers", "probabilities"), np.float64))
    if exact.layout is not torch.strided or exact.is_meta or exact.is_complex():
        raise InputError(f"kl_to: exact answers must be a dense tensor of probabilities, got {told(exact)}.")
    wanted = exact.detach().double()
    if wanted.ndim != (3 if position is None else 2):
        raise InputError(
            f"kl_to: need exact answers [n, q] and their position, or [n, position, q] and none, got {list(wanted.shape)} and "
            f"position={'None' if position is None else 'given'}."
        )
    if not bool(((wanted >= 0) & wanted.isfinite()).all()) or bool((wanted.sum(dim=-1) - 1).abs().max() > 1e-4):
        raise InputError("kl_to: every row of the exact answers must be a distribution over symbols (>= 0, sum 1).")
    if position is not None:
        _integers("kl_to", position=position)

    def value(logs: Tensor) -> Tensor:
        if logs.shape != wanted.shape:
            raise InputError(
                f"kl_to: the exact answers are {list(wanted.shape)}, the model's {list(logs.shape)}.\n"
                "Pass exact answers of all examples, in order."
            )
        truth = wanted.to(logs.device)
        kl = (torch.special.xlogy(truth, truth) - torch.where(truth > 0, truth * logs, 0.0)).sum(dim=-1)
        return kl if kl.ndim == 1 else kl.mean(dim=1)

    return Metric("kl_to", value, position)


def _of(name: str, logs: Float[Tensor, "n q"], symbol: Which) -> Float[Tensor, " n"]:
    chosen = _each(name, "symbol", symbol, len(logs), (0, logs.shape[-1]), logs.device)
    return logs[torch.arange(len(logs), device=logs.device), chosen]


def _each(name: str, what: str, given: Which | None, n: int, bounds: tuple[int, int], device: torch.device) -> Int[Tensor, " n"]:
    """One value per example, between the bounds; InputError otherwise."""
    values = torch.as_tensor(given, dtype=torch.long, device=device)
    if values.ndim and len(values) != n:
        raise InputError(f"{name}: got {len(values)} {what}s for {n} examples; give one for all, or one per example, in order.")
    if bool((values < bounds[0]).any()) or bool((values >= bounds[1]).any()):
        wrong = values[(values < bounds[0]) | (values >= bounds[1])].flatten()[0]
        raise InputError(f"{name}: {what} must lie in {bounds[0]}..{bounds[1] - 1}, got {int(wrong)}.")
    return values.expand(n)


def _integers(name: str, **given: object) -> None:
    for what, value in given.items():
        array = as_array(
            value.detach().cpu() if isinstance(value, Tensor) else value, name, what, "an integer, or one per example"
        )
        if array.dtype.kind not in "iu" or array.ndim > 1 or not array.size:
            raise InputError(f"{name}: {what} must be an integer, or one per example, got {told(value)}.")
