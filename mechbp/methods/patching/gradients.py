"""Gradients of a metric with respect to activations, at runs whose activations may have been moved.

Zeros that require a gradient are added to each activation: their gradient is the activation's, and no parameter is ever
differentiated. The metric may need the logits of all examples at once, so it is differentiated with respect to them first,
and each batch is then run and differentiated by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Float64, Int
from torch import Tensor

from mechbp.errors import InputError
from mechbp.hooks import HookedModel, edit, forward, require_hooked, to_tokens
from mechbp.methods.patching.metric import Direction, Metric, score

Tokens = Int[np.ndarray, "n position"] | Int[Tensor, "n position"]
Move = Callable[[Tensor, slice], Tensor]


@contextmanager
def gradients_on() -> Iterator[None]:
    """Gradients on, whatever the caller's mode, and that mode again afterwards."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def stay(value: Tensor, _: slice) -> Tensor:
    """Return an activation as it is."""
    return value


def move(change: Tensor, value: Tensor, rows: slice) -> Tensor:
    """Return the activation of some rows with the change of these rows added."""
    return value + change[rows]


class Observed(NamedTuple):
    """What a run shows: activations by hook, and the metric of every example."""

    activations: dict[str, Tensor]
    metric: Float64[np.ndarray, " n"]


class GradientRuns:
    """The two runs of every pair, and gradients of the metric at base runs whose activations were moved."""

    def __init__(
        self, where: str, model: HookedModel, clean: Tokens, corrupted: Tokens, metric: Metric, direction: str, batch_size: int
    ) -> None:
        require_hooked(model)
        if direction not in get_args(Direction) or batch_size < 1:
            raise InputError(
                f"{where}: need direction in {get_args(Direction)} and batch_size >= 1, got {direction!r} and {batch_size}."
            )
        self.where, self.model, self.metric, self.donor, self.base = where, model, metric, *_pair(model, clean, corrupted, where)
        if direction == "noising":
            self.donor, self.base = self.base, self.donor
        self.parts = [slice(start, start + batch_size) for start in range(0, len(self.base), batch_size)]

    @torch.no_grad()
    def observe(self, tokens: Tensor, names: Iterable[str], moves: Mapping[str, Move] | None = None) -> Observed:
        """Run the tokens with activations moved, and return those at `names` with the metric."""
        runs = [self._run(tokens, rows, moves or dict.fromkeys(names, stay)) for rows in self.parts]
        activations = {name: torch.cat([seen[name] for _, _, seen in runs]) for name in names}
        return Observed(activations, self._metric(torch.cat([logits for logits, _, _ in runs]))[0])

    def differentiate(self, moves: Mapping[str, Move]) -> tuple[Observed, dict[str, Tensor]]:
        """Run the base with activations moved; return what it shows and each example's gradient of its metric at the hooks."""
        values: Float64[np.ndarray, " n"] = np.empty(0)
        weights = torch.empty(0)
        if len(self.parts) > 1:  # the metric needs all logits at once, and so many graphs would not fit
            with torch.no_grad():
                values, weights = self._metric(torch.cat([self._run(self.base, rows, moves)[0] for rows in self.parts]))
        seen: dict[str, list[Tensor]] = {name: [] for name in moves}
        found: dict[str, list[Tensor]] = {name: [] for name in moves}
        for rows in self.parts:
            logits, leaves, activations = self._run(self.base, rows, moves)
            if len(self.parts) == 1:
                values, weights = self._metric(logits)
            gradients: Sequence[Tensor | None] = [None] * len(leaves)
            if logits.requires_grad:
                gradients = torch.autograd.grad(logits, list(leaves.values()), weights[rows], allow_unused=True)
            for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True):
                seen[name].append(activations[name])
                found[name].append(torch.zeros_like(leaf) if gradient is None else gradient)
        observed = Observed({name: torch.cat(parts) for name, parts in seen.items()}, values)
        return observed, {name: torch.cat(parts) for name, parts in found.items()}

    def _run(self, tokens: Tensor, rows: slice, moves: Mapping[str, Move]) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Logits of some rows, a leaf of zeros added to each moved activation, and the activations."""
        leaves: dict[str, Tensor] = {}
        seen: dict[str, Tensor] = {}

        def track(name: str) -> Callable[[Tensor], Tensor]:
            def edited(value: Tensor) -> Tensor:
                value = moves[name](value, rows)
                # The gradient of what is added is the activation's own; parameters are never differentiated.
                leaves[name], seen[name] = torch.zeros_like(value, requires_grad=True), value.detach().clone()
                return value + leaves[name]

            return edited

        with edit(self.model, {name: track(name) for name in moves}):
            return forward(self.model, tokens[rows]), leaves, seen

    def _metric(self, logits: Tensor) -> tuple[Float64[np.ndarray, " n"], Tensor]:
        """The metric of every example, and its gradient with respect to the example's logits."""
        with torch.enable_grad():
            leaf = logits.detach().requires_grad_()
            values = self.metric(leaf)
            scores = score(lambda _: values, leaf, f"{self.where}: a run")
            if not values.requires_grad:
                raise InputError(
                    f"{self.where}: metric must be differentiable; its result does not depend on the logits in torch."
                )
            return scores, torch.autograd.grad(values.sum(), leaf)[0]


def _pair(model: HookedModel, clean: Tokens, corrupted: Tokens, where: str) -> tuple[Tensor, Tensor]:
    first, second = to_tokens(model, clean), to_tokens(model, corrupted)
    if first.shape != second.shape:
        shapes = f"{list(first.shape)} and {list(second.shape)}"
        raise InputError(f"{where}: clean and corrupted must pair up row by row in one shape, got {shapes}.")
    return first, second
