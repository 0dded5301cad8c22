"""Intervals over refits: the mean of their means, the widest of their ends."""

import numpy as np
import pytest

from mechbp.errors import InputError
from mechbp.methods.statistics.intervals import Interval
from mechbp.methods.statistics.refits import over_refits


def interval(mean, low, high, n=50):
    return Interval(np.array(mean), np.array(low), np.array(high), n)


def test_the_ends_are_those_of_the_lowest_and_of_the_highest_refit():
    found = over_refits([interval([0.5, 0.2], [0.4, 0.1], [0.6, 0.3]), interval([0.7, 0.1], [0.3, 0.0], [0.8, 0.2])])
    for end, expected in (("mean", [0.6, 0.15]), ("low", [0.3, 0.0]), ("high", [0.8, 0.3])):
        np.testing.assert_allclose(getattr(found, end), expected, rtol=0, atol=1e-15)
    assert found.n == 50


def test_what_one_refit_does_not_know_is_unknown():
    assert np.isnan(over_refits([interval(0.5, 0.4, 0.6), interval(0.5, np.nan, np.nan)]).low)


@pytest.mark.parametrize(
    "others", [[], [interval(0.5, 0.4, 0.6, n=9)], [interval([0.5], [0.4], [0.6])]], ids=["none", "n", "shape"]
)
def test_intervals_of_other_kinds_are_refused(others):
    with pytest.raises(InputError, match="one shape, n and level"):
        over_refits([interval(0.5, 0.4, 0.6), *others] if others else [])
