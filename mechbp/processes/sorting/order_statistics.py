"""Exact distributions of the sorted list alone: which value has which rank, and which values follow one another.

Without repeats, in a window of W values with least gap g, b_i = o + s_i + (i - 1)(g - 1), where s is a uniform n-subset of
W' = W - (n - 1)(g - 1) values in ascending order and o the offset:

    P(s_j = k) = C(k, j - 1) C(W' - 1 - k, n - j) / C(W', n)
    P(s_j = q, s_{j+1} = k) = C(q, j - 1) C(W' - 1 - k, n - j - 1) / C(W', n)    for q < k

With repeats, for q < k, exactly j entries are at most q and one of them is q, and one of the others is k, the least of them:

    P(b_j = q, b_{j+1} = k) = C(n, j) [(q + 1)^j - q^j] [(W - k)^(n - j) - (W - k - 1)^(n - j)] / W^n

and what is left of P(b_j = q) is P(b_j = q = b_{j+1}). Counts are exact integers, and divided once.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np
from jaxtyping import Float64

from mechbp.brief import Brief
from mechbp.processes.sorting.sorted_lists import SortedLists


@dataclass(frozen=True, eq=False, repr=False)
class OrderStatistics(Brief):
    """What is known of a sorted list before it is seen."""

    values: Float64[np.ndarray, "rank value"]
    """P(b_j = k); rows sum to 1. Rank 0 is the least."""
    neighbours: Float64[np.ndarray, "_rank value value"]
    """P(b_j = q, b_{j+1} = k), ranks 0..n-2."""


def order_statistics(lists: SortedLists) -> OrderStatistics:
    """Return the exact distributions of single ranks and of neighbouring ones."""
    if lists.repeats:
        window_values, window_neighbours = _with_repeats(lists.width, lists.length)
    else:
        window_values, window_neighbours = _distinct(lists.width, lists.length, lists.gap)
    values = np.zeros((lists.length, lists.vocab_size))
    neighbours = np.zeros((lists.length - 1, lists.vocab_size, lists.vocab_size))
    for offset in range(lists.n_offsets):
        window = slice(offset, offset + lists.width)
        values[:, window] += window_values / lists.n_offsets
        neighbours[:, window, window] += window_neighbours / lists.n_offsets
    return OrderStatistics(values, neighbours)


def _distinct(width: int, length: int, gap: int) -> tuple[np.ndarray, np.ndarray]:
    """Both distributions inside one window, without repeats."""
    free = width - (length - 1) * (gap - 1)
    n_sets = comb(free, length)
    values = np.zeros((length, width))
    neighbours = np.zeros((length - 1, width, width))
    for j in range(length):
        shift = j * (gap - 1)
        below = [comb(k, j) for k in range(free)]
        above = [comb(free - 1 - k, length - 1 - j) for k in range(free)]
        values[j, shift : shift + free] = [one * other / n_sets for one, other in zip(below, above, strict=True)]
        if j + 1 == length:
            break
        beyond = [comb(free - 1 - k, length - 2 - j) for k in range(free)]
        for q in range(free):
            row = neighbours[j, shift + q, shift + gap - 1 :]
            row[q + 1 : free] = [below[q] * beyond[k] / n_sets for k in range(q + 1, free)]
    return values, neighbours


def _with_repeats(width: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Both distributions inside one window, with repeats."""
    n_lists = width**length
    values = np.zeros((length, width))
    neighbours = np.zeros((length - 1, width, width))
    for j in range(length):
        # b_j <= k where more than j of the entries are, ranks counted from 0
        at_most = [
            sum(comb(length, m) * (k + 1) ** m * (width - 1 - k) ** (length - m) for m in range(j + 1, length + 1))
            for k in range(width)
        ]
        exactly = [now - before for now, before in zip(at_most, [0, *at_most], strict=False)]
        values[j] = [count / n_lists for count in exactly]
        if j + 1 == length:
            break
        least = [(q + 1) ** (j + 1) - q ** (j + 1) for q in range(width)]
        rest = [(width - k) ** (length - j - 1) - (width - k - 1) ** (length - j - 1) for k in range(width)]
        for q in range(width):
            apart = [comb(length, j + 1) * least[q] * rest[k] for k in range(q + 1, width)]
            neighbours[j, q, q + 1 :] = [count / n_lists for count in apart]
            neighbours[j, q, q] = (exactly[q] - sum(apart)) / n_lists
    return values, neighbours
