"""The sampler, step by step: trajectories written out in NumPy, the order of batches, and what stops a run."""

import numpy as np
import pytest
import torch

from mechbp.errors import ChainDiverged, InputError
from mechbp.methods.llc.estimate import llc
from mechbp.methods.llc.known_losses import linear_regression, quadratic
from mechbp.methods.llc.objective import Objective
from mechbp.methods.llc.sgld import ACCEPTANCE_CHECKS, batch_order
from mechbp.randomness import rng

SETTINGS = {"n_beta": 20.0, "localization": 3.0, "step_size": 4e-3, "chains": 3, "burn_in": 7, "draws": 30}


def regression(label, n=60, d=4, batches=5):
    draw = rng(0, "sgld", label)
    loss, parameters, (x, y) = linear_regression(draw.standard_normal((n, d)), 1.0, draw)
    off = {"weight": parameters["weight"] + 0.1}  # no minimum of the whole loss, so that its mean gradient counts too
    size = n // batches
    return loss, off, list(zip(x.split(size), y.split(size), strict=True))


def streams(seed):
    """The streams of one run: what `llc` draws from its generator, and the names under it."""
    base = int(rng(seed, "run").integers(2**63))
    return rng(base, "llc", "batches"), rng(base, "llc", "noise"), rng(base, "llc", "acceptance")


