"""Ablation of activation cells: identities, edits by hand, and what is refused."""

import re

import numpy as np
import pytest
import torch

from mechbp.errors import HookError, InputError
from mechbp.hooks import capture, edit
from mechbp.methods.patching.ablate import Mean, Resample, ablate, draw_partners
from mechbp.methods.patching.patch import patch
from mechbp.models.architectures import build_model
from mechbp.models.config import ModelConfig
from mechbp.randomness import rng

LENGTH = 5
HOOKS = ["blocks.*.hook_resid_mid", "blocks.*.hook_mlp_out", "blocks.*.attn.hook_z", "*hook_pattern", "blocks.0.mlp.hook_post"]


def tokens_for(n, seed):
    return torch.randint(0, 4, (n, LENGTH), generator=torch.Generator().manual_seed(seed))


TOKENS, REFERENCE = tokens_for(7, 1), tokens_for(9, 2)


def metric(logits):
    weights = torch.arange(1.0, LENGTH + 1, dtype=logits.dtype)
    return logits.log_softmax(dim=-1)[:, :, 1] @ weights * torch.arange(1.0, len(logits) + 1, dtype=logits.dtype)


def model_for(d_mlp=24):
    config = ModelConfig(2, 2, 16, d_mlp, "gelu", "LN", "bidirectional")
    return build_model(config, d_vocab=6, d_vocab_out=4, n_ctx=LENGTH, seed=0).to(torch.float64)


def by_hand(model, edits):
    with torch.no_grad(), edit(model, edits):
        return metric(model(TOKENS)).numpy()


@pytest.mark.parametrize("jointly", [True, False])
def test_a_constant_activation_is_its_own_mean(jointly):
    """Attention that only adds its bias, and positions: the mean is the value itself, where zero is not."""
    model = model_for()
    with torch.no_grad():
        model.blocks[0].attn.W_O.zero_()
        model.blocks[0].attn.b_O.copy_(torch.linspace(-1, 1, 16) ** 2)
    found = ablate(model, TOKENS, metric, "blocks.0.hook_attn_out", Mean(REFERENCE), jointly=jointly)
    np.testing.assert_allclose(found.changes, 0, rtol=0, atol=1e-12)
    assert np.abs(ablate(model, TOKENS, metric, "blocks.0.hook_attn_out", "zero", jointly=jointly).changes).max() > 1e-3
    positional = ablate(model, TOKENS, metric, "hook_pos_embed", Mean(REFERENCE), jointly=jointly)
    np.testing.assert_allclose(positional.changes, 0, rtol=0, atol=1e-12)


@pytest.mark.parametrize("jointly", [True, False])
def test_a_row_that_is_its_own_partner_changes_nothing(jointly):
    found = ablate(model_for(), TOKENS, metric, HOOKS, Resample(TOKENS, partners=np.arange(7)), jointly=jointly)
    np.testing.assert_array_equal(found.changes, np.zeros_like(found.ablated))


def test_zero_is_an_edit_by_hand():
    model = model_for()

    def cut(z):
        z[:, 2, 1] = 0
        return z

    found = ablate(model, TOKENS, metric, "blocks.1.attn.hook_z", "zero", jointly=False)
    np.testing.assert_array_equal(
        found.ablated[:, found.cells.index(("blocks.1.attn.hook_z", 2, 1))], by_hand(model, {"blocks.1.attn.hook_z": cut})
    )
    whole = {name: torch.zeros_like for name in ("blocks.0.hook_mlp_out", "blocks.1.hook_mlp_out")}
    joint = ablate(model, TOKENS, metric, "blocks.*.hook_mlp_out", "zero", jointly=True)
    np.testing.assert_array_equal(joint.ablated[:, 0], by_hand(model, whole))
    assert joint.distribution == "zero" and joint.partners is None and joint.ablated.shape == (7, 1)


def test_the_mean_is_that_of_the_reference_per_position():
    model, hook = model_for(), "blocks.0.hook_resid_mid"
    mean = capture(model, REFERENCE, hook)[hook].mean(dim=0)

    def cut(value):
        value[:, [1, 3]] = mean[[1, 3]]
        return value

    found = ablate(model, TOKENS, metric, hook, Mean(REFERENCE), jointly=False, positions=[(1, 3), -1])
    np.testing.assert_allclose(found.ablated[:, 0], by_hand(model, {hook: cut}), rtol=0, atol=1e-12)
    assert [cell.position for cell in found.cells] == [(1, 3), 4] and found.distribution.startswith("mean over 9 reference")


