"""Estimates at minima whose coefficient is known, with settings drawn at random; orderings, invariance, refusals."""

from itertools import pairwise

import numpy as np
import pytest
import torch

import mechbp
from mechbp.errors import InputError
from mechbp.methods.llc.calibration import calibrate
from mechbp.methods.llc.estimate import llc
from mechbp.methods.llc.ground_truths import deep_linear_llc, normal_crossing_llc, quadratic_llc, quadratic_trace
from mechbp.methods.llc.known_losses import deep_linear, linear_regression, normal_crossing, quadratic
from mechbp.randomness import rng


def near(found, truth, *, relative=0.02):
    """Within three standard errors, which are small enough to tell, and within `relative` of the truth."""
    assert found.standard_error < relative * truth
    assert abs(found.estimate - truth) < 3 * found.standard_error, (found, truth)
    assert abs(found.estimate / truth - 1) < relative, (found, truth)


def random_quadratic(case):
    draw = rng(case, "quadratic")
    curvatures = np.exp(draw.uniform(np.log(0.2), np.log(2), int(draw.integers(3, 12))))
    settings = {"n_beta": float(draw.uniform(10, 200)), "localization": float(draw.uniform(1, 20))}
    step_size = float(draw.uniform(0.4, 1.2)) / (settings["n_beta"] * curvatures.max() + settings["localization"])
    return curvatures, settings, step_size


@pytest.mark.parametrize("case", range(4))
def test_quadratics_have_the_bias_of_their_step(case):
    curvatures, settings, step_size = random_quadratic(case)
    found = mechbp.llc(
        *quadratic(curvatures), [None], step_size=step_size, chains=256, burn_in=150, draws=350, rng=rng(case), **settings
    )
    near(found, truth := quadratic_llc(curvatures, step_size=step_size, **settings))
    assert truth - quadratic_llc(curvatures, **settings) > 6 * found.standard_error, "the step's bias would be seen"
    assert found.calibration.curvature == pytest.approx(curvatures.max(), rel=0.05)
    assert found.rhat < 1.05 and found.variance_ratio == 1


