"""Step size and burn-in from the curvature at the minimum.

Where the loss has curvature h, the target has precision A = n beta h + gamma, and SGLD of step eps multiplies a deviation by
1 - eps A / 2 each step. So it diverges unless eps A < 4; its stationary variance is 1 / (A (1 - eps A / 4)), too large by 2.6 %
at eps A = 0.1; and it forgets its start in 2 / (eps A) steps, which is 2 / (eps gamma) where the loss is flat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mechbp.errors import InputError
from mechbp.methods.llc.objective import Loss, Objective
from mechbp.randomness import checked_generator

GOOD, UNSTABLE = 0.1, 4.0
"""eps A up to which the bias of the step is below 2.6 %, and from which on the chain diverges."""
EXACT_STEP = 1.0
"""eps A that samplers without that bias may take: a deviation halves each step."""
PRODUCTS, TOLERANCE, RESIDUAL = 30, 1e-3, 1e-6


@dataclass(frozen=True)
class Calibration:
    """What the largest curvature at w* says of the step size and the burn-in."""

    curvature: float
    """Largest eigenvalue of the Hessian of the mean loss, h_max, from below and to about one part in a hundred."""
    n_beta: float
    localization: float

    @property
    def precision(self) -> float:
        """Precision of the target in its stiffest direction, A = n beta h_max + gamma."""
        return self.n_beta * max(self.curvature, 0.0) + self.localization

    @property
    def step_size(self) -> float:
        """Step of SGLD whose bias stays below 2.6 %: eps A = 0.1."""
        return GOOD / self.precision

    @property
    def exact_step_size(self) -> float:
        """Step for "averaged noise", which has no such bias where the loss is quadratic: eps A = 1."""
        return EXACT_STEP / self.precision

    @property
    def unstable_step_size(self) -> float:
        """Step from which on SGLD diverges: eps A = 4."""
        return UNSTABLE / self.precision

    def burn_in(self, step_size: float) -> int:
        """Return the steps after which flat directions have forgotten w*, 2 / (eps gamma).

        Raises InputError where gamma is 0: flat directions then wander for ever.
        """
        if self.localization <= 0:
            raise InputError("Calibration.burn_in: localization is 0, so that no burn-in is long enough in flat directions.")
        return ceil(2 / (step_size * self.localization))

    def to_dict(self) -> dict[str, float]:
        """Return plain numbers for JSON."""
        return {**asdict(self), "precision": self.precision, "step_size": self.step_size}


def calibrate(
    loss: Loss,
    parameters: Mapping[str, Tensor],
    batches: Sequence[Any],
    *,
    n_beta: float,
    localization: float,
    rng: np.random.Generator,
) -> Calibration:
    """Measure the largest curvature of the mean loss over all `batches`, from at most thirty Hessian-vector products.

    One product costs about four forward passes of every batch; a few batches serve. Raises InputError as `llc` does.
    """
    checked_generator(rng, "calibrate")
    if not len(batches) or not n_beta > 0 or not localization >= 0:
        raise InputError(f"calibrate: need batches, n_beta > 0 and localization >= 0, got {n_beta} and {localization}.")
    objective = Objective.of(loss, parameters, batches[0], vectorise=False)
    return Calibration(top_curvature(objective, batches, rng), n_beta, localization)


def top_curvature(objective: Objective, batches: Sequence[Any], rng: np.random.Generator) -> float:
    """Return the largest eigenvalue of the Hessian at w* of the mean loss over `batches`, at least nearly.

    Each Hessian-vector product extends an orthonormal basis of the powers H^k v (Lanczos); the largest eigenvalue of H within
    its span never exceeds that of H, and needs fewer products than the power iteration, which stalls where the Hessian has
    a negative eigenvalue of about the same size. Raises InputError where the loss cannot be differentiated twice.
    """
    start = torch.from_numpy(rng.standard_normal(len(objective.minimum))).to(objective.minimum)
    basis = (start / start.norm())[None]
    diagonal: list[float] = []
    beside: list[float] = []
    found = 0.0
    for _ in range(min(PRODUCTS, len(start))):
        product = _hessian_product(objective, batches, basis[-1])
        diagonal.append(float(basis[-1] @ product))
        values = np.linalg.eigvalsh(np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1))
        last, found = found, float(values[-1])
        for _ in range(2):  # once leaves rounding errors that grow with every product
            product = product - basis.T @ (basis @ product)
        size, scale = float(product.norm()), float(np.abs(values).max())
        if size <= RESIDUAL * scale or (len(diagonal) > 2 and abs(found - last) <= TOLERANCE * scale):
            break
        beside.append(size)
        basis = torch.cat([basis, (product / size)[None]])
    return found


def _hessian_product(objective: Objective, batches: Sequence[Any], vector: Tensor) -> Tensor:
    try:
        product = torch.stack([objective.hessian_product(vector, batch) for batch in batches]).mean(dim=0)
    except RuntimeError as refusal:
        raise InputError(
            f"llc: the loss cannot be differentiated twice, {refusal!s:.80}.\n"
            f"Pass curvature=, the largest eigenvalue of its Hessian, or an upper bound."
        ) from None
    if not bool(torch.isfinite(product).all()):
        raise InputError("llc: the Hessian at the parameters given is not finite. Pass curvature= to go on without it.")
    return product
