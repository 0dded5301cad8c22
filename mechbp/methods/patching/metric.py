"""What runs are scored by: a function of the logits that returns one number per example."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from mechbp.arguments import told
from mechbp.errors import InputError, MechbpError

Metric = Callable[[Float[Tensor, "n position q"]], Float[Tensor, " n"]]
"""One number per example from its logits, such as those of `mechbp.metrics`."""
Direction = Literal["denoising", "noising"]
"""Whether clean activations go into the corrupted run, or corrupted ones into the clean run."""


def score(metric: Metric, logits: Float[Tensor, "n position q"], where: str) -> Float64[np.ndarray, " n"]:
    """Return the metric of all examples; raise InputError, in the name of `where`, unless it is one finite number each."""
    try:
        values = metric(logits)
    except MechbpError:
        raise
    except Exception as error:  # a user's own function
        text = f"{type(error).__name__}: {told(str(error), 100)}"
        raise InputError(
            f"{where}: metric failed on logits {list(logits.shape)}: {text}. It maps [n, position, q] to [n]."
        ) from error
    if not isinstance(values, Tensor) or values.shape != logits.shape[:1]:
        got = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise InputError(f"{where}: metric must return one value per example, [{len(logits)}], got {got}. Do not average.")
    if not bool(torch.isfinite(values).all()):
        raise InputError(f"{where}: metric is not finite for example {int((~torch.isfinite(values)).nonzero()[0])}.")
    return values.detach().double().cpu().numpy()


def positions_read(metric: Metric, logits: Float[Tensor, "n position q"]) -> Bool[Tensor, "n position"]:
    """Find, by spoiling one position at a time, which positions of each example its metric can depend on.

    A position counts as read if NaN or either of two other values there changes the metric, and all do if the metric fails on
    NaN. That holds for these logits only: whoever relies on it puts NaN where nothing is read, and looks for NaN in the result.
    A metric that has a method `reads(logits)`, as those of `mechbp.metrics` have, is asked instead.
    """
    declared = getattr(metric, "reads", None)
    if declared is not None:
        return declared(logits).cpu()
    read = torch.zeros(logits.shape[:2], dtype=torch.bool)
    try:
        base = metric(logits)
        for position in range(logits.shape[1]):
            for spoilt in (torch.nan, 37.5, -11.25):
                changed = logits.clone()
                changed[:, position] = torch.linspace(1, 2, logits.shape[2]).to(logits) * spoilt
                read[:, position] |= (metric(changed) != base).to(read.device)  # NaN differs from everything
    except (RuntimeError, ValueError, IndexError, ArithmeticError):
        return torch.ones_like(read)
    return read
