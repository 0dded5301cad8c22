"""One set of resamples for many cells: its means and intervals are those of resampling written out."""

import numpy as np
import pytest

from mechbp.methods.statistics.shared_bootstrap import Resampling
from mechbp.randomness import rng

GROUPS = np.array([0, 0, 1, 2, 3, 3, 4, 5, 6])


@pytest.mark.parametrize("resamples", [20, 200, 1001])
def test_intervals_are_the_outer_order_statistics_of_resampled_means(resamples):
    values = rng(0, "values").normal(size=(2, 3, len(GROUPS)))
    shared = Resampling.draw(GROUPS, resamples, rng(1, "draw"))
    found = shared.mean(values)
    means = np.einsum("abi,ir->abr", values, shared.counts) / shared.counts.sum(axis=0)
    np.testing.assert_allclose(found.mean, values.mean(axis=-1), rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.low, np.quantile(means, 0.025, axis=-1, method="lower"), rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.high, np.quantile(means, 0.975, axis=-1, method="higher"), rtol=0, atol=1e-6)


def test_copies_of_a_sequence_are_drawn_together():
    counts = Resampling.draw(GROUPS, 50, rng(0, "copies")).counts
    np.testing.assert_array_equal(counts[0], counts[1])
    np.testing.assert_array_equal(counts[4], counts[5])
    firsts = counts[np.unique(GROUPS, return_index=True)[1]]
    assert (firsts.sum(axis=0) == 7).all() and (counts[0] != counts[2]).any()


def test_the_explained_part_is_that_of_sums_over_the_same_examples():
    errors, totals = rng(0, "e").random((2, 4, len(GROUPS)))
    totals[3] = 0
    shared = Resampling.draw(GROUPS, 300, rng(1, "draw"))
    found = shared.explained(errors, totals)
    expected = 1 - (errors @ shared.counts)[:3] / (totals @ shared.counts)[:3]
    np.testing.assert_allclose(found.low[:3], np.quantile(expected, 0.025, axis=-1, method="lower"), rtol=0, atol=1e-4)
    np.testing.assert_allclose(found.high[:3], np.quantile(expected, 0.975, axis=-1, method="higher"), rtol=0, atol=1e-4)
    assert np.isnan([found.mean[3], found.low[3], found.high[3]]).all(), "a target that does not vary has no R^2"


def test_one_group_says_nothing_about_the_spread():
    found = Resampling.draw(np.zeros(5, int), 100, rng(0)).mean(np.arange(5.0))
    assert float(found.mean) == 2 and np.isnan(found.low) and np.isnan(found.high)
