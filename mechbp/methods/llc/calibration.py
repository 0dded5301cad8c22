"""Step size and burn-in from the curvature at the minimum.

Where the loss has curvature h, the target has precision A = n beta h + gamma, and SGLD of step eps multiplies a deviation by
1 - eps A / 2 each step. So it diverges unless eps A < 4; its stationary variance is 1 / (A (1 - eps A / 4)), too large by 2.6 % at
eps A = 0.1; and it forgets its start in 2 / (eps A) steps, which is 2 / (eps gamma) where the loss is flat.
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
ITERATIONS, TOLERANCE = 40, 1e-3


@dataclass(frozen=True)
class Calibration:
    """What the largest curvature at w* says of the step size and the burn-in."""

    curvature: float
    """Largest eigenvalue of the Hessian of the mean loss, h_max; a lower bound where the power iteration has not settled."""
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
    """Measure the largest curvature of the mean loss over all `batches`, by power iteration with Hessian-vector products.

    One iteration costs about four forward passes of every batch; a few batches serve. Raises InputError as `llc` does.
    """
    checked_generator(rng, "calibrate")
    if not len(batches) or not n_beta > 0 or not localization >= 0:
        raise InputError(f"calibrate: need batches, n_beta > 0 and localization >= 0, got {n_beta} and {localization}.")
    objective = Objective.of(loss, parameters, batches[0], vectorise=False)
    return Calibration(top_curvature(objective, batches, rng), n_beta, localization)


def top_curvature(objective: Objective, batches: Sequence[Any], rng: np.random.Generator) -> float:
    """Return the largest eigenvalue of the Hessian at w* of the mean loss over `batches`.

    Power iteration finds the eigenvalue that is largest in size. Should it be negative, a second run, of the Hessian minus that
    eigenvalue, finds the largest. Raises InputError where the loss cannot be differentiated twice.
    """
    start = torch.from_numpy(rng.standard_normal(len(objective.minimum))).to(objective.minimum)
    extreme = _power_iteration(objective, batches, start, shift=0.0)
    return extreme if extreme >= 0 else extreme + _power_iteration(objective, batches, start, shift=extreme)


def _power_iteration(objective: Objective, batches: Sequence[Any], vector: Tensor, shift: float) -> float:
    found = 0.0
    for _ in range(ITERATIONS):
        vector = vector / vector.norm()
        try:
            products = [objective.hessian_product(vector, batch) for batch in batches]
        except RuntimeError as refusal:
            raise InputError(
                f"llc: the loss cannot be differentiated twice, {refusal!s:.80}.\n"
                f"Pass curvature=, the largest eigenvalue of its Hessian, or an upper bound."
            ) from None
        product = torch.stack(products).mean(dim=0) - shift * vector
        last, found = found, float(vector @ product)
        if not np.isfinite(found):
            raise InputError("llc: the Hessian at the parameters given is not finite. Pass curvature= to go on without it.")
        if float(product.norm()) == 0 or abs(found - last) <= TOLERANCE * abs(found):
            break
        vector = product
    return found
