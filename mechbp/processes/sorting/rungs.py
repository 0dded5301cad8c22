"""Readers of a list that know less than all of it: the rungs between guessing and sorting.

uniform             any value
position            how many values have been named
token               the current token: SEP, or the value named last
token and position  both
list                the values of the list, but not which have been named
larger              the values of the list that are above the current token, but not their order
sorted              everything
Each answers with the exact distribution of the next token given what it knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float64, Int, Integer

from mechbp.errors import InputError
from mechbp.processes.read_only import read_only
from mechbp.processes.sorting.order_statistics import order_statistics
from mechbp.processes.sorting.sorted_lists import SortedLists

Knowledge = Literal["uniform", "position", "token", "token and position", "list", "larger", "sorted"]


@dataclass(frozen=True)
class Rung:
    """A reader of SortedLists that knows only what its name says."""

    lists: SortedLists
    knows: Knowledge

    def __post_init__(self) -> None:
        if self.knows not in get_args(Knowledge):
            raise InputError(f"Rung: knows must be one of {', '.join(map(repr, get_args(Knowledge)))}, got {self.knows!r:.60}.")
        if self.knows == "larger" and self.lists.repeats:
            raise InputError("Rung: with repeats the next value need not be larger than the current one. Use 'list' or 'sorted'.")

    @property
    def vocab_size(self) -> int:
        """Number of values V."""
        return self.lists.vocab_size

    @cached_property
    def table(self) -> Float64[np.ndarray, "position token _next"]:
        """P(next token | position, current token) as this rung sees it, where the list does not matter."""
        joint = current_and_next(self.lists)
        if self.knows == "uniform":
            joint[:] = np.append(np.full(self.vocab_size, 1 / self.vocab_size), 0.0)
        elif self.knows == "position":
            joint[:] = joint.sum(axis=1, keepdims=True)
        elif self.knows == "token":
            joint[:] = joint.sum(axis=0, keepdims=True)
        total = joint.sum(axis=-1, keepdims=True)
        return read_only(np.divide(joint, total, out=np.zeros_like(joint), where=total > 0))

    def predictive(self, tokens: Integer[np.ndarray, "n _positions"]) -> Float64[np.ndarray, "n length _token"]:
        """Return P(next token | what the rung knows) after SEP, b_1, .. b_{n-1}. Raises as `SortedLists.predictive` does."""
        exact = self.lists.predictive(tokens)
        if self.knows == "sorted":
            return exact
        if self.knows in ("list", "larger"):
            return _shares(exact, only_larger=self.knows == "larger")
        return self.table[np.arange(self.lists.length), self._current(tokens)]

    def _current(self, tokens: Integer[np.ndarray, "n _positions"]) -> Int[np.ndarray, "n length"]:
        return np.asarray(tokens)[:, self.lists.length : -1].astype(np.int64)


def current_and_next(lists: SortedLists) -> Float64[np.ndarray, "position token _next"]:
    """Return P(current token, next token) at every position that is asked: SEP and b_1, b_1 and b_2, .."""
    v = lists.vocab_size
    joint = np.zeros((lists.length, v + 1, v + 1))
    statistics = order_statistics(lists)
    joint[0, v, :v] = statistics.values[0]
    joint[1:, :v, :v] = statistics.neighbours
    return joint


def _shares(exact: Float64[np.ndarray, "n length token"], *, only_larger: bool) -> Float64[np.ndarray, "n length token"]:
    """Equal shares for the answers of all positions, or of this one and those behind it."""
    named = np.flip(np.flip(exact, axis=1).cumsum(axis=1), axis=1) if only_larger else exact.sum(axis=1, keepdims=True)
    return np.broadcast_to(named / named.sum(axis=-1, keepdims=True), exact.shape).copy()
