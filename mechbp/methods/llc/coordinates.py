"""Parameters in units of their own size, so that what leaves a network's function alone leaves its estimate alone too.

The learning coefficient does not depend on the coordinates of the parameters. Its estimate does: the Gaussian about w* is round
in the coordinates given. A layer norm makes the function blind to the size of what it reads, and weight decay shrinks that;
curvature then grows as the inverse square of the size, and with it the estimate at a fixed localization, though nothing else
changed. Measured in units of each tensor's root mean square, a perturbation of a given length means the same at every size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mechbp.errors import InputError
from mechbp.methods.llc.objective import Loss

MATES = {"b": "w", "bias": "weight"}
"""Whose unit a vector of additions takes, by the last part of its name; "b_Q" takes that of "W_Q"."""


def tensor_units(parameters: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the unit of each tensor: its root mean square, for biases that of the tensor they belong to.

    Biases start at 0, which is no unit. A bias without a tensor of its own, and any tensor of zeros, counts in units of 1.
    Raises InputError for a tensor that is not finite.
    """
    sizes = {name: float(value.detach().double().square().mean().sqrt()) for name, value in parameters.items()}
    bad = [name for name, size in sizes.items() if not size < float("inf")]
    if bad:
        raise InputError(f"tensor_units: parameter {bad[0]!r} is not finite.")
    return {name: sizes.get(_owner(name), 0.0) or 1.0 for name in parameters}


def in_units(loss: Loss, parameters: Mapping[str, Tensor], units: Mapping[str, float]) -> tuple[Loss, dict[str, Tensor]]:
    """Return the loss and the parameters with every tensor counted in its unit: the same function at the same point.

    Pass both to `llc` or `calibrate`; localization then is the precision of relative perturbations, 100 for a tenth of each
    tensor's size. Raises InputError unless every tensor has a positive unit.
    """
    if set(units) != set(parameters) or not all(0 < unit < float("inf") for unit in units.values()):
        raise InputError(
            f"in_units: units must be one positive number for each of {', '.join(parameters):.120}, got {units!r:.120}."
        )
    fixed = dict(units)

    def scaled_loss(counted: dict[str, Tensor], batch: Any) -> Tensor:
        return loss({name: value * fixed[name] for name, value in counted.items()}, batch)

    return scaled_loss, {name: value.detach() / fixed[name] for name, value in parameters.items()}


def _owner(name: str) -> str:
    """Return the tensor whose size counts: that of a bias's matrix, else the tensor itself."""
    stem, dot, last = name.rpartition(".")
    if last in MATES:
        last = MATES[last]
    elif last.startswith("b_"):
        last = f"W_{last[2:]}"
    return f"{stem}{dot}{last}"
