"""The logistic slope against closed forms, brute force and data that separate."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mechbp.errors import InputError
from mechbp.methods.statistics.logistic_slope import _crossing, logistic_slope
from mechbp.randomness import rng


@pytest.mark.parametrize("counts", [(3, 7, 6, 4), (1, 9, 5, 5), (0, 8, 6, 2), (0, 5, 5, 0)])
def test_two_groups_have_a_closed_form(counts):
    # With one x per group the penalty adds half a run to every cell of the table.
    zeros_ones = np.array(counts, float) + 0.5
    x = np.repeat([0.0, 0, 1, 1], counts)
    y = np.repeat([1, 0, 1, 0], counts)
    odds = np.log(zeros_ones[0] / zeros_ones[1]), np.log(zeros_ones[2] / zeros_ones[3])
    found = logistic_slope(x, y, rng(0), draws=100)
    assert found.slope == pytest.approx(odds[1] - odds[0], abs=1e-4)
    assert found.low < found.slope < found.high
    assert found.ones == y.sum() and found.n == len(y)


def test_many_runs_agree_with_maximum_likelihood_and_its_curvature():
    x = rng(0, "x").normal(3, 2, 4000)
    y = rng(0, "y").random(4000) < 1 / (1 + np.exp(-(0.7 * x - 2)))
    found = logistic_slope(x, y, rng(0), draws=200)
    plain = LogisticRegression(C=1e9, tol=1e-9).fit(x[:, None], y)
    assert found.slope == pytest.approx(plain.coef_[0, 0], abs=2e-3)
    p = plain.predict_proba(x[:, None])[:, 1]
    design = np.stack([np.ones_like(x), x])
    error = np.sqrt(np.linalg.inv((design * p * (1 - p)) @ design.T)[1, 1])
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.03)
    assert found.p == pytest.approx(1 / 201)


def test_intervals_cover():
    hits = 0
    for i in range(30):
        x = rng(i, "x").random(30)
        y = rng(i, "y").random(30) < 1 / (1 + np.exp(-(3 * x - 1.5)))
        if 0 < y.sum() < 30:
            found = logistic_slope(x, y, rng(i), draws=1)
            hits += found.low < 3 < found.high
        else:
            hits += 1
    assert hits >= 26


def test_separated_runs_have_a_finite_slope_and_an_honest_interval():
    x = np.arange(10.0)
    found = logistic_slope(x, x > 4, rng(0))
    assert 0 < found.slope < 5 and found.low > 0
    assert found.p == pytest.approx(2 / 252, rel=0.4)
    turned = logistic_slope(-x, x > 4, rng(0))
    assert turned.slope == pytest.approx(-found.slope, abs=1e-4) and turned.high == pytest.approx(-found.low, abs=1e-3)
    scaled = logistic_slope(10 * x, x > 4, rng(0))
    assert scaled.slope == pytest.approx(found.slope / 10, rel=1e-4)


@pytest.mark.parametrize("direction", [-1.0, 1.0])
def test_an_end_that_nothing_bounds_is_infinite(direction):
    assert _crossing(lambda b: 1.0, 0.5, direction) == direction * np.inf
    assert _crossing(lambda b: 4 - abs(b), 0.5, direction) == pytest.approx(4 * direction, abs=1e-5)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [([1.0, 2, 3], [1, 1, 1], "3 of 3 runs have outcome 1"), ([2.0, 2, 2], [1, 0, 1], "at 1 values of x"),
     ([1.0, np.nan, 3], [1, 0, 1], "finite x"), ([1.0, 2, 3], [1, 0, 2], "outcome 0 or 1")],
)  # fmt: skip
def test_what_has_no_slope_is_refused(x, y, message):
    with pytest.raises(InputError, match=message):
        logistic_slope(np.array(x), np.array(y), rng(0))
