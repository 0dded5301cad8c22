"""What runs are scored by: a function of the logits that returns one number per example."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from mechbp.errors import InputError

Metric = Callable[[Float[Tensor, "n position q"]], Float[Tensor, " n"]]
"""One number per example from its logits."""


def score(metric: Metric, logits: Float[Tensor, "n position q"], where: str) -> Float64[np.ndarray, " n"]:
    """Return the metric of all examples; raise InputError, in the name of `where`, unless it is one finite number each."""
    values = metric(logits)
    if not isinstance(values, Tensor) or values.shape != logits.shape[:1]:
        got = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise InputError(f"{where}: metric must return one value per example, [{len(logits)}], got {got}. Do not average.")
    if not bool(torch.isfinite(values).all()):
        raise InputError(f"{where}: metric is not finite for example {int((~torch.isfinite(values)).nonzero()[0])}.")
    return values.detach().double().cpu().numpy()