@pytest.mark.parametrize("batch_size", [512, 3])
def test_resampling_is_patching_from_the_recorded_partners(batch_size):
    model = model_for()
    found = ablate(model, TOKENS, metric, HOOKS[:4], Resample(REFERENCE, rng(0)), jointly=False, batch_size=batch_size)
    patched = patch(model, REFERENCE[torch.from_numpy(found.partners)], TOKENS, metric, HOOKS[:4])
    assert found.cells == patched.cells and found.partners.shape == (7,)
    np.testing.assert_allclose(found.ablated, patched.values, rtol=0, atol=1e-10)
    again = ablate(model, TOKENS, metric, HOOKS[0], Resample(REFERENCE, partners=found.partners), jointly=True)
    np.testing.assert_array_equal(again.partners, found.partners)
    assert "resampled from 9 reference sequences" in found.distribution


def test_partners_differ_from_the_example_and_are_drawn_evenly():
    tokens = np.repeat(np.array([[0, 1], [1, 0], [2, 2]]), 3000, axis=0)
    reference = np.array([[0, 1], [1, 0], [1, 1], [0, 1]])
    partners = draw_partners(tokens, reference, rng(0))
    assert (reference[partners] != tokens).any(axis=1).all()
    for start, allowed in ((0, [1, 2]), (3000, [0, 2, 3]), (6000, [0, 1, 2, 3])):
        counts = np.bincount(partners[start : start + 3000], minlength=4)
        expected = 3000 / len(allowed)
        assert all(abs(counts[row] - expected) < 5 * expected**0.5 for row in allowed)
    with pytest.raises(InputError, match="no reference sequence differs"):
        draw_partners(tokens, np.array([[1, 0], [1, 0]]), rng(0))
    assert (draw_partners(tokens[:3], np.array([[1, 0], [1, 0]]), rng(0)) < 2).all()


def test_results_carry_intervals_and_heads_can_be_picked():
    model = model_for()
    found = ablate(
        model, TOKENS, metric, ["blocks.0.attn.hook_z", "blocks.0.hook_attn_out"], "zero", jointly=False, heads=[1], rng=rng(1)
    )
    assert {cell.head for cell in found.cells} == {1, None} and len(found.cells) == 2 * LENGTH
    np.testing.assert_allclose(found.change.mean, found.changes.mean(axis=0), rtol=0, atol=1e-12)
    assert (
        (found.change.low <= found.change.mean).all() and (found.change.mean <= found.change.high).all() and found.change.n == 7
    )
    summary = found.to_dict()
    assert summary["change"]["n"] == 7 and summary["distribution"] == "zero"
    assert [tuple(cell.values()) for cell in summary["cells"]] == list(found.cells) and summary["jointly"] is False


def test_nothing_is_left_behind():
    model, tokens = model_for(), TOKENS.clone()
    before = [value.clone() for value in model.parameters()]
    ablate(model, tokens, metric, HOOKS, Resample(REFERENCE, rng(0)), jointly=True)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)) and torch.equal(tokens, TOKENS)
    assert not any(point._forward_hooks for point in model.hook_dict.values())


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        (dict(ablation="mean"), InputError, r"'zero', Mean\(reference_tokens\) or Resample\(reference_tokens, rng\), got 'mean'"),
        (dict(ablation=Mean(REFERENCE[:, :4])), InputError, "must have 5 positions like the tokens, got 4"),
        (dict(ablation=Resample(REFERENCE)), InputError, "either rng, to draw partners with, or partners"),
        (dict(ablation=Resample(REFERENCE, rng(0), np.arange(7))), InputError, "either rng, to draw partners with, or partners"),
        (dict(ablation=Resample(REFERENCE, partners=np.arange(3, 10))), InputError, "must be 7 row numbers in 0..8"),
        (dict(ablation=Resample(REFERENCE, partners=np.arange(6))), InputError, "must be 7 row numbers in 0..8"),
        (dict(hooks="blocks.0.attn.hook_result"), HookError, "did not fire"),
        (dict(hooks="blocks.*.hook_mpl_out"), HookError, "No hook matches"),
        (dict(heads=[2], hooks="blocks.0.attn.hook_z"), InputError, r"heads must be among \[0, 1\], at least one, got \[2\]"),
        (dict(heads=[0]), InputError, r"heads must be among none, at least one, got \[0\]"),
        (dict(positions=[5]), InputError, "positions must name positions 0..4"),
        (dict(hooks="blocks.0.ln1.hook_scale", metric=lambda logits: logits.mean()), InputError, "one value per example"),
        (dict(batch_size=0), InputError, "batch_size must be >= 1"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, error, message):
    full = dict(tokens=TOKENS, metric=metric, hooks="blocks.*.hook_resid_mid", ablation="zero", jointly=True) | arguments
    with pytest.raises(error, match=re.compile(message)):
        ablate(model_for(), **full)


def test_a_model_without_the_activation_is_an_error():
    with pytest.raises(HookError, match="hook_mlp_out did not fire"):
        ablate(model_for(d_mlp=0), TOKENS, metric, "blocks.*.hook_mlp_out", "zero", jointly=True)
