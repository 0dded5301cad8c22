"""The joint of lists and their sorted twins, stated once, list by list; shares no code with the sampler and the evidence.

P(a_1..a_n) = (1 / number of windows) sum over windows  1[a is a list of the window] / number of lists of a window
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from mechbp.errors import LimitExceeded
from mechbp.processes.process import Joint, Query

LISTED_NUMBERS = 2**21
"""A small process has at most this many pairs of a list and an answer token, where a length above 1 allows."""
MAX_LISTS = 2**22
"""Longer joints are refused before they are listed."""


def small_length(vocab_size: int, longest: int) -> int:
    """Return the greatest length, `longest` at most, whose answers hold at most LISTED_NUMBERS probabilities; 1 at least."""
    length = 1
    while length < longest and vocab_size ** (length + 1) * (length + 1) * (vocab_size + 1) <= LISTED_NUMBERS:
        length += 1
    return length


def sorting_joint(vocab_size: int, length: int, *, n_offsets: int, width: int, gap: int, repeats: bool) -> Joint:
    """List every sequence of the design: each token after SEP given all tokens before it."""
    n_lists = n_offsets * width**length
    if n_lists > MAX_LISTS:
        raise LimitExceeded(
            f"SortedLists.joint: {n_offsets} windows of {width} values have {float(n_lists):.1e} lists of {length}; at most "
            f"{MAX_LISTS:,} are listed.\nUse small().joint(), or SortedLists with a smaller length."
        )
    probability: dict[tuple[int, ...], float] = {}
    for offset in range(n_offsets):
        window = range(offset, offset + width)
        lists = [values for values in product(window, repeat=length) if repeats or _is_apart(values, gap)]
        for values in lists:
            probability[values] = probability.get(values, 0.0) + 1 / len(lists) / n_offsets
    tokens = np.array([[*values, vocab_size, *sorted(values)] for values in probability], np.int64)
    n_tokens = tokens.shape[1]
    before = np.arange(n_tokens) < np.arange(length + 1, n_tokens)[:, None]
    queries = {"predictive": Query(_predictive, tokens[:, length + 1 :], before)}
    return Joint(tokens, np.array(list(probability.values())), queries, lambda process, tokens: process.log_evidence(tokens))


def _is_apart(values: tuple[int, ...], gap: int) -> bool:
    return all(abs(one - other) >= gap for i, one in enumerate(values) for other in values[:i])


def _predictive(process: Any, tokens: np.ndarray) -> np.ndarray:
    return process.predictive(tokens)