def by_hand(parameters, batches, seed, *, sampler="sgld", centred=False, steps=37, chains=3):
    """Losses, losses at w* and distances of every step, from the update as the paper writes it."""
    order_rng, noise_rng, accept_rng = streams(seed)
    order = np.concatenate([order_rng.permutation(len(batches)) for _ in range(-(-steps // len(batches)))])[:steps]
    data = [(x.numpy(), y.numpy()) for x, y in batches]
    w_star = parameters["weight"].numpy()
    n_beta, gamma, eps = SETTINGS["n_beta"], SETTINGS["localization"], SETTINGS["step_size"]

    def value(w, index):
        x, y = data[index]
        return np.mean((x @ w - y) ** 2) / 2

    def gradient(w, index):
        x, y = data[index]
        found = x.T @ (x @ w - y) / len(x)
        if centred:
            found = found - x.T @ (x @ w_star - y) / len(x)
            found = found + np.mean([a.T @ (a @ w_star - b) / len(a) for a, b in data], axis=0)
        return found

    def force(w, index):
        return n_beta * gradient(w, index) + gamma * (w - w_star)

    def energy(w, index):
        return n_beta * value(w, index) + gamma / 2 * np.sum((w - w_star) ** 2)

    points = np.tile(w_star, (chains, 1))
    last = noise_rng.standard_normal(points.shape) if sampler == "averaged noise" else None
    losses, minimum, distances, chances = [], [], [], []
    for index in order:
        losses.append([value(w, index) for w in points])
        minimum.append(value(w_star, index))
        distances.append([np.linalg.norm(w - w_star) for w in points])
        fresh = noise_rng.standard_normal(points.shape)
        forces = np.array([force(w, index) for w in points])
        proposal = points - eps / 2 * forces + np.sqrt(eps) * fresh
        back = np.array([force(w, index) for w in proposal])
        log_ratio = np.array([energy(a, index) - energy(b, index) for a, b in zip(points, proposal, strict=True)])
        log_ratio -= np.sum((points - proposal + eps / 2 * back) ** 2, axis=1) / (2 * eps)
        log_ratio += np.sum((proposal - points + eps / 2 * forces) ** 2, axis=1) / (2 * eps)
        chances.append(np.exp(np.minimum(log_ratio, 0)))
        if sampler == "averaged noise":
            points = points - eps / 2 * forces + np.sqrt(eps) * (last + fresh) / 2
            last = fresh
        elif sampler == "mala":
            points = np.where((accept_rng.random(chains) < chances[-1])[:, None], proposal, points)
        else:
            points = proposal
    return np.array(losses), np.array(minimum), np.array(distances), np.array(chances)


@pytest.mark.parametrize("vectorise", [True, False])
@pytest.mark.parametrize(
    ("sampler", "centred", "n_batches"),
    [("sgld", False, 5), ("sgld", True, 5), ("averaged noise", False, 5), ("averaged noise", True, 4), ("mala", False, 1)],
)
def test_every_step_is_the_one_written_down(sampler, centred, n_batches, vectorise):
    loss, parameters, batches = regression(sampler, batches=n_batches)
    found = llc(
        loss,
        parameters,
        batches,
        rng=rng(3, "run"),
        sampler=sampler,
        centre_gradients=centred,
        curvature=1.0,
        vectorise=vectorise,
        **SETTINGS,
    )
    losses, minimum, distances, chances = by_hand(parameters, batches, 3, sampler=sampler, centred=centred)
    np.testing.assert_allclose(found.losses, losses, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.at_minimum, minimum, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.distances, distances, rtol=0, atol=1e-12)
    checks = np.unique(np.linspace(7, 36, ACCEPTANCE_CHECKS).astype(int))
    kept = chances[7:] if sampler == "mala" else chances[checks]
    np.testing.assert_allclose(found.acceptance_checks, kept, rtol=0, atol=1e-9)
    per_chain = 20 * (losses - minimum[:, None])[7:].mean(axis=0)
    np.testing.assert_allclose(found.per_chain, per_chain, rtol=0, atol=1e-11)
    assert found.estimate == pytest.approx(per_chain.mean(), abs=1e-11)
    assert found.standard_error == pytest.approx(np.sqrt(per_chain.var(ddof=1) / 3), abs=1e-11)
    start = np.mean([(0.5 * (x @ parameters["weight"] - y).square().mean()).item() for x, y in batches])
    assert found.start_loss == pytest.approx(start, abs=1e-12)
    assert found.plain_estimate == pytest.approx(20 * (losses[7:].mean() - start), abs=1e-11)


def test_every_batch_comes_once_an_epoch_in_a_new_order():
    order = batch_order(6, 100, rng(0))
    epochs = order[:96].reshape(16, 6)
    assert np.array_equal(np.sort(epochs, axis=1), np.tile(np.arange(6), (16, 1)))
    assert len({tuple(epoch) for epoch in epochs}) > 12
    assert np.array_equal(batch_order(6, 40, rng(0)), order[:40]), "more draws do not change the first ones"


def test_a_seed_fixes_every_number_and_nothing_else_is_touched():
    loss, parameters, batches = regression("seed")
    before = {name: value.clone() for name, value in parameters.items()}
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, second, other = (llc(loss, parameters, batches, rng=rng(seed, "run"), **SETTINGS) for seed in (1, 1, 2))
    assert np.array_equal(first.losses, second.losses) and first.to_dict(traces=True) == second.to_dict(traces=True)
    assert not np.array_equal(first.losses, other.losses)
    assert torch.equal(state, torch.get_rng_state()) and np.array_equal(numpy_state, np.random.get_state()[1])
    assert all(torch.equal(parameters[name], value) and not value.requires_grad for name, value in before.items())


def test_the_curvature_given_or_measured_leaves_the_chains_alone():
    loss, parameters, batches = regression("curvature")
    measured = llc(loss, parameters, batches, rng=rng(1, "run"), **SETTINGS)
    given = llc(loss, parameters, batches, rng=rng(1, "run"), curvature=measured.calibration.curvature, **SETTINGS)
    assert np.array_equal(measured.losses, given.losses)


def test_a_loss_that_cannot_be_vectorised_runs_in_a_loop():
    loss, parameters, batches = regression("loop")

    def branching(p, batch):
        value = loss(p, batch)
        return value if value.item() >= 0 else -value

    looped = llc(branching, parameters, batches, rng=rng(1, "run"), **SETTINGS)
    vectorised = llc(loss, parameters, batches, rng=rng(1, "run"), **SETTINGS)
    assert vectorised.vectorised and not looped.vectorised
    np.testing.assert_allclose(looped.losses, vectorised.losses, rtol=0, atol=1e-12)
    with pytest.raises(InputError, match="cannot be vectorised over chains"):
        llc(branching, parameters, batches, rng=rng(1, "run"), vectorise=True, **SETTINGS)


def test_parameters_of_several_shapes_and_of_float32():
    draw = rng(0, "shapes")
    parameters = {name: torch.from_numpy(draw.standard_normal(shape)) for name, shape in (("a", (2, 3)), ("b", ()), ("c", (4,)))}

    def loss(p, _):
        assert p["a"].shape == (2, 3) and p["b"].shape == () and p["c"].shape == (4,)
        return sum(((value - parameters[name].to(value)) ** 2).sum() for name, value in p.items())

    double = llc(loss, parameters, [None], rng=rng(0), curvature=2.0, **SETTINGS)
    single = llc(loss, {k: v.float() for k, v in parameters.items()}, [None], rng=rng(0), curvature=2.0, **SETTINGS)
    assert double.n_parameters == 11 and 3 < double.estimate < 8
    assert np.all(single.losses == single.losses.astype(np.float32)), "the dtype is that of the parameters"


def test_nan_names_chain_and_draw():
    count = [0]

    def loss(p, _):
        count[0] += 1
        return p["w"].square().sum() * (np.nan if count[0] > 60 else 1.0)

    with pytest.raises(ChainDiverged, match=r"llc: chain (\d), draw (\d+): the loss is nan\. No chain is averaged") as caught:
        llc(loss, {"w": torch.zeros(2)}, [None], rng=rng(0), curvature=2.0, vectorise=False, **SETTINGS)
    # Three calls before the first step: two on checking, one at w*. Then three a step, and three at each of the checks.
    assert (caught.value.chain, caught.value.draw) == _when(60)


def _when(calls):
    checks = set(np.unique(np.linspace(7, 36, ACCEPTANCE_CHECKS).astype(int)).tolist())
    used = 3
    for step in range(37):
        if used + 3 > calls:
            return max(calls - used, 0), step - 7  # a check that meets NaN accepts nothing; the next step stops
        used += 6 if step in checks else 3
    raise AssertionError


def test_a_loss_out_of_hand_names_chain_and_burn_in_step():
    w4 = {"w": torch.zeros(3, dtype=torch.float64)}  # no curvature at w*, so that no step looks too large there
    hot = {**SETTINGS, "step_size": 1.0, "burn_in": 30}
    with pytest.raises(ChainDiverged, match=r"chain \d, burn-in step \d+: the loss is .*, above the limit of") as caught:
        llc(lambda p, _: (p["w"] ** 4).sum(), w4, [None], rng=rng(0), **hot)
    assert -30 <= caught.value.draw < 0
    loss, parameters = quadratic(np.ones(3))
    with pytest.raises(ChainDiverged, match="above the limit of 0.01"):
        llc(loss, parameters, [None], rng=rng(0), loss_limit=0.01, **SETTINGS)
    start = lambda p, _: 0.5 + (p["w"] ** 2).sum()  # noqa: E731
    found = llc(start, parameters, [None], rng=rng(0), **SETTINGS)
    assert found.losses.max() < 5, "ten times the loss at w* is no accident here"


def test_objectives_that_make_no_sense_are_refused():
    good = {"w": torch.ones(2)}
    cases = [
        (lambda p, _: p["w"].sum(), {}, "at least one tensor"),
        (lambda p, _: p["w"].sum(), {"w": torch.ones(2, dtype=torch.int64)}, "'w' must be a real floating-point tensor"),
        (lambda p, _: p["w"].sum(), {"w": torch.ones(2), "v": torch.ones(1, dtype=torch.float64)}, "share one dtype"),
        (lambda p, _: p["w"], good, r"must return one number, the mean over the batch, got shape \[2\]"),
        (lambda p, _: 1.0, good, "must return one number, .* got float"),
        (lambda p, _: p["w"].sum() * np.inf, good, "inf at the parameters given"),
        (lambda p, _: torch.ones(()), good, "does not depend on the parameters"),
        (lambda p, _: torch.nn.functional.dropout(p["w"], 0.5).sum() + torch.rand(()), good, "Switch dropout off"),
        ("loss", good, "loss must be a function"),
    ]
    for loss, parameters, message in cases:
        with pytest.raises(InputError, match=message):
            Objective.of(loss, parameters, None)
