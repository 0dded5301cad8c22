"""Slopes and correlations with intervals, against NumPy and against what their coverage promises."""

import numpy as np
import pytest

import mechbp
from mechbp.errors import InputError
from mechbp.methods.statistics.line_fit import line_fit


def test_the_fit_is_that_of_least_squares():
    rng = mechbp.rng(0, "line")
    x = rng.normal(7, 2, 200)
    y = -3 * x + rng.normal(size=200)
    found = line_fit(x, y, mechbp.rng(0, "resample"))
    assert float(found.slope.mean) == pytest.approx(np.polyfit(x, y, 1)[0], abs=1e-9)
    assert float(found.correlation.mean) == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-12)
    assert found.slope.low < found.slope.mean < found.slope.high and found.slope.n == 200


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = mechbp.rng(0, "coverage")
    hits = 0
    for _ in range(200):
        x = rng.normal(size=60)
        found = line_fit(x, 0.5 * x + rng.normal(size=60), rng, resamples=300)
        hits += bool(found.slope.low <= 0.5 <= found.slope.high)
    assert 172 <= hits <= 199


def test_the_line_beside_the_dots_stands_where_there_is_no_relation():
    found = line_fit(np.arange(10.0), mechbp.rng(0).normal(size=10), mechbp.rng(0, "drawn"))
    drawn = found.picture().data
    assert drawn["references"] == [{"name": "no relation", "x": 0}] and drawn["categories"] == ["slope", "correlation"]


def test_what_does_not_vary_has_slope_zero_and_no_correlation():
    found = line_fit(np.arange(10.0), np.ones(10), mechbp.rng(0, "flat"))
    assert float(found.slope.mean) == 0 and np.isnan(found.correlation.mean) and np.isnan(found.correlation.low)
    with pytest.raises(InputError, match="x that varies"):
        line_fit(np.ones(10), np.arange(10.0), mechbp.rng(0, "flat"))
