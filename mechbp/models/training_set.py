"""A fixed training set: sequences drawn once, seen again in a new order every epoch."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Int

from mechbp.processes.tree.filtered_tree import FilteredTree, TreeSample
from mechbp.randomness import rng


def training_sequences(process: FilteredTree, seed: int, size: int, step: int, batch_size: int) -> TreeSample:
    """Return the sequences of the batch of `step` from the set of `size` that `seed` names.

    Batches follow one another through the epochs, so a batch may hold the end of one epoch and the start of the next.
    """
    whole = training_set(process, seed, size)
    epochs, places = np.divmod(np.arange(step * batch_size, (step + 1) * batch_size), size)
    rows = np.concatenate([_order(seed, size, int(epoch))[places[epochs == epoch]] for epoch in np.unique(epochs)])
    return TreeSample(whole.tokens[rows], whole.root[rows], {depth: nodes[rows] for depth, nodes in whole.nodes.items()})


@lru_cache(maxsize=1)
def training_set(process: FilteredTree, seed: int, size: int) -> TreeSample:
    """Return the whole set."""
    return process.sample(size, rng(seed, "training set"))


@lru_cache(maxsize=2)
def _order(seed: int, size: int, epoch: int) -> Int[np.ndarray, " size"]:
    return rng(seed, "epoch", epoch).permutation(size)
