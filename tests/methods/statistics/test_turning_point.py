"""Turning points are chosen on other repetitions, and levels are met where they are first reached."""

import numpy as np
import pytest

import mechbp
from mechbp.errors import InputError
from mechbp.methods.statistics.turning_point import at_level, turn


def test_a_planted_turn_is_found_and_measured():
    curves = np.array([[3.0, 1.0, 2.0], [3.5, 1.5, 2.25], [3.0, 0.5, 1.75]])
    found = turn(curves)
    assert found.step.tolist() == [1, 1, 1]
    np.testing.assert_allclose(found.rise, [1.0, 0.75, 1.25])
    assert found.mean.low > 0


def test_curves_below_zero_turn_where_those_above_do():
    """Of four repetitions, the last of which is turned by the mean of the others alone."""
    curves = np.array([[3.0, 1.0, 2.0], [3.5, 1.5, 2.25], [3.0, 0.5, 1.75], [0.5, 3.0, 2.0]])
    for n in (3, 4):
        for shift in (0.0, -2.0, -10.0):
            found = turn(curves[:n] + shift)
            assert found.step.tolist() == [1] * n
            np.testing.assert_allclose(found.rise, [1.0, 0.75, 1.25, -1.0][:n])


def test_a_falling_curve_does_not_turn():
    found = turn(np.array([[3.0, 2.0, 1.0], [4.0, 2.0, 1.5]]))
    assert found.step.tolist() == [2, 2] and not found.rise.any()


def test_noise_about_a_level_curve_does_not_turn_although_its_least_entry_lies_below_the_last():
    curves = mechbp.rng(0, "turns").normal(size=(400, 3, 12))
    rises = np.array([turn(part).rise.mean() for part in curves])
    assert abs(rises.mean()) < 4 * rises.std() / np.sqrt(len(rises))
    naive = curves[:, :, -1] - curves.min(axis=2)
    assert naive.mean() > 1  # what choosing on the same curve would have found


def test_one_repetition_cannot_choose_for_itself():
    with pytest.raises(InputError, match="two or more"):
        turn(np.zeros((1, 4)))


def test_levels_are_met_where_they_are_first_reached():
    levels = np.array([4.0, 2.0, 3.0, 1.0])  # up again at the third step, which is passed over
    values = np.array([10.0, 20.0, 99.0, 30.0])
    assert at_level(levels, values, 3.0) == pytest.approx(15)
    assert at_level(levels, values, 1.5) == pytest.approx(25)
    assert at_level(levels, values, 1.0) == 30 and at_level(levels, values, 4.0) == 10
    level = np.array([4.0, 2.0, 2.0, 1.0])  # no lower at the third step either
    assert at_level(level, values, 1.5) == pytest.approx(25)
    assert np.isnan(at_level(levels, values, 0.9)) and np.isnan(at_level(levels, values, 4.1))
