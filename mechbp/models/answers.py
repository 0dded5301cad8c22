"""What a model answers to every query of a task."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float64, Int

from mechbp.models import forward
from mechbp.models.tasks.task import Questions, Task


def ask(task: Task, process: Any, n: int, rng: np.random.Generator) -> Questions:
    """Draw n sequences and what the task asks about them."""
    return task.questions(process, task.draw(process, n, rng))


def model_answers(
    model: Any, task: Task, process: Any, tokens: Int[np.ndarray, "n length"], batch_size: int = forward.BATCH
) -> Float64[np.ndarray, "n query q"]:
    """Return the model's probabilities for every query about `tokens`, softmax taken in float64."""
    prompts = task.prompts(process, tokens)
    if prompts.read.shape[1] == 1:
        found = forward.answers(model, prompts.inputs, prompts.read[:, 0], batch_size)
    else:
        found = np.take_along_axis(forward.answers(model, prompts.inputs, batch_size=batch_size), prompts.read[..., None], axis=1)
    return found.reshape(len(tokens), -1, found.shape[-1])
