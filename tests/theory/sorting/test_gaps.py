"""Gap laws against the closed forms, against all lists of small designs, and against samples of the published ones."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from brute_sorting import all_lists, expectation

from mechbp.errors import InputError
from mechbp.processes.sorting.sorted_lists import SortedLists
from mechbp.randomness import rng
from mechbp.theory.sorting.gaps import gap_laws

PRINTED = {
    (51, 10): (4.727, 0.196), (51, 5): (8.667, 0.098), (51, 20): (2.476, 0.392), (64, 10): (5.909, 0.156),
    (64, 20): (3.095, 0.312), (101, 10): (9.27, 0.099), (201, 10): (18.36, 0.0498),
}  # fmt: skip
LISTED = [
    {"vocab_size": 12, "length": 3},
    {"vocab_size": 6, "length": 5},
    {"vocab_size": 10, "length": 3, "window": 6},
    {"vocab_size": 10, "length": 3, "gap": 4},
    {"vocab_size": 10, "length": 3, "window": 8, "gap": 2},
    {"vocab_size": 6, "length": 4, "repeats": True},
    {"vocab_size": 7, "length": 3, "window": 4, "repeats": True},
    {"vocab_size": 5, "length": 2},
]


@pytest.mark.parametrize("design", LISTED, ids=str)
def test_laws_equal_summation_over_all_lists(design):
    lists = all_lists(**design)
    found = gap_laws(SortedLists(**design))
    v, n = design["vocab_size"], design["length"]
    distances = range(v)
    gaps = [
        [expectation(lists, lambda a, i=i, d=d: sorted(a)[i + 1] - sorted(a)[i] == d) for d in distances] for i in range(n - 1)
    ]
    ranges = [expectation(lists, lambda a, r=r: max(a) - min(a) == r) for r in distances]
    mean_gap = expectation(lists, lambda a: Fraction(max(a) - min(a), n - 1))
    square = expectation(lists, lambda a: Fraction(max(a) - min(a), n - 1) ** 2)
    np.testing.assert_allclose(found.gaps, gaps, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.ranges, ranges, rtol=0, atol=1e-12)
    frequency = [expectation(lists, lambda a, k=k: a.count(k)) for k in range(v)]
    np.testing.assert_allclose(found.frequency, frequency, rtol=0, atol=1e-12)
    assert found.expected_gap == pytest.approx(mean_gap, abs=1e-12)
    assert found.spread_of_mean_gap == pytest.approx(np.sqrt(square - mean_gap**2), abs=1e-7)  # the difference cancels
    assert found.adjacent == pytest.approx(np.mean(gaps, axis=0)[1], abs=1e-12)


@pytest.mark.parametrize(("v", "n"), PRINTED)
def test_uniform_subsets_have_the_printed_gaps(v, n):
    found = gap_laws(SortedLists(v, n))
    expected, adjacent = PRINTED[v, n]
    assert found.expected_gap == pytest.approx(expected, abs=6e-3 if expected > 9 else 6e-4)
    assert found.adjacent == pytest.approx(adjacent, abs=6e-4)
    assert found.expected_gap == pytest.approx((v + 1) / (n + 1), abs=1e-12) and found.adjacent == pytest.approx(n / v, abs=1e-12)
    law = [comb(v - d, n - 1) / comb(v, n) if d else 0.0 for d in range(v)]
    np.testing.assert_allclose(found.gaps, np.tile(law, (n - 1, 1)), rtol=0, atol=1e-12)
    variance = n * (v + 1) * (v - n) / ((n + 1) ** 2 * (n + 2))  # of b_1 and of b_n
    covariance = (v + 1) * (v - n) / ((n + 1) ** 2 * (n + 2))
    assert found.spread_of_mean_gap == pytest.approx(np.sqrt(2 * (variance - covariance)) / (n - 1), abs=1e-10)
    np.testing.assert_allclose(found.frequency, np.full(v, n / v), rtol=0, atol=1e-12)


def test_published_spread():
    assert gap_laws(SortedLists(51, 10)).spread_of_mean_gap == pytest.approx(0.5712, abs=5e-5)


@pytest.mark.parametrize("window", [10, 21, 32, 43, 51])
def test_windows_bring_gaps_down(window):
    found = gap_laws(SortedLists(51, 10, window=window))
    assert found.expected_gap == pytest.approx((window + 1) / 11, abs=1e-12)
    law = [comb(window - d, 9) / comb(window, 10) if 1 <= d <= window else 0.0 for d in range(51)]
    np.testing.assert_allclose(found.gaps, np.tile(law, (9, 1)), rtol=0, atol=1e-12)
    windows = np.zeros(51)
    for offset in range(52 - window):
        windows[offset : offset + window] += 1
    np.testing.assert_allclose(found.frequency, 10 / window * windows / (52 - window), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("gap", "printed"), [(2, 4.909), (3, 5.091), (4, 5.273), (5, 5.455)])
def test_least_gaps_bring_gaps_up(gap, printed):
    found = gap_laws(SortedLists(51, 10, gap=gap))
    free = 51 - 9 * (gap - 1)
    assert found.expected_gap == pytest.approx(printed, abs=5e-4)
    assert found.expected_gap == pytest.approx((free + 1) / 11 + gap - 1, abs=1e-12) and found.expected_gap < 50 / 9
    assert (found.gaps[:, :gap] == 0).all() and (found.gaps[:, gap] > 0).all()


@pytest.mark.parametrize("design", [{}, {"window": 15}, {"gap": 4}, {"repeats": True}, {"window": 30, "gap": 2}], ids=str)
def test_samples_follow_the_laws(design):
    lists, n = SortedLists(**design), 40_000
    answers = lists.sample(n, rng(0, "gaps")).tokens[:, 11:]
    found = gap_laws(lists)
    gaps = np.diff(answers)
    for i in (0, 4, 8):
        counts = np.bincount(gaps[:, i], minlength=51)
        error = np.sqrt(found.gaps[i] * (1 - found.gaps[i]) * n)
        assert (np.abs(counts - n * found.gaps[i]) <= 5 * error + 3).all()  # 3 for gaps expected less than once
        assert (counts[found.gaps[i] == 0] == 0).all()
    mean_gaps = (answers[:, -1] - answers[:, 0]) / 9
    assert abs(mean_gaps.mean() - found.expected_gap) < 5 * found.spread_of_mean_gap / np.sqrt(n)
    assert mean_gaps.std() == pytest.approx(found.spread_of_mean_gap, rel=0.02)
    held = np.bincount(answers.ravel(), minlength=51) / n
    assert np.abs(held - found.frequency).max() < 6 * np.sqrt(10 / n)


def test_one_value_has_no_gaps():
    with pytest.raises(InputError, match="a list of one value has no gaps"):
        gap_laws(SortedLists(5, 1))
