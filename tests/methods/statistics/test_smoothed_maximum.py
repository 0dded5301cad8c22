"""The maximum of a smoothed curve: scikit-learn's Gaussian process, curves whose maximum is known, and ends that are none."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF

from mechbp.errors import InputError
from mechbp.methods.statistics.smoothed_maximum import NOISES, smoothed_maximum
from mechbp.randomness import rng

STEPS = np.geomspace(30, 8000, 20)


def hump(noise, repetitions=4, seed=0):
    curve = np.exp(-((np.log10(STEPS) - 2.6) ** 2) / 0.3)
    return curve + noise * rng(seed).standard_normal((repetitions, len(STEPS)))


@pytest.mark.parametrize("scale", [0.2, 0.4, 0.8])
def test_the_curve_is_that_of_scikit_learn(scale):
    values = hump(0.1)
    found = smoothed_maximum(STEPS, values, scale, rng(1))
    mean = values.mean(axis=0)
    process = GaussianProcessRegressor(RBF(scale, "fixed"), alpha=found.noise, optimizer=None)
    process.fit(np.log10(STEPS)[:, None], mean - mean.mean())
    expected = process.predict(np.log10(found.grid)[:, None]) + mean.mean()
    np.testing.assert_allclose(found.curve, expected, rtol=0, atol=1e-8)
    assert found.where == pytest.approx(found.grid[expected.argmax()])


def test_the_noise_is_the_one_of_largest_likelihood():
    """Noise that all repetitions share: they say nothing of it, the likelihood does."""
    mean = hump(0.2, repetitions=1)[0]
    found = smoothed_maximum(STEPS, mean + 1e-6 * rng(2).standard_normal((4, len(STEPS))), 0.4, rng(1))
    at, centred = np.log10(STEPS)[:, None], mean - mean.mean()

    def likelihood(noise):
        covariance = RBF(0.4)(at) + noise * np.eye(len(STEPS))
        size = centred @ np.linalg.solve(covariance, centred) / len(STEPS)
        return multivariate_normal(np.zeros(len(STEPS)), size * covariance).logpdf(centred)

    values = [likelihood(noise) for noise in NOISES]
    assert found.noise == pytest.approx(NOISES[int(np.argmax(values))]) and 0 < int(np.argmax(values)) < len(NOISES) - 1


@pytest.mark.parametrize("scale", [0.2, 0.4])
def test_a_hump_is_found_where_it_is(scale):
    found = smoothed_maximum(STEPS, hump(0.02), scale, rng(1))
    assert found.interior and found.low <= found.where <= found.high
    assert np.log10(found.where) == pytest.approx(2.6, abs=0.1)
    noisy = smoothed_maximum(STEPS, hump(0.5), scale, rng(1))
    assert noisy.high / noisy.low > found.high / found.low


def test_the_interval_is_that_of_curves_smoothed_anew():
    """Every resample of repetitions smoothed by scikit-learn, at the noise of the mean of all."""
    values = hump(0.5)
    found = smoothed_maximum(STEPS, values, 0.4, rng(1), resamples=60)
    peaks = []
    for drawn in rng(1).integers(len(values), size=(60, len(values))):
        mean = values[drawn].mean(axis=0)
        process = GaussianProcessRegressor(RBF(0.4, "fixed"), alpha=found.noise, optimizer=None)
        process.fit(np.log10(STEPS)[:, None], mean - mean.mean())
        peaks.append(np.log10(found.grid)[process.predict(np.log10(found.grid)[:, None]).argmax()])
    assert np.log10([found.low, found.high]) == pytest.approx(np.quantile(peaks, [0.025, 0.975]), abs=0.01)
    assert found.low < found.high


def test_what_grows_or_falls_throughout_has_no_maximum_inside():
    for slope in (1, -1):
        values = slope * np.log(STEPS) + 0.01 * rng(0).standard_normal((3, len(STEPS)))
        assert not smoothed_maximum(STEPS, values, 0.4, rng(1)).interior


def test_a_constant_added_moves_the_curve_and_not_the_maximum():
    one, other = (smoothed_maximum(STEPS, hump(0.1) + constant, 0.2, rng(1)) for constant in (0, 1e3))
    assert one.where == other.where
    np.testing.assert_allclose(other.curve - one.curve, 1e3, atol=1e-6)


def test_noise_is_at_least_what_repetitions_say():
    """Repetitions far apart whose mean is smooth: likelihood alone would take the mean at its word."""
    apart = np.array([-1.0, 1.0])[:, None] * rng(0).standard_normal(len(STEPS))
    found = smoothed_maximum(STEPS, hump(0, 2) + apart, 0.2, rng(1))
    mean = hump(0, 2).mean(axis=0)
    assert found.noise == pytest.approx((2 * apart[0] ** 2 / 2).mean() / mean.var())


@pytest.mark.parametrize(
    ("steps", "values", "scale"),
    [
        (STEPS, np.ones((4, 20)), 0.2),
        (STEPS, hump(0.1)[:1], 0.2),
        (STEPS, hump(0.1)[:, :-1], 0.2),
        (STEPS[::-1], hump(0.1), 0.2),
        (STEPS - 30, hump(0.1), 0.2),
        (STEPS, hump(0.1), 0.0),
        (STEPS, hump(0.1) * np.nan, 0.2),
    ],
)
def test_refusals(steps, values, scale, unchecked):
    with pytest.raises(InputError, match="smoothed_maximum"):
        smoothed_maximum(steps, values, scale, rng(1))


def test_the_curve_is_a_line_and_its_interval_a_stretch_of_it():
    curve, stretch = smoothed_maximum(STEPS, hump(0.1), 0.2, rng(1)).picture().data["series"]
    assert not curve["markers"] and not stretch["markers"] and (stretch["dash"], "dash" in curve) == ("dot", False)
    known = np.isfinite(np.asarray(stretch["y"], float))
    np.testing.assert_array_equal(np.asarray(stretch["y"], float)[known], np.asarray(curve["y"], float)[known])
    assert 0 < known.sum() < len(known)
