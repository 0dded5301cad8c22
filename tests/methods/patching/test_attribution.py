"""Attribution patching and integrated gradients against finite differences, linear models, and exact patching."""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mechbp.errors import HookError, InputError
from mechbp.hooks import capture, edit
from mechbp.methods.patching.attribution import Attributions, attribution_patch, integrated_gradients, nodes
from mechbp.methods.patching.attribution_error import estimate_error
from mechbp.methods.patching.cells import index_of
from mechbp.methods.patching.patch import patch
from mechbp.models.architectures import build_model
from mechbp.models.config import ModelConfig
from mechbp.randomness import rng

LENGTH = 5
SITES = ["blocks.*.hook_resid_*", "blocks.*.hook_attn_out", "blocks.*.hook_mlp_out", "blocks.*.attn.hook_[qkvz]", "*hook_pattern"]


def tokens_for(n, seed):
    return torch.randint(0, 4, (n, LENGTH), generator=torch.Generator().manual_seed(seed))


CLEAN, CORRUPTED = tokens_for(4, 1), tokens_for(4, 2)


def metric(logits):
    weights = torch.arange(1.0, LENGTH + 1, dtype=logits.dtype)
    return logits.log_softmax(dim=-1)[:, :, 1] @ weights * torch.arange(1.0, len(logits) + 1, dtype=logits.dtype)


def linear(logits):
    return logits[:, -1, 1] - 2 * logits[:, 2, 0]


def model_for(seed=0, *, d_mlp=24, normalization="LN"):
    config = ModelConfig(2, 2, 16, d_mlp, "gelu", normalization, "bidirectional")
    return build_model(config, d_vocab=6, d_vocab_out=4, n_ctx=LENGTH, seed=seed).to(torch.float64)


class LinearModel(torch.nn.Module):
    """Two blocks that mix positions and features linearly, with TransformerLens's hook names."""

    def __init__(self):
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.embed, self.unembed = (torch.randn(shape, generator=draw, dtype=torch.float64) for shape in ((6, 8), (8, 4)))
        self.mix = torch.randn((2, LENGTH, LENGTH), generator=draw, dtype=torch.float64)
        names = [f"blocks.{layer}.hook_{name}" for layer in range(2) for name in ("resid_pre", "attn_out", "resid_post")]
        self.hook_dict = {name: torch.nn.Identity() for name in names}
        self.points, self.cfg = torch.nn.ModuleList(self.hook_dict.values()), SimpleNamespace()
        self.eval()

    def run_with_hooks(self, tokens, fwd_hooks):
        stream = self.embed[tokens]
        for layer in range(2):
            stream = self.hook_dict[f"blocks.{layer}.hook_resid_pre"](stream)
            out = self.hook_dict[f"blocks.{layer}.hook_attn_out"](self.mix[layer] @ stream)
            stream = self.hook_dict[f"blocks.{layer}.hook_resid_post"](stream + out)
        return stream @ self.unembed

    def run_with_cache(self, tokens):
        raise NotImplementedError


def test_attribution_patching_is_the_derivative_of_patching():
    """Central differences of the metric as each cell moves a little towards the donor."""
    model = model_for()
    found = attribution_patch(model, CLEAN, CORRUPTED, metric, SITES)
    assert found.cells == patch(model, CLEAN, CORRUPTED, metric, SITES).cells
    names = list(dict.fromkeys(cell.hook for cell in found.cells))
    base, donor = capture(model, CORRUPTED, names), capture(model, CLEAN, names)
    step = 1e-4
    for cell, estimate in list(zip(found.cells, found.estimates.T, strict=True))[::3]:
        change = torch.zeros_like(base[cell.hook])
        change[index_of(cell)] = (donor[cell.hook] - base[cell.hook])[index_of(cell)]
        ends = []
        for sign in (1, -1):
            with torch.no_grad(), edit(model, {cell.hook: lambda value, s=sign, c=change: value + s * step * c}):
                ends.append(metric(model(CORRUPTED)).numpy())
        np.testing.assert_allclose(estimate, (ends[0] - ends[1]) / (2 * step), rtol=0, atol=1e-6, err_msg=str(cell))


