"""Permutation p-values against all permutations, and Holm's rule by hand."""

from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from mechbp.errors import InputError
from mechbp.methods.statistics.permutation import covariance_p, holm, rank_correlation
from mechbp.randomness import rng

X = np.array([1.0, 2, 2.5, 4, 7, 7.5])


@pytest.mark.parametrize("y", [[0, 0, 1, 0, 1, 1], [3.0, 1, 4, 1, 5, 9], [1, 1, 1, 0, 0, 0]])
def test_p_is_the_share_of_all_deals(y):
    y = np.array(y, float)
    covariances = [(X - X.mean()) @ np.array(dealt) for dealt in permutations(y)]
    exact = np.mean(np.abs(covariances) >= abs((X - X.mean()) @ y) - 1e-9)
    assert covariance_p(X, y, rng(0), draws=20_000) == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 20_000) + 1e-4)


def test_p_is_uniform_where_nothing_goes_together():
    found = [covariance_p(rng(i, "x").random(12), (rng(i, "y").random(12) < 0.5) * 1.0, rng(i), draws=500) for i in range(300)]
    assert 0.01 < np.mean(np.array(found) <= 0.05) < 0.09
    assert min(found) > 0


def test_ranks_leave_out_what_is_missing():
    y = np.array([1.0, 3, np.nan, 2, 8, 9])
    found = rank_correlation(X, y, rng(0))
    defined = np.isfinite(y)
    assert found.n == 5
    assert found.rho == pytest.approx(stats.spearmanr(X[defined], y[defined]).statistic, abs=1e-12)
    assert np.isnan(rank_correlation(X, np.ones(6), rng(0)).p)
    assert np.isnan(rank_correlation(X[:2], y[:2], rng(0)).rho)


def test_holm_by_hand():
    np.testing.assert_allclose(holm([0.01, 0.04, np.nan, 0.03, 0.005]), [0.03, 0.06, np.nan, 0.06, 0.02], rtol=0, atol=1e-15)
    assert holm([0.9, 0.8]).max() == 1
    assert len(holm([])) == 0


def test_what_is_no_pair_of_numbers_is_refused():
    with pytest.raises(InputError, match="two finite numbers for each of 2 runs"):
        covariance_p(X, np.append(X[1:], np.nan), rng(0))
