"""What a run was trained to make small, as a function of its parameters: for whoever asks how it changes around stored ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mechbp.models import forward
from mechbp.models.config import RunConfig
from mechbp.models.objectives import Batch, training_batch, training_loss
from mechbp.randomness import rng

LessonLoss = Callable[[dict[str, Tensor], Batch], Tensor]
"""Mean loss of named parameters over what one batch asks, a scalar."""


def lesson_batches(config: RunConfig, process: Any, count: int, batch_size: int, seed: int) -> list[Batch]:
    """Return `count` batches as training draws them, of new sequences: a fixed training set is not looked at.

    They are those of a training with another seed, so that no batch that the run has seen is among them.
    """
    other = int(rng(seed, "lesson batches").integers(2**63))
    training = replace(config.training, seed=other, batch_size=batch_size, training_set=0)
    recipe = replace(config, training=training)
    return [training_batch(recipe, process, index) for index in range(count)]


def lesson_loss(config: RunConfig, model: torch.nn.Module, l2: float = 0.0) -> tuple[LessonLoss, dict[str, Tensor]]:
    """Return the training loss as a function of (parameters, batch), and the parameters of `model`, float32, by name.

    `l2` times the sum of squared weights is added, as `training.l2` adds it; the decay of AdamW is no part of any loss.
    The function can be differentiated, once and twice, and vectorised over parameters; the model stays as it is.
    """
    reading = _Reading(model)

    def loss(parameters: dict[str, Tensor], batch: Batch) -> Tensor:
        read = torch.func.functional_call(reading, parameters, (batch,))
        value = training_loss(read, batch, config.objective.loss)
        if l2:
            value = value + l2 * torch.stack([weights.square().sum() for weights in parameters.values()]).sum()
        return value

    return loss, {name: parameter.detach() for name, parameter in reading.named_parameters()}


class _Reading(torch.nn.Module):
    """A model whose call returns what a batch reads: functional_call swaps the parameters of a module for one call of it."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> Tensor:
        return forward.read(self.model, batch.inputs, batch.reads)