@pytest.mark.parametrize(
    "estimate", [attribution_patch, lambda *args, **options: integrated_gradients(*args, "hook", steps=1, **options)]
)
def test_both_are_exact_for_a_linear_model(estimate):
    for direction in ("denoising", "noising"):
        exact = patch(LinearModel(), CLEAN, CORRUPTED, linear, "*", direction=direction)
        found = estimate(LinearModel(), CLEAN, CORRUPTED, linear, "*", direction=direction)
        assert found.cells == exact.cells and np.abs(exact.effects).max() > 1
        np.testing.assert_allclose(found.estimates, exact.effects, rtol=0, atol=1e-10)
        np.testing.assert_allclose(found.normalized_effect.mean, exact.normalized_effect.mean, rtol=0, atol=1e-10)


@pytest.mark.parametrize("rule, steps", [("gauss-legendre", 16), ("midpoint", 100)])
def test_integrated_gradients_of_the_embedding_sum_to_the_whole_change(rule, steps):
    model = model_for()
    found = integrated_gradients(model, CLEAN, CORRUPTED, metric, "blocks.0.hook_resid_pre", "hook", steps=steps, rule=rule)
    gap = found.donor - found.base
    np.testing.assert_allclose(found.estimates.sum(axis=1), gap, rtol=0, atol=1e-3 * np.abs(gap).max())
    np.testing.assert_allclose(found.completeness_error[:, 0], found.estimates.sum(axis=1) - gap, rtol=0, atol=1e-10)


def test_more_steps_shrink_the_completeness_error_which_also_holds_for_unlisted_cells():
    model = model_for()
    run = lambda **options: integrated_gradients(model, CLEAN, CORRUPTED, metric, "blocks.1.hook_resid_pre", "hook", **options)  # noqa: E731
    errors = [np.abs(run(steps=steps).completeness_error).max() for steps in (1, 4, 16)]
    assert errors[0] > 10 * errors[1] > 100 * errors[2]
    few = run(steps=4, positions=[1, (2, 3)])
    whole = run(steps=4)
    np.testing.assert_allclose(few.estimates[:, 0], whole.estimates[:, 1], rtol=0, atol=1e-12)
    np.testing.assert_allclose(few.estimates[:, 1], whole.estimates[:, 2:4].sum(axis=1), rtol=0, atol=1e-12)
    np.testing.assert_allclose(few.completeness_error, whole.completeness_error, rtol=0, atol=1e-12)


@pytest.mark.parametrize("hooks", ["blocks.1.hook_attn_out", "blocks.0.attn.hook_k", "blocks.1.attn.hook_pattern"])
def test_each_cell_along_its_own_path_gives_the_exact_patching_effect(hooks):
    model = model_for()
    found = integrated_gradients(model, CLEAN, CORRUPTED, metric, hooks, "cell", steps=12)
    exact = patch(model, CLEAN, CORRUPTED, metric, hooks)
    assert found.cells == exact.cells and found.completeness_error.shape == found.estimates.shape
    np.testing.assert_allclose(found.estimates, exact.effects, rtol=0, atol=1e-4)
    np.testing.assert_allclose(found.completeness_error, found.estimates - exact.effects, rtol=0, atol=1e-10)


@pytest.mark.parametrize("positions, heads", [([(0, 1), -1], True), (None, False)])
def test_cells_are_those_of_patch_and_joint_cells_add_up(positions, heads):
    model = model_for()
    found = attribution_patch(model, CLEAN, CORRUPTED, metric, SITES, positions=positions, heads=heads)
    assert found.cells == patch(model, CLEAN, CORRUPTED, metric, SITES, positions=positions, heads=heads).cells
    single = attribution_patch(model, CLEAN, CORRUPTED, metric, SITES, positions=range(LENGTH))
    for cell, estimate in zip(found.cells, found.estimates.T, strict=True):
        at = set(range(LENGTH)) if cell.position is None else set(np.atleast_1d(cell.position))
        parts = [c.hook == cell.hook and c.position in at and cell.head in (None, c.head) for c in single.cells]
        np.testing.assert_allclose(estimate, single.estimates[:, parts].sum(axis=1), rtol=0, atol=1e-12)


