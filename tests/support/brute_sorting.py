"""Sorted lists the slow way: every list of a design, its probability, and expectations by summation."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import product


def all_lists(vocab_size, length, window=0, gap=1, repeats=False):
    """{list in drawn order: probability}, as exact fractions."""
    width = window or vocab_size
    offsets = range(vocab_size - width + 1)
    found = Counter()
    for offset in offsets:
        lists = [
            values
            for values in product(range(offset, offset + width), repeat=length)
            if repeats or all(b - a >= gap for a, b in zip(sorted(values), sorted(values)[1:], strict=False))
        ]
        for values in lists:
            found[values] += Fraction(1, len(lists) * len(offsets))
    return dict(found)


def expectation(lists, function):
    """Sum of probability times function(list)."""
    return float(sum(probability * Fraction(function(values)) for values, probability in lists.items()))
