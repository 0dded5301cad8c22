"""What the estimator is measured against: closed forms and quadrature, held against slower routes to the same numbers."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import dblquad, quad

from mechbp.errors import InputError
from mechbp.methods.llc.ground_truths import (
    deep_linear_llc,
    normal_crossing_llc,
    quadratic_llc,
    quadratic_trace,
    reduced_rank_llc,
)
from mechbp.randomness import rng


@pytest.mark.parametrize("case", range(20))
def test_quadratic_values_solve_the_recursion_of_the_second_moment(case):
    draw = rng(case, "recursion")
    d, n_beta, localization = int(draw.integers(1, 6)), draw.uniform(5, 200), draw.uniform(0.5, 20)
    curvatures, noise = draw.exponential(1.0, d), draw.uniform(0, 0.5, d)
    step_size = draw.uniform(0.1, 3.5) / (n_beta * curvatures.max() + localization)
    moment, trace = np.zeros(d), []
    for _ in range(100_000):  # E w^2 after one step, from w* on
        trace.append(n_beta / 2 * (curvatures * moment).sum())
        kept = 1 - step_size / 2 * (n_beta * curvatures + localization)
        new = kept**2 * moment + step_size + (step_size * n_beta * noise / 2) ** 2
        if np.abs(new - moment).max() <= 1e-16 * new.max():
            break
        moment = new
    settings = {"n_beta": n_beta, "localization": localization, "step_size": step_size}
    np.testing.assert_allclose(quadratic_llc(curvatures, **settings, gradient_noise=noise), trace[-1], rtol=1e-10, atol=0)
    if not case:
        assert abs(quadratic_llc(curvatures, **settings) - trace[-1]) > 1e-3, "the batch noise counts"
    moment, quiet = np.zeros(d), []
    for _ in range(50):
        quiet.append(n_beta / 2 * (curvatures * moment).sum())
        moment = (1 - step_size / 2 * (n_beta * curvatures + localization)) ** 2 * moment + step_size
    np.testing.assert_allclose(quadratic_trace(curvatures, 50, **settings), quiet, rtol=1e-9, atol=1e-14)


def test_quadratic_values_known_by_hand():
    found = quadratic_llc(np.array([2.0]), n_beta=50, localization=1, step_size=2e-3, gradient_noise=0.3)
    assert round(found, 5) == 0.58003
    assert quadratic_llc(np.ones(7), n_beta=1e12, localization=1) == pytest.approx(3.5, abs=1e-9)
    assert quadratic_llc(np.array([1.0, 0.0]), n_beta=9, localization=1) == pytest.approx(0.45, abs=1e-15)
    for wrong in ({"step_size": 0.4}, {"localization": -20.0}):
        with pytest.raises(InputError, match="quadratic_llc: need 0 < A"):
            quadratic_llc(np.array([1.0]), **{"n_beta": 10.0, "localization": 0.0, **wrong})


@pytest.mark.parametrize("case", range(5))
def test_normal_crossings_equal_adaptive_quadrature(case):
    draw = rng(case, "crossing")
    powers = [(1, 1), (0, 2), (1, 2), (0, 1), (3, 0)][case]
    energy, localization = draw.uniform(1, 30), draw.uniform(0.5, 3)

    def density(y, x):
        return np.exp(-energy * (x ** powers[0] * y ** powers[1]) ** 2 - localization / 2 * (x * x + y * y))

    def energies(y, x):
        return energy * (x ** powers[0] * y ** powers[1]) ** 2 * density(y, x)

    top = 10 / np.sqrt(localization)
    total, mean = (dblquad(f, 0, top, 0, top, epsabs=1e-11, epsrel=1e-9)[0] for f in (density, energies))
    np.testing.assert_allclose(normal_crossing_llc(powers, energy=energy, localization=localization), mean / total, rtol=1e-6)


def test_one_variable_of_a_crossing_integrates_out():
    energy = 4 * 1000 / np.log(1000)
    # Given w1, w2 is Gaussian: E[energy f^2 | w1] = energy w1^2 / (2 energy w1^2 + 1), with weight (2 energy w1^2 + 1)^-1/2
    ends = [(0, 0.01), (0.01, 0.1), (0.1, 1), (1, 12)]
    weight = [quad(lambda x: np.exp(-x * x / 2) / np.sqrt(2 * energy * x * x + 1), *end, epsabs=1e-13)[0] for end in ends]
    mean = [
        quad(lambda x: energy * x * x * np.exp(-x * x / 2) * (2 * energy * x * x + 1) ** -1.5, *end, epsabs=1e-13)[0]
        for end in ends
    ]
    np.testing.assert_allclose(normal_crossing_llc((1, 1), energy=energy, localization=1), sum(mean) / sum(weight), rtol=1e-8)


CROSSINGS = ((0, 1), (1, 1), (0, 2), (2, 2), (0, 3), (1, 3))


@pytest.mark.parametrize(
    ("localization", "values"),
    [(1.0, [0.4996, 0.3833, 0.2465, 0.1614, 0.1604, 0.1487]), (100.0, [0.4603, 0.0415, 0.0745, 0.0001, 0.0067, 0.0001])],
)
def test_crossings_at_finite_temperature(localization, values):
    energy = 4 * 1000 / np.log(1000)
    found = [normal_crossing_llc(powers, energy=energy, localization=localization) for powers in CROSSINGS]
    np.testing.assert_allclose(found, values, rtol=0, atol=5.1e-5)


def test_crossings_tend_to_the_learning_coefficient_from_below():
    for powers, limit in (((1, 1), 1 / 2), ((2, 2), 1 / 4), ((0, 3), 1 / 6), ((1, 3), 1 / 6)):
        found = [normal_crossing_llc(powers, energy=energy, localization=1) for energy in (1e2, 1e4, 1e6, 1e8)]
        assert found == sorted(found) and found[-1] < limit and limit - found[-1] < 0.06
    with pytest.raises(InputError, match="normal_crossing_llc: need powers"):
        normal_crossing_llc((0, 0), energy=1, localization=1)


def test_two_formulas_for_products_of_two_matrices_agree():
    shapes = [(m, h, n) for m in range(1, 9) for h in range(1, 9) for n in range(1, 9)]
    cases = [(shape, rank) for shape in shapes for rank in range(min(shape) + 1)]
    assert len(cases) == 1808
    for shape, rank in cases:
        assert deep_linear_llc(shape, rank) == pytest.approx(reduced_rank_llc(*shape, rank), abs=1e-12), (shape, rank)


def test_products_known_from_the_literature_and_by_counting():
    assert [
        deep_linear_llc(widths, rank) for widths, rank in (((3,) * 4, 1), ((4,) * 3, 2), ((10, 8, 9, 10), 4), ((5,) * 5, 0))
    ] == [
        4.0,
        7.5,
        40.5,
        8.0,
    ]
    for (m, h, n), zero, full in (((5, 3, 5), 6.5, 10.5), ((5, 4, 5), 8, 12), ((8, 3, 4), 6, 13.5)):
        assert reduced_rank_llc(m, h, n, 0) == zero and reduced_rank_llc(m, h, n, min(m, h, n)) == full
        assert full == (h * (m + n) - h * h) / 2, "a full rank is regular but for h^2 directions of gauge"


@pytest.mark.parametrize("case", range(40))
def test_products_are_symmetric_bounded_and_no_easier_at_higher_rank(case):
    draw = rng(case, "widths")
    widths = tuple(int(w) for w in draw.integers(1, 9, draw.integers(2, 6)))
    values = [deep_linear_llc(widths, rank) for rank in range(min(widths) + 1)]
    mirrored = [deep_linear_llc(widths[::-1], rank) for rank in range(min(widths) + 1)]
    np.testing.assert_allclose(values, mirrored, rtol=0, atol=1e-12)
    assert np.all(np.diff(values) >= -1e-12)
    d = sum(a * b for a, b in pairwise(widths))
    assert values[0] > 0 and values[-1] <= min(d, widths[0] * widths[-1]) / 2 + 1e-12


@pytest.mark.parametrize(("widths", "rank"), [((3,), 0), ((3, 2, 3), 3), ((3, 0, 3), 0), ((3, 3), -1)])
def test_ranks_that_cannot_be_are_refused(widths, rank):
    with pytest.raises(InputError, match="need two widths or more"):
        deep_linear_llc(widths, rank)
