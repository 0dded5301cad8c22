"""The largest curvature against dense Hessians, and what follows from it."""

import numpy as np
import pytest
import torch

from mechbp.errors import InputError
from mechbp.methods.llc.calibration import Calibration, calibrate, top_curvature
from mechbp.methods.llc.objective import Objective
from mechbp.randomness import rng


def network(draw, d_in=3, hidden=4, n=30):
    x = torch.from_numpy(draw.standard_normal((2, n, d_in)))
    parameters = {
        "first": torch.from_numpy(draw.standard_normal((hidden, d_in))),
        "second": torch.from_numpy(draw.standard_normal(hidden)),
    }

    def loss(p, batch):
        return (torch.tanh(batch @ p["first"].T) @ p["second"] - batch.sum(dim=1)).square().mean()

    return loss, parameters, list(x)


@pytest.mark.parametrize("case", range(8))
def test_curvature_is_the_top_eigenvalue_of_the_mean_hessian(case):
    loss, parameters, batches = network(rng(case, "network"))
    objective = Objective.of(loss, parameters, batches[0])
    hessians = [torch.autograd.functional.hessian(lambda w, b=b: objective.at(w, b), objective.minimum) for b in batches]
    exact = np.linalg.eigvalsh(((hessians[0] + hessians[1]) / 2).numpy())[-1]
    found = calibrate(loss, parameters, batches, n_beta=10, localization=1, rng=rng(1)).curvature
    assert found <= exact * (1 + 1e-9) and found == pytest.approx(exact, rel=0.03)


def test_the_largest_curvature_is_found_beside_a_larger_negative_one():
    scale = torch.tensor([1.0, -5.0, 0.5, 0.0], dtype=torch.float64)
    objective = Objective.of(lambda p, _: (scale * p["w"] ** 2).sum() / 2, {"w": torch.zeros(4, dtype=torch.float64)}, None)
    assert top_curvature(objective, [None], rng(0)) == pytest.approx(1.0, rel=0.05)


def test_the_search_stops_once_the_curvature_is_found():
    """One direction far above a flat rest: a few products tell, and 30 are the most that are made."""
    made = []

    class Counted(list):
        def __iter__(self):
            made.append(1)
            return super().__iter__()

    scale = torch.cat([torch.tensor([100.0]), torch.linspace(0.5, 1.0, 199)]).double()
    objective = Objective.of(lambda p, _: (scale * p["w"] ** 2).sum() / 2, {"w": torch.zeros(200, dtype=torch.float64)}, None)
    assert top_curvature(objective, Counted([None]), rng(0)) == pytest.approx(100, rel=1e-3)
    assert 3 <= len(made) <= 8


def test_losses_without_curvature():
    flat = Objective.of(lambda p, _: p["w"].sum(), {"w": torch.ones(3)}, None)
    assert top_curvature(flat, [None], rng(0)) == 0.0

    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, w):
            ctx.save_for_backward(w)
            return (w * w).sum()

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, gradient):
            return 2 * gradient * ctx.saved_tensors[0]

    once = Objective.of(lambda p, _: Once.apply(p["w"]), {"w": torch.ones(3)}, None, vectorise=False)
    with pytest.raises(InputError, match="differentiated twice.*\n.*Pass curvature="):
        top_curvature(once, [None], rng(0))


def test_advice_bounds_what_it_says_it_bounds():
    advice = Calibration(curvature=2.0, n_beta=50.0, localization=1.0)
    assert advice.precision == 101
    assert advice.step_size * 101 == pytest.approx(0.1) and advice.exact_step_size * 101 == pytest.approx(1)
    assert advice.unstable_step_size * 101 == pytest.approx(4)
    assert 1 / (1 - advice.step_size * 101 / 4) - 1 < 0.026
    assert advice.burn_in(1e-4) == 20_000 and Calibration(2.0, 50.0, 100.0).burn_in(1e-4) == 200
    assert Calibration(-3.0, 50.0, 7.0).precision == 7, "a maximum does not make the localisation weaker"
    with pytest.raises(InputError, match="localization is 0"):
        Calibration(1.0, 1.0, 0.0).burn_in(0.1)
