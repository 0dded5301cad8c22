"""Ranks, neighbours and readers who know less than everything, against summation over all lists of a design."""

from collections import defaultdict
from fractions import Fraction

import numpy as np
import pytest
from brute_sorting import all_lists

from mechbp.errors import InputError
from mechbp.processes.sorting.order_statistics import order_statistics
from mechbp.processes.sorting.rungs import Rung
from mechbp.processes.sorting.sorted_lists import SortedLists
from mechbp.randomness import rng

DESIGNS = [
    {"vocab_size": 7, "length": 3},
    {"vocab_size": 5, "length": 5},
    {"vocab_size": 7, "length": 3, "window": 5},
    {"vocab_size": 9, "length": 3, "gap": 3},
    {"vocab_size": 9, "length": 3, "window": 7, "gap": 2},
    {"vocab_size": 4, "length": 4, "repeats": True},
    {"vocab_size": 6, "length": 3, "window": 4, "repeats": True},
    {"vocab_size": 3, "length": 1},
]


@pytest.mark.parametrize("design", DESIGNS, ids=str)
def test_ranks_and_neighbours_equal_enumeration(design):
    lists = SortedLists(**design)
    values = np.zeros((lists.length, lists.vocab_size))
    neighbours = np.zeros((lists.length - 1, lists.vocab_size, lists.vocab_size))
    for drawn, probability in all_lists(**design).items():
        ascending = sorted(drawn)
        for j, value in enumerate(ascending):
            values[j, value] += float(probability)
        for j in range(lists.length - 1):
            neighbours[j, ascending[j], ascending[j + 1]] += float(probability)
    found = order_statistics(lists)
    np.testing.assert_allclose(found.values, values, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.neighbours, neighbours, rtol=0, atol=1e-12)


@pytest.mark.parametrize("design", DESIGNS[:-1], ids=str)
@pytest.mark.parametrize("knows", ["uniform", "position", "token", "token and position", "list", "larger", "sorted"])
def test_rungs_answer_with_the_exact_distribution_given_what_they_know(design, knows):
    if design.get("repeats") and knows in ("list", "larger"):
        return
    lists = SortedLists(**design)
    table = all_lists(**design)
    counts = defaultdict(lambda: defaultdict(Fraction))

    def known(drawn, j):
        current = lists.separator if j == 0 else sorted(drawn)[j - 1]
        larger = tuple(value for value in sorted(drawn) if j == 0 or value > current)
        return {
            "uniform": (),
            "position": (j,),
            "token": (current,),
            "token and position": (j, current),
            "list": tuple(sorted(drawn)),
            "larger": larger,
            "sorted": (j, *sorted(drawn)),
        }[knows]

    def named(drawn, j):
        """What the next token is drawn from, given what is known: readers of a list do not know its order."""
        if knows == "uniform":
            return range(lists.vocab_size)
        return known(drawn, j) if knows in ("list", "larger") else [sorted(drawn)[j]]

    for drawn, probability in table.items():
        for j in range(lists.length):
            for value in named(drawn, j):
                counts[known(drawn, j)][value] += probability
    some = sorted(table)[:: max(len(table) // 60, 1)]
    found = Rung(lists, knows).predictive(np.array([[*drawn, lists.separator, *sorted(drawn)] for drawn in some]))
    for i, drawn in enumerate(some):
        for j in range(lists.length):
            expected = np.zeros(lists.vocab_size + 1)
            total = sum(counts[known(drawn, j)].values())
            for value, weight in counts[known(drawn, j)].items():
                expected[value] = float(weight / total)
            np.testing.assert_allclose(found[i, j], expected, rtol=0, atol=1e-12)


def test_large_designs_are_normalised():
    for lists in (SortedLists(201, 20), SortedLists(201, 20, window=101, gap=3), SortedLists(101, 20, repeats=True)):
        found = order_statistics(lists)
        np.testing.assert_allclose(found.values.sum(axis=1), 1, rtol=0, atol=1e-12)
        np.testing.assert_allclose(found.neighbours.sum(axis=2), found.values[:-1], rtol=0, atol=1e-12)
        np.testing.assert_allclose(found.neighbours.sum(axis=1), found.values[1:], rtol=0, atol=1e-12)
        assert found.neighbours.min() >= 0


def test_rungs_that_do_not_exist():
    with pytest.raises(InputError, match="knows must be one of 'uniform', .*, got 'nothing'"):
        Rung(SortedLists(), "nothing")
    with pytest.raises(InputError, match="with repeats the next value need not be larger"):
        Rung(SortedLists(repeats=True), "larger")


def test_a_rung_refuses_what_is_no_list():
    tokens = SortedLists(6, 3).sample(2, rng(0)).tokens
    tokens[1, -1] = 0
    for knows in ("uniform", "token", "larger"):
        with pytest.raises(ValueError, match="example 1 has probability 0"):
            Rung(SortedLists(6, 3), knows).predictive(tokens)
