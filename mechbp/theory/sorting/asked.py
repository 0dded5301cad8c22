"""What a model that sorts is asked, position by position: the token it stands on, the list, and the value that follows.

Every sequence is asked n times, after the separator and after b_1 .. b_{n-1}. Position n + j of a sequence asks for b_{j+1}; j is
how many values have been named and runs along the axis called `asked` everywhere in this folder.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Integer

from mechbp.brief import Brief
from mechbp.processes.sorting.sorted_lists import SortedLists

BEFORE_ALL = -1
"""Stands for SEP where values are compared: every value is above it."""


@dataclass(frozen=True, eq=False, repr=False)
class AskedLists(Brief):
    """Row i of every field is one sequence."""

    values: Int[np.ndarray, "n length"]
    """The list in its own order: what stands at positions 0..n-1."""
    current: Int[np.ndarray, "n asked"]
    """The token asked at: the value named last, BEFORE_ALL at SEP."""
    answer: Int[np.ndarray, "n asked"]
    """The value that follows: without repeats, the smallest of the list above the current one."""

    @property
    def length(self) -> int:
        """Values per list."""
        return self.values.shape[1]

    @property
    def place_of_rank(self) -> Int[np.ndarray, "n length"]:
        """Return at which position of the list the value of each rank stands, the least first; equal values by position."""
        return self.values.argsort(axis=1, kind="stable")


def asked_lists(process: SortedLists, tokens: Integer[np.ndarray, "n _positions"]) -> AskedLists:
    """Return what sequences a_1..a_n, SEP, b_1..b_n ask.

    Raises InputError for tokens that are none, ImpossibleEvidence where a sequence is none of the process.
    """
    process.log_evidence(tokens)
    sequences = np.asarray(tokens).astype(np.int64)
    length = process.length
    current = sequences[:, length:-1].copy()
    current[:, 0] = BEFORE_ALL
    return AskedLists(sequences[:, :length], current, sequences[:, length + 1 :])
