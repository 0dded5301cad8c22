"""Effective draws and agreement of chains: autoregressive chains whose answer is known, and ArviZ's numbers."""

import numpy as np
import pytest
from arviz_stats.base import array_stats

from mechbp.errors import InputError
from mechbp.methods.llc.diagnostics import effective_sample_size, split_rhat
from mechbp.randomness import rng


def autoregressive(rho, n, chains, label):
    noise = rng(0, "ar", label).standard_normal((n, chains))
    found = np.empty_like(noise)
    found[0] = noise[0] / np.sqrt(1 - rho * rho)
    for t in range(1, n):
        found[t] = rho * found[t - 1] + noise[t]
    return found


@pytest.mark.parametrize("rho", [-0.5, 0.0, 0.5, 0.9, 0.98])
def test_effective_draws_of_autoregressive_chains(rho):
    n = 20_000
    found = effective_sample_size(autoregressive(rho, n, 8, str(rho)))
    np.testing.assert_allclose(found.mean(), n * (1 - rho) / (1 + rho), rtol=0.1)


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.9])
def test_diagnostics_are_those_of_arviz(rho):
    draws = autoregressive(rho, 30_000, 6, f"arviz {rho}") + np.arange(6)
    theirs = [array_stats.ess(draws[None, :, chain], chain_axis=0, draw_axis=1, method="mean") for chain in range(6)]
    np.testing.assert_allclose(effective_sample_size(draws), theirs, rtol=0.15)  # they split each chain
    rhat = array_stats.rhat(draws.T, chain_axis=0, draw_axis=1, method="split")
    np.testing.assert_allclose(split_rhat(draws), rhat, rtol=0, atol=1e-12)


def test_chains_that_disagree_or_drift_are_seen():
    draws = rng(0, "agree").standard_normal((1000, 4))
    assert abs(split_rhat(draws) - 1) < 0.01
    assert split_rhat(draws + np.array([0, 0, 0, 2.0])) > 1.3
    assert split_rhat(draws + np.linspace(0, 4, 1000)[:, None]) > 1.3, "all chains drift alike"


def test_of_an_odd_number_of_draws_the_middle_one_is_in_no_half():
    draws = rng(0, "odd").standard_normal((101, 3))
    assert split_rhat(draws) == split_rhat(np.delete(draws, 50, axis=0))


def test_what_cannot_be_said():
    still = np.stack([np.ones(50), rng(0).standard_normal(50)], axis=1)
    assert np.array_equal(np.isnan(effective_sample_size(still)), [True, False])
    assert np.isnan(split_rhat(np.ones((50, 2))))
    for wrong in (np.ones((3, 2)), np.ones(9), np.full((9, 2), np.nan)):
        with pytest.raises(InputError, match="diagnostics: need finite draws"):
            split_rhat(wrong)
