"""Calibration's picture holds the numbers of the measurement, bins without any left out."""

import numpy as np

from analyses.shared.calibration import calibration_axes, calibration_density, calibration_line
from mechbp.methods.statistics.answers import calibration
from mechbp.randomness import rng


def test_the_picture_holds_what_was_measured():
    exact = rng(0, "exact").dirichlet(np.ones(3), size=(40, 2))
    answers = 0.5 * exact + 0.5 / 3  # no probability below a sixth or above two thirds is stated
    found = calibration(exact, answers, rng(0, "bootstrap"))
    line = calibration_line("model", found)
    shown = found.filled > 0
    assert 0 < shown.sum() < len(shown) and line["name"] == "model"
    np.testing.assert_array_equal(line["x"], found.stated[shown])
    for key, values in (("y", found.exact.mean), ("low", found.exact.low), ("high", found.exact.high)):
        np.testing.assert_array_equal(line[key], values[shown])
    density = calibration_density(found)
    assert density["counts"].shape == found.counts.T.shape and density["counts"].sum() == found.filled.sum()
    np.testing.assert_array_equal(density["counts"], found.counts.T)
    assert calibration_axes("exact")["identity"] and calibration_axes("exact")["y_title"] == "exact"
