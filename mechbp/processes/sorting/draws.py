"""Draw lists of values uniformly, vectorised: in random order, without repeats or with a least gap between neighbours."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int


def draw_distinct(n: int, length: int, n_values: int, rng: np.random.Generator) -> Int[np.ndarray, "n length"]:
    """Return n ordered lists of `length` distinct values out of 0..n_values-1, all equally probable.

    Entry i is first drawn as its place among the values that entries 0..i-1 leave, in ascending order (a Lehmer code, uniform
    over 0..n_values-i-1), so that every code is one list and no draw is rejected. Read from the back, the places of the entries
    behind i turn into values as each of them that is not below entry i moves up by one.
    """
    values = rng.integers(n_values - np.arange(length), size=(n, length))
    for i in reversed(range(length - 1)):
        behind = values[:, i + 1 :]
        behind += behind >= values[:, i, None]
    return values


def spread_apart(values: Int[np.ndarray, "n length"], step: int) -> Int[np.ndarray, "n length"]:
    """Return the lists with `step` added to every entry for each smaller entry of its list: all gaps grow by `step`.

    The map from distinct values to lists with gaps above `step` is one to one, so that uniform lists stay uniform.
    """
    return values + step * values.argsort(axis=1).argsort(axis=1)
