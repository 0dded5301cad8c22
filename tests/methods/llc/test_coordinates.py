"""Units of parameters: the same function at the same point, and estimates that no rescaling of a scale-free network moves."""

import numpy as np
import pytest
import torch

from mechbp.errors import InputError
from mechbp.methods.llc.coordinates import in_units, tensor_units
from mechbp.methods.llc.estimate import llc
from mechbp.methods.llc.known_losses import quadratic
from mechbp.randomness import rng


def test_biases_take_the_unit_of_their_matrix():
    found = tensor_units(
        {
            "attn.W_Q": torch.tensor([3.0, -4.0]),
            "attn.b_Q": torch.zeros(2),
            "ln.w": torch.full((5,), 2.0),
            "ln.b": torch.ones(5),
            "out.weight": torch.full((2, 2), 7.0),
            "out.bias": torch.zeros(2),
            "b_alone": torch.ones(3),
            "zeros": torch.zeros(3),
        }
    )
    size = 12.5**0.5
    assert found == pytest.approx(
        {
            "attn.W_Q": size,
            "attn.b_Q": size,
            "ln.w": 2,
            "ln.b": 2,
            "out.weight": 7,
            "out.bias": 7,
            "b_alone": 1,
            "zeros": 1,
        }
    )


def test_the_function_is_the_same_at_the_same_point():
    parameters = {"a": torch.tensor([1.0, 2.0]), "b_a": torch.tensor([5.0])}
    loss = lambda p, batch: (p["a"].square().sum() + 3 * p["b_a"].sum()) * batch  # noqa: E731
    scaled, counted = in_units(loss, parameters, {"a": 4.0, "b_a": 0.5})
    assert scaled(counted, 2.0) == loss(parameters, 2.0)
    assert counted["a"].tolist() == [0.25, 0.5] and counted["b_a"].tolist() == [10.0]
    assert parameters["a"].tolist() == [1.0, 2.0]


def test_a_quadratic_is_counted_as_computed():
    """With unit u, curvature h becomes h u^2: lambda = 1/2 sum n h u^2 / (n h u^2 + gamma)."""
    loss, parameters = quadratic(np.array([1.0, 4.0]))
    ((name, value),) = parameters.items()
    settings = {"n_beta": 50.0, "localization": 20.0, "step_size": 2e-4, "chains": 200, "burn_in": 800, "draws": 400}
    found = llc(*in_units(loss, parameters, {name: 3.0}), [None], rng=rng(0), sampler="averaged noise", **settings)
    truth = sum(0.5 * 50 * h * 9 / (50 * h * 9 + 20) for h in (1.0, 4.0))
    assert value.shape == (2,)
    assert abs(found.estimate - truth) < 3 * found.standard_error < 0.1


def scale_free(parameters, batch):
    """A loss that reads only the direction of w, as what a layer norm reads."""
    direction = parameters["W"] / parameters["W"].norm()
    return (direction - batch).square().mean()


@pytest.mark.parametrize("relative", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_shrinking_what_a_layer_norm_reads_moves_the_absolute_estimate_only(relative):
    start = torch.from_numpy(rng(0).standard_normal(8))
    target = start / start.norm()
    estimates = []
    for size in (1.0, 0.1):
        loss, parameters = scale_free, {"W": start * size}
        if relative:
            loss, parameters = in_units(loss, parameters, tensor_units(parameters))
        settings = {"n_beta": 100.0, "localization": 100.0, "step_size": 5e-5, "chains": 100, "burn_in": 400, "draws": 400}
        estimates.append(llc(loss, parameters, [target], rng=rng(1), **settings))
    one, other = (found.estimate for found in estimates)
    assert (abs(one / other - 1) < 1e-6) if relative else (other > 3 * one)


def test_refusals():
    with pytest.raises(InputError, match="'W' is not finite"):
        tensor_units({"W": torch.tensor([1.0, float("nan")])})
    for units in ({}, {"W": 0.0}, {"W": float("inf")}, {"W": 1.0, "V": 1.0}):
        with pytest.raises(InputError, match="one positive number"):
            in_units(scale_free, {"W": torch.ones(2)}, units)