def test_batches_change_nothing():
    model = model_for()
    for run in (attribution_patch, lambda *a, **k: integrated_gradients(*a, "hook", steps=3, **k)):
        one, other = (run(model, CLEAN, CORRUPTED, metric, SITES[:2], batch_size=size).estimates for size in (128, 3))
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


def test_attribution_patching_takes_two_forward_passes():
    model, rows = model_for(), []
    model.hook_dict["blocks.0.hook_resid_pre"].register_forward_hook(lambda point, inputs, output: rows.append(len(output)))
    attribution_patch(model, CLEAN, CORRUPTED, metric, SITES)
    assert rows == [4, 4]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad, torch.inference_mode])
@pytest.mark.parametrize("run", [attribution_patch, lambda *a: integrated_gradients(*a, "hook", steps=2)])
def test_the_model_and_the_gradient_mode_stay_as_they_were(run, mode):
    model = model_for()
    parameters = dict(model.named_parameters())
    parameters["embed.W_E"].requires_grad_(False)
    parameters["unembed.W_U"].grad = torch.ones_like(parameters["unembed.W_U"])
    before = {name: (p.clone(), p.requires_grad, None if p.grad is None else p.grad.clone()) for name, p in parameters.items()}
    with mode():
        state = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        found = run(model, CLEAN.clone(), CORRUPTED.clone(), metric, "blocks.*.hook_resid_pre")
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == state
        with pytest.raises(ZeroDivisionError):
            run(model, CLEAN, CORRUPTED, lambda logits: 1 / 0, "blocks.*.hook_resid_pre")
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == state
    assert np.abs(found.estimates).max() > 0.01 and not model.training
    for name, (value, requires_grad, gradient) in before.items():
        assert torch.equal(parameters[name], value) and parameters[name].requires_grad == requires_grad
        mine = parameters[name].grad
        assert mine is None if gradient is None else torch.equal(mine, gradient)
    assert not any(point._forward_hooks for point in model.hook_dict.values())


def test_models_without_trainable_parameters_and_hooks_off_the_way_to_the_output():
    model = model_for().requires_grad_(False)
    expected = attribution_patch(model_for(), CLEAN, CORRUPTED, metric, SITES[0]).estimates
    np.testing.assert_array_equal(attribution_patch(model, CLEAN, CORRUPTED, metric, SITES[0]).estimates, expected)


def test_nodes_integrate_polynomials():
    for rule, degree in (("gauss-legendre", 9), ("midpoint", 1)):
        at, weights = nodes(5, rule)
        assert ((at > 0) & (at < 1)).all()
        for power in range(degree + 1):
            assert abs(weights @ at**power - 1 / (power + 1)) < 1e-14


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        (dict(hooks="blocks.*.hook_rezid"), HookError, "No hook matches"),
        (dict(hooks="blocks.0.attn.hook_result"), HookError, "never fired"),
        (dict(direction="up"), InputError, "need direction in"),
        (dict(batch_size=0), InputError, "batch_size >= 1"),
        (dict(positions=[5]), InputError, "positions must name positions 0..4"),
        (dict(positions=[]), InputError, "positions is empty"),
        (dict(corrupted=tokens_for(2, 2)), InputError, r"one shape, got \[4, 5\] and \[2, 5\]"),
        (dict(metric=lambda logits: logits.mean()), InputError, "one value per example"),
        (dict(metric=lambda logits: logits[:, 0, 0].detach()), InputError, "metric must be differentiable"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, error, message):
    full = dict(clean=CLEAN, corrupted=CORRUPTED, metric=metric, hooks="blocks.*.hook_resid_pre") | arguments
    for run in (attribution_patch, lambda **k: integrated_gradients(along="hook", **k)):
        with pytest.raises(error, match=re.compile(message)):
            run(model=model_for(), **full)


@pytest.mark.parametrize("options", [dict(along="line"), dict(rule="simpson"), dict(steps=0)])
def test_paths_that_are_none_are_refused(options):
    full = dict(along="hook") | options
    with pytest.raises(InputError, match="need along in"):
        integrated_gradients(model_for(), CLEAN, CORRUPTED, metric, "blocks.*.hook_resid_pre", **full)


