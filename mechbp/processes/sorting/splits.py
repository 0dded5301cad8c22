"""Which lists are for training, which for choosing and which for judging: decided by a hash of the values in a list.

A list's answer depends on its values alone, and so does what an attention model without positions would make of it. A list that
training has shown in another order is therefore no new question: the split is that of the sorted list, and all orders share it.
No register of lists is kept. Every run, page and seed agrees on the split, however many lists it draws.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Int

from mechbp.arguments import checked_choice

Split = Literal["train", "validation", "test"]

EIGHTHS = {"train": 6, "validation": 1, "test": 1}
"""How much of the lists each split has, in expectation."""
KEY = 1
"""What the hash starts from; another key is another split."""


def checked_split(split: object, where: str) -> Split | None:
    """Return the split, None for all lists, or raise InputError in the name of `where`."""
    return None if split is None else checked_choice(split, where, "split", get_args(Split), "None or one of")  # type: ignore[return-value]


def in_split(values: Int[np.ndarray, "n length"], split: Split) -> Bool[np.ndarray, " n"]:
    """Return whether each list, in whatever order, is one of the split."""
    eighth = (_hash(np.sort(values, axis=1)) >> np.uint64(61)).astype(np.int64)
    first = sum(EIGHTHS[name] for name in get_args(Split)[: get_args(Split).index(split)])
    return (eighth >= first) & (eighth < first + EIGHTHS[split])


def _hash(values: Int[np.ndarray, "n length"]) -> np.ndarray:
    """64 bits per list: every value is added to the state, which a bijection of 64-bit integers then stirs.

    (Source of the bijection: Steele, Lea and Flood 2014, the output function of SplitMix64.)
    """
    state = np.full(len(values), KEY, np.uint64)
    for column in values.T.astype(np.uint64):
        state = state + (column + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)  # wraps around, as it should
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    return state
