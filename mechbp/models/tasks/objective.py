"""The table [objective] of a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mechbp.errors import InputError


@dataclass(frozen=True)
class ObjectiveConfig:
    """What is asked during training, and what counts as the answer.

    task: a name among the tasks of the process's family, such as "masked" or "next-token". mask, where a task hides tokens:
    "single" hides exactly one uniform token; "rate" draws a rate per sequence from [low, high], hides tokens with it, and always
    at least one. targets: "tokens" are the sampled symbols; "posteriors" the exact ones, which have the same expected gradient
    and less noise. loss: cross-entropy of the model's distribution, or the squared distance of its output to the answer's one-hot
    vector or distribution, summed over symbols.
    """

    task: str
    mask: Literal["single", "rate"] = "single"
    mask_rate_low: float = 0.0
    mask_rate_high: float = 0.4
    targets: Literal["tokens", "posteriors"] = "tokens"
    loss: Literal["cross-entropy", "squared"] = "cross-entropy"

    def __post_init__(self) -> None:
        if not 0 <= self.mask_rate_low <= self.mask_rate_high <= 1:
            raise InputError(
                f"objective: mask rates must satisfy 0 <= low <= high <= 1, got {self.mask_rate_low} and {self.mask_rate_high}."
            )
