"""Order scores against loops over triples, and on scores whose order is known."""

import numpy as np
import pytest

from mechbp.errors import InputError
from mechbp.methods.circuits.order_scores import order_scores


def by_loops(qk, queries, keys):
    """Triples in order and all triples of both kinds, per query."""
    counts = np.zeros((4, len(queries)), int)
    for i, q in enumerate(queries):
        for a, first in enumerate(keys):
            for b, second in enumerate(keys):
                if q < first < second:
                    counts[0, i] += qk[i, a] > qk[i, b]
                    counts[1, i] += 1
                if second <= q < first:
                    counts[2, i] += qk[i, a] > qk[i, b]
                    counts[3, i] += 1
    return counts


@pytest.mark.parametrize("seed", range(6))
def test_counts_are_those_of_loops(seed):
    rng = np.random.default_rng(seed)
    n_queries, n_keys = rng.integers(2, 9, size=2)
    qk = np.round(rng.normal(size=(2, 3, n_queries, n_keys)), 1)  # with ties
    queries = rng.integers(-1, 8, size=n_queries)
    keys = rng.integers(0, 8, size=n_keys)  # unsorted, some equal
    found = order_scores(qk, queries, keys)
    for head in np.ndindex(2, 3):
        nearest, nearest_all, larger, larger_all = by_loops(qk[head], queries, keys)
        np.testing.assert_array_equal(found.nearest_in_order[head], nearest)
        np.testing.assert_array_equal(found.larger_in_order[head], larger)
        np.testing.assert_array_equal(found.nearest_triples, nearest_all)
        np.testing.assert_array_equal(found.larger_triples, larger_all)
        for share, some, everything in (
            (found.nearest_first[head], nearest, nearest_all),
            (found.larger_first[head], larger, larger_all),
        ):
            assert np.isnan(share) if not everything.sum() else share == pytest.approx(some.sum() / everything.sum(), abs=1e-15)


def test_values_count_up_from_0_by_default():
    qk = np.random.default_rng(0).normal(size=(5, 6))
    found = order_scores(qk)
    counts = by_loops(qk, range(5), range(6))
    np.testing.assert_array_equal(found.nearest_in_order, counts[0])
    np.testing.assert_array_equal(found.larger_in_order, counts[2])
    assert counts[1].sum() == found.nearest_triples.sum() == 10 + 6 + 3 + 1 and found.nearest_first.shape == ()


def test_scores_of_known_order():
    queries = np.r_[np.arange(7), -1]
    gap = np.arange(7.0) - queries[:, None]
    ideal = np.where(gap > 0, -gap, -8.0)
    heads = np.stack([ideal, np.abs(gap), -ideal, 0 * ideal])
    found = order_scores(heads, queries)
    np.testing.assert_array_equal(found.nearest_first, [1, 0, 0, 0])
    np.testing.assert_array_equal(found.larger_first[[0, 2, 3]], [1, 0, 0])
    assert found.nearest_triples[-1] == 21 and found.larger_triples[-1] == 0, "below all values there is nothing behind"
    noise = order_scores(np.random.default_rng(1).normal(size=(400, 8, 7)), queries)
    assert abs(noise.nearest_first.mean() - 0.5) < 0.02 and abs(noise.larger_first.mean() - 0.5) < 0.02


@pytest.mark.parametrize("heads", [1, 4, 5, 9])
def test_four_heads_are_told_and_the_others_counted(heads):
    lines = order_scores(np.random.default_rng(0).normal(size=(heads, 5, 6))).summary().split("\n")
    assert sum("nearest first" in line for line in lines) == min(heads, 4)
    assert [line for line in lines if line.startswith("and")] == ([f"and {heads - 4} more"] if heads > 4 else [])
    assert lines[-1].startswith("n = ")


def test_no_triples_and_bad_arguments():
    none = order_scores(np.zeros((1, 1)))
    assert np.isnan(none.nearest_first) and np.isnan(none.larger_first)
    with pytest.raises(InputError, match=r"qk must be finite scores \[..., query, key\], got \[3\]"):
        order_scores(np.zeros(3))
    with pytest.raises(InputError, match="qk must be finite"):
        order_scores(np.full((2, 2), np.nan))
    with pytest.raises(InputError, match=r"query_values must be 2 integers, got \[3\] of int64"):
        order_scores(np.zeros((2, 4)), np.arange(3))
    with pytest.raises(InputError, match=r"key_values must be 4 integers, got \[4\] of float64"):
        order_scores(np.zeros((2, 4)), None, np.zeros(4))
