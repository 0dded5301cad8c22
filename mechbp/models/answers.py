"""What a model answers to every query of a task."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int

from mechbp.models.architectures import HookedTransformer
from mechbp.models.tasks.task import Questions, Task


def ask(task: Task, process: Any, n: int, rng: np.random.Generator) -> Questions:
    """Draw n sequences and what the task asks about them."""
    return task.questions(process, task.draw(process, n, rng))


def model_answers(
    model: HookedTransformer, task: Task, process: Any, tokens: Int[np.ndarray, "n length"], batch_size: int = 128
) -> Float64[np.ndarray, "n query q"]:
    """Return the model's probabilities for every query about `tokens`, softmax taken in float64."""
    prompts = task.prompts(process, tokens)
    everywhere = _probabilities(model, prompts.inputs, batch_size)
    found = np.take_along_axis(everywhere, prompts.read[..., None], axis=1)
    return found.reshape(len(tokens), -1, found.shape[-1])


@torch.no_grad()
def _probabilities(model: HookedTransformer, inputs: np.ndarray, batch_size: int) -> Float64[np.ndarray, "n position q"]:
    chunks = torch.from_numpy(np.ascontiguousarray(inputs)).split(batch_size)
    return np.concatenate([model(chunk).double().softmax(dim=-1).cpu().numpy() for chunk in chunks])
