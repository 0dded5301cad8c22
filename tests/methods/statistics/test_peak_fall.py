"""Falls from a peak: known curves, and no fall out of noise."""

import numpy as np
import pytest

from mechbp.errors import InputError
from mechbp.methods.statistics.peak_fall import peak_fall


def test_rise_and_fall_of_a_known_curve():
    curve = np.tile([0.2, 0.7, 0.5], (6, 1)) + np.arange(6)[:, None]
    found = peak_fall(curve)
    assert found.peaks == (1, 1)
    np.testing.assert_allclose(found.rise, 0.5, atol=1e-12)
    np.testing.assert_allclose(found.fall, 0.2, atol=1e-12)


def test_noise_has_no_fall():
    """The plain difference from the highest mean is biased upwards; measured on the other half it is not."""
    draws = np.random.default_rng(0).normal(size=(400, 40, 20))
    crossed = np.array([peak_fall(scores).fall.mean() for scores in draws])
    naive = np.array([scores.mean(axis=0).max() - scores.mean(axis=0)[-1] for scores in draws])
    assert abs(crossed.mean()) < 3 * crossed.std() / 20
    assert naive.mean() > 10 * naive.std() / 20


def test_halves_are_crossed():
    """Even examples peak at step 0, odd ones at step 1: each is measured where the others peak."""
    scores = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]] * 2)
    np.testing.assert_array_equal(peak_fall(scores).fall, 0)
    with pytest.raises(InputError, match="n >= 2"):
        peak_fall(scores[:1])
