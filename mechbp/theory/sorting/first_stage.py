"""When a sorter has learned to sort: the end of the first stage of training, after which its heads may still part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int

from mechbp.errors import InputError

LOSS_FACTOR = 2.0
"""Times the least cross-entropy of the run."""
ACCURACY = 0.99


@dataclass(frozen=True)
class FirstStage:
    """The end of stage 1; None where no step meets a rule."""

    step: int | None
    """The first step that meets either rule."""
    by_loss: int | None
    """The first step with cross-entropy at most twice the least."""
    by_accuracy: int | None
    """The first step with accuracy of 0.99. Where confidence grows without end, the first rule alone is met at the end only."""


def first_stage(
    steps: Int[np.ndarray, " step"], cross_entropy: Float64[np.ndarray, " step"], accuracy: Float64[np.ndarray, " step"]
) -> FirstStage:
    """Return where stage 1 ends; steps that were not measured are NaN and meet no rule.

    Raises InputError unless all three are of one length and the steps ascend.
    """
    if not len(steps) == len(cross_entropy) == len(accuracy) or not (np.diff(steps) > 0).all():
        raise InputError(
            f"first_stage: need ascending steps and one cross-entropy and accuracy each, got {len(steps)}, {len(cross_entropy)} "
            f"and {len(accuracy)}."
        )
    measured = cross_entropy[~np.isnan(cross_entropy)]
    least = measured.min() if len(measured) else np.nan
    found = [_first(steps, cross_entropy <= LOSS_FACTOR * least), _first(steps, accuracy >= ACCURACY)]
    met = [step for step in found if step is not None]
    return FirstStage(min(met, default=None), *found)


def _first(steps: np.ndarray, met: np.ndarray) -> int | None:
    return int(steps[met][0]) if met.any() else None
