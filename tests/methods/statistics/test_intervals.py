"""Bootstrap intervals: coverage, ratios, and what is undefined."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from mechbp.errors import InputError
from mechbp.methods.statistics.intervals import bootstrap_mean, bootstrap_ratio, seed_mean
from mechbp.randomness import rng


def coverage(interval, truth):
    return np.mean((interval.low <= truth) & (truth <= interval.high))


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_mean_intervals_cover(level):
    values = rng(0, "mean").exponential(2.0, size=(200, 4000))  # 4,000 independent experiments of 200 skewed examples
    interval = bootstrap_mean(values, rng(1, "boot"), level=level)
    assert abs(coverage(interval, 2.0) - level) < 0.02
    np.testing.assert_allclose(interval.mean, values.mean(axis=0), rtol=0, atol=1e-12)


def test_ratio_intervals_cover_where_the_denominator_is_uncertain():
    noise = rng(0, "ratio").normal(size=(3, 200, 3000))
    denominators = 1 + 2 * noise[0]
    numerators = 0.3 * denominators + noise[1]
    interval = bootstrap_ratio(numerators, denominators, rng(1, "boot"))
    assert abs(coverage(interval, 0.3) - 0.95) < 0.02
    fixed = bootstrap_mean(numerators / denominators.mean(axis=0), rng(1, "boot"))  # the fault: a divisor taken for exact
    assert abs(coverage(fixed, 0.3) - 0.95) > 0.005 and np.mean(fixed.high - fixed.low) > np.mean(interval.high - interval.low)


def test_one_denominator_serves_every_cell():
    draw = rng(0, "shapes")
    numerators, denominators = draw.normal(size=(50, 2, 3)), draw.normal(3, 1, size=50)
    one = bootstrap_ratio(numerators, denominators, rng(2))
    each = bootstrap_ratio(numerators, np.broadcast_to(denominators[:, None, None], (50, 2, 3)), rng(2))
    for name in ("mean", "low", "high"):
        np.testing.assert_allclose(getattr(one, name), getattr(each, name), rtol=0, atol=1e-12)
    assert one.mean.shape == (2, 3)


def test_intervals_hold_the_mean_and_are_reproducible():
    values = rng(0).normal(size=(40, 7))
    first, second = bootstrap_mean(values, rng(1)), bootstrap_mean(values, rng(1))
    assert (first.low <= first.mean).all() and (first.mean <= first.high).all()
    np.testing.assert_array_equal(first.low, second.low)


def test_constant_values_have_an_interval_of_width_zero():
    interval = bootstrap_mean(np.full(10, 3.0), rng(0))
    assert interval.to_dict() == {"mean": 3.0, "low": 3.0, "high": 3.0, "n": 10, "level": 0.95}


def test_several_means_are_summed_up_by_their_range():
    values = rng(0, "range").normal(size=(50, 2, 3))
    found = bootstrap_mean(values, rng(0))
    low, high = found.mean.min(), found.mean.max()
    assert found.summary().startswith(f"6 means [2, 3]: {low:.3g} to {high:.3g}; ")
    holed = replace(found, mean=np.where(found.mean == low, np.nan, found.mean))
    assert f": {np.sort(found.mean.ravel())[1]:.3g} to {high:.3g}; " in holed.summary()
    assert replace(found, mean=np.full((2, 3), np.nan)).summary().startswith("6 means [2, 3]: undefined; ")


def test_what_is_undefined_is_nan_and_none_in_json():
    single = bootstrap_mean(np.array([2.0]), rng(0))
    assert single.mean == 2 and np.isnan(single.low) and single.to_dict()["low"] is None
    ratio = bootstrap_ratio(np.ones((5, 2)), np.zeros(5), rng(0))
    assert np.isnan(ratio.mean).all() and ratio.to_dict()["high"] == [None, None]


@pytest.mark.parametrize("arguments", [dict(level=1.0), dict(resamples=0)])
def test_bad_levels_and_counts_are_refused(arguments):
    with pytest.raises(InputError, match="0 < level < 1 and resamples >= 1"):
        bootstrap_mean(np.ones(3), rng(0), **arguments)


@pytest.mark.parametrize("n", [(0, 0), (3, 2)])
def test_empty_or_unequal_arguments_are_refused(n):
    with pytest.raises(InputError, match="same number >= 1 of examples"):
        bootstrap_ratio(np.ones(n[0]), np.ones(n[1]), rng(0))


def test_intervals_over_few_seeds_cover():
    values = rng(0, "seeds").normal(3.0, size=(3, 4000))  # 4,000 experiments of three seeds
    interval = seed_mean(values)
    assert abs(coverage(interval, 3.0) - 0.95) < 0.02 and interval.n == 3
    assert coverage(bootstrap_mean(values, rng(1, "boot")), 3.0) < 0.85  # too narrow, which is why
    single = seed_mean(np.array([0.5]))
    assert single.mean == 0.5 and np.isnan(single.low) and np.isnan(single.high)
    with pytest.raises(InputError, match="at least one value"):
        seed_mean(np.zeros(0))


def test_the_mean_over_seeds_is_students():
    values = rng(0, "student").normal(size=(4, 3))
    found = seed_mean(values, level=0.9)
    for cell in range(3):
        low, high = stats.ttest_1samp(values[:, cell], 0).confidence_interval(0.9)
        np.testing.assert_allclose((found.low[cell], found.high[cell]), (low, high), rtol=0, atol=1e-12)
