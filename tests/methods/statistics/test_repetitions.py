"""Student's intervals of few repetitions: worked by hand, by SciPy, and by how often they cover."""

import numpy as np
import pytest
from scipy import stats

from mechbp.errors import InputError
from mechbp.methods.statistics.repetitions import (
    crossed_difference,
    crossed_mean,
    independent_difference,
    paired_difference,
    paired_ratio,
)
from mechbp.randomness import rng


def test_a_paired_difference_is_that_of_a_paired_t_test():
    one, other = rng(0).normal(3, 1, 5), rng(1).normal(2, 1, 5)
    expected = stats.ttest_rel(one, other).confidence_interval(0.95)
    found = paired_difference(one, other)
    assert float(found.mean) == pytest.approx((one - other).mean())
    assert (float(found.low), float(found.high)) == pytest.approx((expected.low, expected.high))


def test_an_independent_difference_is_that_of_welch():
    one, other = rng(0).normal(3, 1, 4), rng(1).normal(2, 5, 7)
    expected = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
    found = independent_difference(one, other)
    assert (float(found.low), float(found.high)) == pytest.approx((expected.low, expected.high))


def test_noise_that_both_share_leaves_the_ratio_alone():
    shared = np.array([1.0, 1.3, 0.8, 1.1])
    found = paired_ratio(3 * shared, 4 * shared)
    assert [float(end) for end in (found.mean, found.low, found.high)] == pytest.approx([0.75] * 3)


def test_a_ratio_by_hand():
    """Two repetitions: R = 3 / 4, residuals 2 - .75 * 5 = -1.75 and 4 - .75 * 3 = 1.75, of standard error 1.75 over 4."""
    found = paired_ratio(np.array([2.0, 4.0]), np.array([5.0, 3.0]))
    half = stats.t.ppf(0.975, 1) * 1.75 / 4
    assert [float(end) for end in (found.mean, found.low, found.high)] == pytest.approx([0.75, 0.75 - half, 0.75 + half])


def test_ratios_cover():
    draw, hits = rng(2), 0
    for _ in range(2000):
        below = draw.normal(10, 0.5, 4)
        found = paired_ratio(0.8 * below + draw.normal(0, 0.3, 4), below)
        hits += float(found.low) <= 0.8 <= float(found.high)
    assert 0.93 < hits / 2000 < 0.97


def test_refusals():
    ones = np.ones(3)
    for function, arguments in (
        (paired_difference, (ones, np.ones(2))),
        (paired_ratio, (ones, np.zeros(3))),
        (paired_ratio, (np.ones(1), np.ones(1))),
        (independent_difference, (ones, np.ones(1))),
    ):
        with pytest.raises(InputError, match=function.__name__):
            function(*arguments)


def test_two_constants_have_no_width():
    found = independent_difference(np.full(3, 2.0), np.full(4, 5.0))
    assert (float(found.mean), float(found.low), float(found.high)) == (-3, -3, -3)


def test_a_crossed_mean_covers_seeds_and_examples():
    """Seeds share their examples: without the error over examples the interval would cover far too rarely."""
    draw = rng(3)
    covered = 0
    narrow = 0
    for _ in range(400):
        values = draw.normal(size=(4, 1)) * 0.05 + draw.normal(size=30)
        found = crossed_mean(values)
        covered += bool(found.low < 0 < found.high)
        seeds = values.mean(axis=1)
        narrow += bool(abs(seeds.mean()) < stats.t.ppf(0.975, 3) * seeds.std(ddof=1) / 2)
    assert covered > 0.92 * 400 > 0.6 * 400 > narrow


def test_a_crossed_difference_adds_both_errors():
    one, other = rng(4).normal(1, 1, (3, 50)), rng(5).normal(0, 1, (4, 60))
    found = crossed_difference(one, other)
    seeds = independent_difference(one.mean(axis=1), other.mean(axis=1))
    assert float(found.mean) == pytest.approx(float(seeds.mean))
    examples = [1.96 * values.mean(axis=0).std(ddof=1) / np.sqrt(values.shape[1]) for values in (one, other)]
    expected = np.sqrt(float(seeds.high - seeds.mean) ** 2 + examples[0] ** 2 + examples[1] ** 2)
    assert float(found.high - found.mean) == pytest.approx(expected, rel=1e-4)
    assert np.isnan(crossed_mean(one[:1]).low)
    with pytest.raises(InputError, match="example >= 2"):
        crossed_mean(one[:, :1])
