"""A loss as a function of one flat vector of parameters, with its gradient for many points at once.

Chains are rows of one matrix [chain, parameter]. Their gradients come from one vectorised call, or from a loop over chains: the
first saves the overhead of small operations, the second keeps the arrays of large models in cache. Both see the same noise;
their results differ in rounding only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import vmap

from mechbp.arguments import told
from mechbp.brief import Brief
from mechbp.errors import InputError, MechbpError

Loss = Callable[[dict[str, Tensor], Any], Tensor]
"""Mean loss, a scalar, of named parameters on one batch."""

VECTORISED_UP_TO = 16_384
"""Parameters. Eight chains of a two-layer network: vectorised 1.7 times as fast as the loop at 32 parameters, 1.9 times at 2,048,
as fast at 8,192, a tenth slower beyond 30,000."""


@dataclass(frozen=True, eq=False, repr=False)
class Objective(Brief):
    """A loss of named parameters, read from one flat vector."""

    loss: Loss
    shapes: Mapping[str, torch.Size]
    minimum: Float[Tensor, " parameter"]
    """w*: the parameters given, in one vector of their dtype and device."""
    vectorised: bool
    """Whether the gradients of all chains come from one call."""

    @classmethod
    def of(cls, loss: Loss, parameters: Mapping[str, Tensor], batch: Any, vectorise: bool | None = None) -> Objective:
        """Return the objective, checked on one batch; `vectorise` None decides by the number of parameters.

        A loss that `torch.func.vmap` refuses runs in a loop. Raises InputError where parameters differ in dtype or device, or
        where the loss is not a finite scalar, does not depend on the parameters, or is not the same when asked twice.
        """
        if not callable(loss):
            raise InputError(f"llc: loss must be a function of (parameters, batch), got {type(loss).__name__}.")
        if not isinstance(parameters, Mapping) or not parameters:
            raise InputError("llc: parameters must be a dictionary of at least one tensor. Pass dict(model.named_parameters()).")
        for name, value in parameters.items():
            if not isinstance(value, Tensor) or not value.is_floating_point() or not value.numel():
                got = f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
                raise InputError(f"llc: parameter {name!r} must be a real floating-point tensor that is not empty, got {got}.")
        kinds = sorted({f"{value.dtype} on {value.device}" for value in parameters.values()})
        if len(kinds) > 1:
            raise InputError(f"llc: parameters must share one dtype and device, got {', '.join(kinds)}.")
        shapes = {name: value.shape for name, value in parameters.items()}
        minimum = torch.cat([value.detach().reshape(-1) for value in parameters.values()])
        looped = cls(loss, shapes, minimum, False)
        looped._check(batch)
        if vectorise or (vectorise is None and len(minimum) <= VECTORISED_UP_TO):
            vectorised = cls(loss, shapes, minimum, True)
            try:
                vectorised.values_and_gradients(minimum.repeat(2, 1), batch)
                return vectorised
            except (RuntimeError, NotImplementedError) as refusal:  # data-dependent control flow, or an operation without a rule
                if vectorise:
                    raise InputError(
                        f"llc: the loss cannot be vectorised over chains, {refusal!s:.80}. Leave vectorise out."
                    ) from None
        return looped

    def at(self, point: Float[Tensor, " parameter"], batch: Any) -> Float[Tensor, ""]:
        """Return the loss at one point."""
        parts = point.split([prod(shape) for shape in self.shapes.values()])
        return self.loss({name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}, batch)

    @torch.no_grad()
    def value(self, point: Float[Tensor, " parameter"], batch: Any) -> float:
        """Return the loss at one point as a number."""
        return float(self.at(point, batch))

    def values_and_gradients(
        self, points: Float[Tensor, "chain parameter"], batch: Any
    ) -> tuple[Float[Tensor, " chain"], Float[Tensor, "chain parameter"]]:
        """Return the losses of all chains on one batch, and their gradients."""
        if self.vectorised:
            leaves = points.detach().requires_grad_()
            with torch.enable_grad():  # one backward pass of the sum: half the time of torch.func.grad_and_value under vmap
                values = vmap(lambda point: self.at(point, batch))(leaves)
                (gradients,) = torch.autograd.grad(values.sum(), leaves)
            return values.detach(), gradients
        values = points.new_empty(len(points))
        gradients = torch.empty_like(points)
        for chain, point in enumerate(points):
            leaf = point.detach().requires_grad_()
            with torch.enable_grad():
                value = self.at(leaf, batch)
                (gradients[chain],) = torch.autograd.grad(value, leaf)
            values[chain] = value.detach()
        return values, gradients

    def hessian_product(self, vector: Float[Tensor, " parameter"], batch: Any) -> Float[Tensor, " parameter"]:
        """Return the loss's Hessian at w*, times a vector; zero where the gradient is constant.

        Raises RuntimeError where the gradient varies but cannot be differentiated.
        """
        leaf = self.minimum.detach().requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(self.at(leaf, batch), leaf, create_graph=True)
            if not gradient.requires_grad:  # the gradient of a linear loss, or an operation that hides what it depends on
                _, moved = self.values_and_gradients((self.minimum + vector)[None], batch)
                if not torch.equal(moved[0], gradient):
                    raise RuntimeError("its gradient varies without a graph")
                return torch.zeros_like(vector)
            (product,) = torch.autograd.grad(gradient @ vector, leaf, allow_unused=True)
        return torch.zeros_like(vector) if product is None else product.detach()

    def _check(self, batch: Any) -> None:
        leaf = self.minimum.detach().requires_grad_()
        try:
            with torch.enable_grad():
                value = self.at(leaf, batch)
        except MechbpError:
            raise
        except Exception as error:  # a user's own function
            text = f"{type(error).__name__}: {told(str(error), 100)}"
            raise InputError(f"llc: loss(parameters, batch) failed on the first batch: {text}.") from error
        if not isinstance(value, Tensor) or value.shape != ():
            got = f"shape {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise InputError(f"llc: loss must return one number, the mean over the batch, got {got}.")
        if not bool(torch.isfinite(value)):
            raise InputError(f"llc: the loss of the first batch is {float(value.detach())} at the parameters given.")
        if not value.requires_grad:
            raise InputError("llc: the loss does not depend on the parameters it is given. Use torch.func.functional_call.")
        if self.value(self.minimum, batch) != float(value.detach()):
            raise InputError("llc: the loss differs between two calls with the same parameters and batch. Switch dropout off.")
