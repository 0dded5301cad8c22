"""Differences inside cells: least squares with a constant per cell, and intervals that cover."""

from itertools import combinations, product

import numpy as np
import pytest

from mechbp.errors import InputError
from mechbp.methods.statistics.cell_difference import cell_difference
from mechbp.randomness import rng

CELLS = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2])
MEMBER = np.array([1, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0, 0], bool)


def values_with(shift, seed, cells=CELLS, member=MEMBER):
    return np.array([5.0, -20, 100])[cells] + shift * member + rng(seed, "v").normal(size=len(cells))


def test_the_difference_is_that_of_least_squares():
    values = values_with(2.0, 0)
    found = cell_difference(values, MEMBER, CELLS, rng(0))
    design = np.column_stack([MEMBER, *(c == CELLS for c in range(3))]).astype(float)
    assert found.difference == pytest.approx(np.linalg.lstsq(design, values, rcond=None)[0][0], abs=1e-10)
    assert (found.cells, found.members, found.others) == (3, 6, 6)
    assert found.low < found.difference < found.high


def test_ends_are_where_the_test_of_a_shift_turns():
    values = values_with(1.0, 3)
    found = cell_difference(values, MEMBER, CELLS, rng(0))
    at = [np.flatnonzero(c == CELLS) for c in range(3)]
    deals = []
    for chosen in product(*(combinations(part, int(MEMBER[part].sum())) for part in at)):
        deal = np.zeros(len(CELLS), bool)
        deal[np.concatenate([np.array(c) for c in chosen])] = True
        deals.append(deal)

    def difference(v, m):
        weights = [m[p].sum() * (~m[p]).sum() / len(p) for p in at]
        return np.average([v[p][m[p]].mean() - v[p][~m[p]].mean() for p in at], weights=weights)

    def p_below(shift):
        rest = values - shift * MEMBER
        return np.mean([difference(rest, m) <= difference(rest, MEMBER) + 1e-12 for m in deals])

    assert len(deals) == 6 * 3 * 10
    # 2.5 % of 180 deals are 4.5 of them: ends lie safely inside a step, whatever deals are drawn.
    at_ends = [180 * p_below(end + step) for end in (found.high, found.low) for step in (-1e-6, 1e-6)]
    assert at_ends == pytest.approx([5, 4, 177, 176])  # the deal at hand counts on either side: 177 below leave 4 above


def test_intervals_cover():
    inside = 0
    for seed in range(150):
        found = cell_difference(values_with(1.5, seed), MEMBER, CELLS, rng(seed), draws=1000)
        inside += found.low <= 1.5 <= found.high
    assert 135 <= inside <= 149


def test_few_runs_bound_nothing_and_cells_of_one_kind_count_for_nothing():
    one_each = cell_difference(np.array([1.0, 3, 9]), np.array([True, False, False]), np.array([0, 0, 1]), rng(0))
    assert one_each.difference == -2 and one_each.low == -np.inf and one_each.high == np.inf
    assert one_each.p == 1 and (one_each.cells, one_each.others) == (1, 1)
    alone = np.append(values_with(2.0, 0), 1e6)
    found = cell_difference(alone, np.append(MEMBER, True), np.append(CELLS, 7), rng(0))
    assert found == cell_difference(alone[:-1], MEMBER, CELLS, rng(0))


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(InputError, match="none of 2 cells has members and others"):
        cell_difference(np.arange(4.0), np.array([1, 1, 0, 0], bool), np.array([0, 0, 1, 1]), rng(0))
    with pytest.raises(InputError, match="one finite value"):
        cell_difference(np.array([1.0, np.nan]), np.array([True, False]), np.array([0, 0]), rng(0))


@pytest.mark.parametrize(("draws", "bounded"), [(39, True), (38, False), (79, True)])
def test_the_least_number_of_deals_that_bounds_anything(draws, bounded):
    """1 of 40, the deal at hand among them, is 2.5 %: of 39 that were dealt the outermost are the ends, of 38 there are none."""
    cells, member = np.zeros(40, np.int64), np.arange(40) < 20
    found = cell_difference(values_with(1.0, 0, cells, member), member, cells, rng(0, "deals"), draws=draws)
    assert np.isfinite([found.low, found.high]).tolist() == [bounded] * 2
    assert found.low < found.difference < found.high and found.p == pytest.approx(1 / (1 + draws))
