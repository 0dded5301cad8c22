"""Training batches: what is hidden, where the loss reads, and the targets; each a pure function of (recipe, seed, step)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from mechbp.models.config import RunConfig
from mechbp.models.training_set import training_sequences
from mechbp.randomness import rng


@dataclass(frozen=True, eq=False)
class Batch:
    """Inputs and targets of one step."""

    inputs: Int[Tensor, "batch position"]
    reads: Bool[Tensor, "batch position"]
    """Where the loss reads the logits."""
    targets: Int[Tensor, " read"] | Float[Tensor, "read q"]
    """Symbols, or exact posteriors, in the order of `reads`."""


def training_batch(config: RunConfig, process: Any, step: int, device: torch.device | str = "cpu") -> Batch:
    """Return the batch of `step` on the device; what is drawn is the same on all."""
    training = config.training
    generator = rng(training.seed, "batch", step)
    if training.training_set:
        sample = training_sequences(config.task, process, training.seed, training.training_set, step, training.batch_size)
    else:
        sample = config.task.draw(process, training.batch_size, generator)
    lesson = config.task.lesson(process, config.objective, sample, generator)
    inputs, reads = (torch.from_numpy(array.copy()).to(device) for array in (lesson.inputs, lesson.reads))
    return Batch(inputs, reads, _target_tensor(lesson.targets).to(device))


def training_loss(
    read: Float[Tensor, "read q"], batch: Batch, loss: Literal["cross-entropy", "squared"] = "cross-entropy"
) -> Float[Tensor, ""]:
    """Return the mean over the read positions of the cross-entropy, nats, or of the squared distance to the answer.

    Against symbols or against distributions; the squared distance is summed over symbols.
    """
    if loss == "cross-entropy":
        return F.cross_entropy(read, batch.targets)
    targets = batch.targets if batch.targets.is_floating_point() else F.one_hot(batch.targets, read.shape[-1]).to(read.dtype)
    return (read - targets).square().sum(dim=-1).mean()


def _target_tensor(targets: Int[np.ndarray, " read"] | Float64[np.ndarray, "read q"]) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(targets))
    return tensor.float() if tensor.is_floating_point() else tensor