# agreement


def with_estimates(exact, estimates):
    return Attributions("planted", exact.direction, exact.cells, estimates, exact.base, exact.donor, *[exact.gap] * 3)


def test_agreement_of_planted_estimates():
    exact = patch(model_for(), tokens_for(40, 1), tokens_for(40, 2), linear, SITES[:3])
    gap = float(exact.gap.mean)
    same = estimate_error(with_estimates(exact, exact.effects), exact, rng(0))
    assert all(abs(float(getattr(same, name).mean) - 1) < 1e-12 for name in ("pearson", "spearman", "slope", "sign_agreement"))
    assert float(same.largest_error.mean) == float(same.share_off.mean) == 0
    half = estimate_error(with_estimates(exact, exact.effects / 2), exact, rng(0))
    assert abs(float(half.slope.mean) - 0.5) < 1e-12 and abs(float(half.slope.high) - 0.5) < 1e-12
    assert abs(float(half.largest_error.mean) - np.abs(exact.normalized_effect.mean).max() / 2) < 1e-12
    assert float(half.share_off.mean) == np.mean(np.abs(exact.normalized_effect.mean) / 2 > 0.05) > 0
    opposite = estimate_error(with_estimates(exact, -exact.effects), exact, rng(0))
    assert float(opposite.sign_agreement.mean) == 0 and abs(float(opposite.spearman.mean) + 1) < 1e-12
    off = exact.effects.copy()
    off[:, 7] += 3 * gap
    one = estimate_error(with_estimates(exact, off), exact, rng(0))
    assert one.worst_cell == 7 and abs(float(one.largest_error.mean) - 3) < 1e-9 and float(one.share_off.mean) == 1 / one.n_cells
    assert one.largest_error.low < 2.9 and one.largest_error.high > 3.1  # the gap is resampled too
    assert one.pearson.low <= one.pearson.mean <= one.pearson.high < 1
    assert one.to_dict()["pearson"]["n"] == 40 and one.to_dict()["worst_cell"] == 7


def test_intervals_stay_within_what_a_measure_can_be():
    """The spread is taken from resamples and put about the estimate, which may lie near an end of what there is."""
    exact = patch(model_for(), tokens_for(40, 1), tokens_for(40, 2), linear, SITES[:3])
    noise = rng(0, "noise").normal(size=exact.effects.shape) * exact.effects.std()
    ends = []
    for share in (1.0, -1.0):
        found = estimate_error(with_estimates(exact, share * exact.effects + noise / 20), exact, rng(0))
        for name, least in (("pearson", -1), ("spearman", -1), ("sign_agreement", 0), ("share_off", 0)):
            interval = getattr(found, name)
            assert least <= interval.low <= interval.high <= 1, name
        ends += [float(found.sign_agreement.low), float(found.sign_agreement.high)]
    assert {0.0, 1.0} <= {*ends}, "ends that had to be cut"


def test_agreement_refuses_other_cells_and_other_pairs():
    exact = patch(model_for(), CLEAN, CORRUPTED, metric, "blocks.*.hook_resid_pre")
    other = attribution_patch(model_for(), CLEAN, CORRUPTED, metric, "blocks.*.hook_resid_post")
    with pytest.raises(InputError, match="the same cells"):
        estimate_error(other, exact, rng(0))
    swapped = attribution_patch(model_for(), CORRUPTED, CLEAN, metric, "blocks.*.hook_resid_pre")
    with pytest.raises(InputError, match="not measured on the same pairs"):
        estimate_error(swapped, exact, rng(0))
    spelled = replace(exact, direction="".join(exact.direction))  # another text of the same letters, as one read from a file
    assert estimate_error(with_estimates(spelled, exact.effects), exact, rng(0)).largest_error.mean == 0
    with pytest.raises(InputError, match="the same cells"):
        estimate_error(with_estimates(replace(exact, direction="noising"), exact.effects), exact, rng(0))
    with pytest.raises(InputError, match="tolerance must be > 0"):
        estimate_error(
            attribution_patch(model_for(), CLEAN, CORRUPTED, metric, "blocks.*.hook_resid_pre"), exact, rng(0), tolerance=0.0
        )