@pytest.mark.parametrize("sampler", ["averaged noise", "mala"])
@pytest.mark.parametrize("case", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_samplers_without_that_bias(sampler, case):
    curvatures, settings, step_size = random_quadratic(case)
    common = {"step_size": step_size, "chains": 256, "burn_in": 150, "draws": 350, "sampler": sampler, **settings}
    found = llc(*quadratic(curvatures), [None], rng=rng(case), **common)
    near(found, quadratic_llc(curvatures, **settings))


def test_the_way_from_the_minimum_is_the_one_computed():
    curvatures, settings, step_size = random_quadratic(7)
    found = llc(*quadratic(curvatures), [None], step_size=step_size, chains=2000, burn_in=20, draws=20, rng=rng(0), **settings)
    energies = settings["n_beta"] * found.losses
    exact = quadratic_trace(curvatures, 40, step_size=step_size, **settings)
    assert np.all(np.abs(energies.mean(axis=1) - exact) <= 4.5 * energies.std(axis=1, ddof=1) / np.sqrt(2000))
    assert found.losses[0].max() == 0, "the first draw is w* itself"


@pytest.mark.slow
def test_batch_noise_inflates_and_centred_gradients_do_not():
    noise = 0.3 * rng(0, "noise").standard_normal((1600, 1))
    batches = list(torch.from_numpy(noise - noise.mean()))
    common = {"n_beta": 50.0, "localization": 1.0, "step_size": 2e-3, "chains": 64, "burn_in": 50, "draws": 1550}
    loss, parameters = quadratic(np.array([2.0]))
    quiet = {"n_beta": 50.0, "localization": 1.0, "step_size": 2e-3}
    found = llc(loss, parameters, batches, rng=rng(1), curvature=2.0, **common)
    inflated = quadratic_llc(np.array([2.0]), gradient_noise=noise.std(), **quiet)
    plain = quadratic_llc(np.array([2.0]), **quiet)
    assert inflated / plain > 1.1
    assert found.estimate == pytest.approx(inflated, rel=0.03)  # batches are shared: no standard error over chains holds them
    centred = llc(loss, parameters, batches, rng=rng(1), curvature=2.0, centre_gradients=True, **common)
    assert centred.estimate == pytest.approx(plain, rel=0.03)


def test_a_regression_in_batches_from_end_to_end():
    draw = rng(0, "regression")
    features = draw.standard_normal((1024, 6)) * draw.uniform(0.5, 1.5, 6)
    loss, parameters, (x, y) = linear_regression(features, 3.0, draw)
    curvatures = np.linalg.eigvalsh(features.T @ features / 1024)
    batches = list(zip(x.split(128), y.split(128), strict=True))
    settings = {"n_beta": 40.0, "localization": 5.0}
    step_size = calibrate(loss, parameters, batches, rng=rng(0), **settings).step_size
    found = llc(
        loss, parameters, batches, step_size=step_size, chains=64, burn_in=250, draws=600, rng=rng(0), centre_gradients=True,
        **settings,
    )  # fmt: skip
    truth = quadratic_llc(curvatures, step_size=step_size, **settings)
    assert abs(found.estimate / truth - 1) < 0.03
    assert found.variance_ratio < 0.3, "most of the noise of a draw is that of its batch"
    assert np.array_equal(found.per_chain.shape, (64,)) and found.per_chain.std() > 0
    partial = llc(loss, parameters, batches, step_size=step_size, chains=8, burn_in=50, draws=203, rng=rng(0), **settings)
    assert abs(partial.estimate - partial.plain_estimate) > 1e-3, "the last epoch is cut short"


@pytest.mark.parametrize("case", range(3))
def test_normal_crossings(case):
    draw = rng(case, "crossing")
    powers = [(0, 1), (1, 1), (0, 2)][case]
    energy, localization = float(draw.uniform(200, 800)), float(draw.uniform(15, 30))
    found = llc(
        *normal_crossing(powers, 4.0),
        [None],
        n_beta=energy / 4,
        localization=localization,
        step_size=4e-4,
        chains=600,
        burn_in=350,
        draws=350,
        rng=rng(case),
        sampler="averaged noise",
    )
    truth = normal_crossing_llc(powers, energy=energy, localization=localization)
    assert found.standard_error < 0.03 * truth
    assert abs(found.estimate - truth) < max(3 * found.standard_error, 0.05 * truth), (found, truth)


SIMULATED = {
    (0, 1): (0.5152, 0.0008),
    (1, 1): (0.390, 0.003),
    (0, 2): (0.248, 0.001),
    (2, 2): (0.163, 0.002),
    (0, 3): (0.161, 0.002),
    (1, 3): (0.151, 0.002),
}
"""Powers -> estimate and standard error over 400 chains of another implementation, at the settings below."""


@pytest.mark.parametrize("powers", [pytest.param(powers, marks=pytest.mark.long) for powers in SIMULATED])
def test_normal_crossings_with_weak_localisation_and_small_steps(powers):
    n_beta = 1000 / np.log(1000)
    settings = {"n_beta": n_beta, "localization": 1.0, "step_size": 1e-4, "chains": 200, "burn_in": 20_000, "draws": 20_000}
    found = llc(*normal_crossing(powers, 4.0), [None], rng=rng(0, *powers), **settings)
    truth = normal_crossing_llc(powers, energy=4 * n_beta, localization=1.0)
    assert abs(found.estimate - truth) < max(3 * found.standard_error, 0.05 * truth), (found, truth)
    simulated, error = SIMULATED[powers]
    assert abs(found.estimate - simulated) < 3 * np.hypot(found.standard_error, error) and found.standard_error < 0.03 * truth


@pytest.mark.parametrize(
    ("widths", "rank"), [pytest.param((4, 3, 4), 3, marks=pytest.mark.slow), ((4, 3, 4), 1), ((3, 2, 2, 3), 2)]
)
def test_products_of_matrices(widths, rank):
    loss, parameters = deep_linear(widths, rank, rng(0, "product", *widths))
    n_beta = 1e4
    advice = calibrate(loss, parameters, [None], n_beta=n_beta, localization=1, rng=rng(0))
    found = llc(
        loss,
        parameters,
        [None],
        n_beta=n_beta,
        localization=1.0,
        step_size=0.5 * advice.exact_step_size,
        chains=256,
        burn_in=500,
        draws=400,
        rng=rng(0),
        sampler="averaged noise",
    )
    truth = deep_linear_llc(widths, rank)
    assert found.estimate == pytest.approx(truth, rel=0.05, abs=3 * found.standard_error)
    assert found.n_parameters / 2 - found.estimate > 20 * found.standard_error, "far from the value of a regular minimum"


def test_a_change_of_gauge_changes_nothing():
    loss, parameters = deep_linear((4, 3, 4), 3, rng(0, "gauge"))
    gauge = torch.from_numpy(np.linalg.qr(rng(1).standard_normal((3, 3)))[0] * np.array([0.7, 1.0, 1.5]))
    moved = {"W1": gauge @ parameters["W1"], "W2": parameters["W2"] @ torch.linalg.inv(gauge)}
    common = {"n_beta": 1e4, "localization": 1.0, "step_size": 4e-5, "chains": 128, "burn_in": 300, "draws": 400}
    first, second = (llc(loss, p, [None], rng=rng(2), sampler="averaged noise", **common) for p in (parameters, moved))
    assert loss(moved, None).item() < 1e-20
    both = np.hypot(first.standard_error, second.standard_error)
    assert abs(first.estimate - second.estimate) < 3 * both and both < 0.02 * first.estimate


@pytest.mark.parametrize("d", [2, 10])
def test_more_degenerate_minima_have_the_smaller_coefficient(d):
    def power(k):
        return lambda p, _: (p["w"] ** (2 * k)).sum()

    zero = {"w": torch.zeros(d, dtype=torch.float64)}
    common = {"n_beta": 100.0, "localization": 1.0, "step_size": 2e-3, "chains": 128, "burn_in": 300, "draws": 150}
    values = [llc(power(k), zero, [None], rng=rng(0), **common) for k in (1, 2, 3)]
    for regular, degenerate in pairwise(values):
        assert degenerate.estimate + 3 * degenerate.standard_error < regular.estimate - 3 * regular.standard_error


def test_equal_seeds_make_differences_less_noisy():
    one, two = quadratic(np.full(5, 1.0)), quadratic(np.full(5, 1.05))
    common = {"n_beta": 50.0, "localization": 1.0, "step_size": 4e-3, "chains": 32, "burn_in": 50, "draws": 100}
    first = llc(*one, [None], rng=rng(0), **common).per_chain
    paired, unpaired = (llc(*two, [None], rng=rng(seed), **common).per_chain - first for seed in (0, 1))
    assert paired.std() < 0.1 * unpaired.std()


def test_steps_that_diverge_are_refused_with_the_step_to_take():
    loss, parameters = quadratic(np.array([1.0, 2.0]))
    with pytest.raises(InputError, match=r"step_size 0.041 x .* is 4.14, .* diverges from 4 on.*\nTake step_size <= 0.00099"):
        llc(loss, parameters, [None], n_beta=50.0, step_size=0.041, rng=rng(0))
    stable = llc(loss, parameters, [None], n_beta=50.0, step_size=0.038, chains=4, burn_in=5, draws=20, rng=rng(0))
    assert any("too large. Take step_size <=" in caution for caution in stable.cautions)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"burn_in": 0}, "burn_in must be an integer >= 1, got 0: the first draw is w"),
        ({"chains": 1}, "chains must be an integer >= 2, got 1"),
        ({"draws": 3}, "draws must be an integer >= 4"),
        ({"draws": 700.0}, "draws must be an integer"),
        ({"n_beta": 0.0}, "n_beta must be a finite number > 0"),
        ({"step_size": np.inf}, "step_size must be a finite number > 0"),
        ({"localization": -1.0}, "localization must be a finite number >= 0"),
        ({"sampler": "hmc"}, "sampler must be one of sgld, averaged noise, mala"),
        ({"curvature": np.nan}, "curvature, if given, must be a finite number"),
        ({"batches": []}, r"batches must be a sequence of at least one batch.*\nPass list\(loader\)"),
        ({"batches": iter([None])}, "batches must be a sequence"),
        ({"batches": [None, None], "sampler": "mala"}, "'mala' needs one batch"),
        ({"rng": 0}, "rng must be a numpy.random.Generator"),
    ],
)
def test_settings_without_meaning_are_refused(wrong, message):
    loss, parameters = quadratic(np.ones(2))
    with pytest.raises(InputError, match=message):
        llc(loss, parameters, **{"batches": [None], "rng": rng(0), **wrong})
