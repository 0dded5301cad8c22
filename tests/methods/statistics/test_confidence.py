"""Calibration of choices, against bins filled by hand and models of known calibration."""

import numpy as np
import pytest

from mechbp.errors import InputError
from mechbp.methods.statistics.confidence import calibration_error, calibration_gain, reliability
from mechbp.randomness import rng


def test_bins_by_hand():
    confidence = np.array([[0.1, 0.9], [0.2, 1.0], [0.15, 0.7]])
    right = np.array([[True, True], [False, True], [False, False]])
    found = reliability(confidence, right, rng(0), bins=2)
    np.testing.assert_allclose(found.filled, [3, 3])
    np.testing.assert_allclose(found.confidence, [0.15, 2.6 / 3], rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.accuracy.mean, [1 / 3, 2 / 3], rtol=0, atol=1e-12)
    assert float(found.error.mean) == pytest.approx((abs(0.45 - 1) + abs(2.6 - 2)) / 6)
    assert float(found.excess.mean) == pytest.approx((3.05 - 3) / 6)
    part = reliability(confidence, right, rng(0), bins=2, counted=np.array([[True, False], [True, False], [False, False]]))
    assert float(part.error.mean) == pytest.approx(abs(0.3 - 1) / 2) and part.filled.tolist() == [2, 0]
    assert np.isnan(part.confidence[1]) and np.isnan(part.accuracy.mean[1])


def test_a_calibrated_model_is_at_its_floor_and_a_sure_one_above():
    confidence = rng(0, "c").uniform(0.3, 1, (800, 5))
    right = rng(0, "r").random((800, 5)) < confidence
    found = reliability(confidence, right, rng(0))
    assert float(found.error.mean) < 2 * found.floor < 0.06
    assert found.excess.low < 0 < found.excess.high
    sure = np.minimum(confidence + 0.15, 1)
    gain = calibration_gain(confidence, right, sure, right, rng(0))
    assert gain.low > 0.06 and gain.high < 0.15
    same = calibration_gain(confidence, right, confidence, right, rng(0))
    assert float(same.low) == float(same.mean) == float(same.high) == 0
    back = calibration_gain(sure, right, confidence, right, rng(0))
    assert float(back.mean) == pytest.approx(-float(gain.mean), abs=1e-12)
    assert float(reliability(sure, right, rng(0)).error.mean) == pytest.approx(float(found.error.mean + gain.mean), abs=1e-12)


def test_lists_are_resampled_not_choices():
    confidence = np.full((60, 1), 0.5)
    right = rng(1).random((60, 1)) < 0.5
    width = [
        float(found.error.high - found.error.low)
        for found in (reliability(np.tile(confidence, copies), np.tile(right, copies), rng(0)) for copies in (1, 50))
    ]
    assert width[0] == pytest.approx(width[1], rel=0.2)


@pytest.mark.parametrize("bad", [np.full((2, 2), 1.2), np.full((2, 2), -0.1), np.full((2, 3), 0.5)])
def test_what_is_no_probability_is_refused(bad):
    with pytest.raises(InputError):
        reliability(bad, np.ones((2, 2), bool), rng(0))


@pytest.mark.parametrize("counted", [np.ones((1, 2), bool), np.ones((3, 2), bool), np.ones(2, bool), np.zeros((2, 2), bool)])
def test_what_counts_has_the_shape_of_the_choices(counted):
    with pytest.raises(InputError, match="counted of one shape"):
        reliability(np.full((2, 2), 0.5), np.ones((2, 2), bool), rng(0), counted=counted)


def test_the_error_alone_is_that_of_fifteen_bins():
    confidence = rng(0, "alone").random((60, 4))
    right = rng(1, "alone").random((60, 4)) < 0.5  # too sure in some bins and not in others, or bins would not matter
    which = np.floor(confidence * 15)
    expected = sum(abs((confidence - right)[which == b].sum()) for b in range(15)) / right.size
    found = calibration_error(confidence, right, rng(0), resamples=200)
    assert float(found.mean) == pytest.approx(expected, abs=1e-12) and found.low < found.high
    assert float(reliability(confidence, right, rng(0)).error.mean) == pytest.approx(expected, abs=1e-12)
    assert abs(expected - float(reliability(confidence, right, rng(0), bins=7).error.mean)) > 1e-3, "other bins would be seen"


def test_choices_that_are_not_counted_count_nowhere():
    confidence, right = np.array([[0.9, 0.5], [0.8, 0.1]]), np.array([[True, False], [False, True]])
    found = reliability(confidence, right, rng(0), counted=np.array([[True, False], [True, False]]))
    assert found.excess.mean == pytest.approx((0.9 - 1 + 0.8) / 2) and found.filled.sum() == 2
    assert found.error.mean == pytest.approx((0.1 + 0.8) / 2)
