"""A fixed training set: sequences drawn once, seen again in a new order every epoch."""

from __future__ import annotations

from dataclasses import fields
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Int

from mechbp.models.tasks.task import Task
from mechbp.randomness import rng


def training_sequences(task: Task, process: Any, seed: int, size: int, step: int, batch_size: int) -> Any:
    """Return the sequences of the batch of `step` from the set of `size` that `seed` names, as `task.draw` returns them.

    Batches follow one another through the epochs, so a batch may hold the end of one epoch and the start of the next.
    """
    epochs, places = np.divmod(np.arange(step * batch_size, (step + 1) * batch_size), size)
    rows = np.concatenate([_order(seed, size, int(epoch))[places[epochs == epoch]] for epoch in np.unique(epochs)])
    return _rows(training_set(task, process, seed, size), rows)


@lru_cache(maxsize=1)
def training_set(task: Task, process: Any, seed: int, size: int) -> Any:
    """Return the whole set."""
    return task.draw(process, size, rng(seed, "training set"))


@lru_cache(maxsize=2)
def _order(seed: int, size: int, epoch: int) -> Int[np.ndarray, " size"]:
    return rng(seed, "epoch", epoch).permutation(size)


def _rows(sample: Any, rows: Int[np.ndarray, " n"]) -> Any:
    """The same kind of sample with these rows of every array, those in a dict included."""

    def cut(value: Any) -> Any:
        return {key: part[rows] for key, part in value.items()} if isinstance(value, dict) else value[rows]

    return type(sample)(**{field.name: cut(getattr(sample, field.name)) for field in fields(sample)})
