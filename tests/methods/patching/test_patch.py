"""Activation patching: exact against TransformerLens's own loop, against identities, and on a circuit built by hand."""

import re
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import mechbp
from mechbp.errors import HookError, InputError
from mechbp.hooks import capture, edit
from mechbp.methods.patching import sites as patch_sites
from mechbp.methods.patching.patch import patch
from mechbp.models.architectures import build_model
from mechbp.models.config import ModelConfig
from mechbp.randomness import rng

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import transformer_lens.patching as peer

ALL_SITES = ["blocks.*.hook_resid_*", "blocks.*.hook_attn_out", "blocks.*.hook_mlp_out", "blocks.*.attn.hook_[qkvz]"]


def tokens_for(n, length, seed):
    return torch.randint(0, 4, (n, length), generator=torch.Generator().manual_seed(seed))


def metric(logits):
    """Log-odds at the last position between the symbols 1 and 0, weighted by example, so that a mixed-up order shows."""
    return (logits[:, -1, 1] - logits[:, -1, 0]) * torch.arange(1.0, len(logits) + 1)


def model_for(seed=0, *, heads=2, layers=3, length=6, d_mlp=32, normalization="LN", attention="bidirectional"):
    config = ModelConfig(layers, heads, 16, d_mlp, "gelu", normalization, attention)
    return build_model(config, d_vocab=6, d_vocab_out=4, n_ctx=length, seed=seed)


class WithoutRestart(nn.Module):
    """The same model behind the bare protocol: no start_at_layer, so every patched run is a full forward pass."""

    def __init__(self, model):
        super().__init__()
        self.model, self.cfg, self.hook_dict = model, model.cfg, dict(model.hook_dict)
        self.eval()

    def forward(self, tokens):
        return self.model(tokens)

    def run_with_hooks(self, tokens, fwd_hooks=()):
        return self.model.run_with_hooks(tokens, fwd_hooks=list(fwd_hooks))

    def run_with_cache(self, tokens):
        return self.model.run_with_cache(tokens)


# the same numbers as elsewhere


@pytest.mark.parametrize("attention", [pytest.param("bidirectional", marks=pytest.mark.slow), "causal"])
def test_equals_transformer_lens_on_the_same_sweep(attention, monkeypatch):
    monkeypatch.setattr(peer, "tqdm", lambda rows: rows)
    model, clean, corrupted = model_for(attention=attention), tokens_for(5, 6, 1), tokens_for(5, 6, 2)
    cache = model.run_with_cache(clean)[1]
    sweeps = {
        "hook_resid_pre": (peer.get_act_patch_resid_pre, None),
        "hook_resid_mid": (peer.get_act_patch_resid_mid, None),
        "hook_attn_out": (peer.get_act_patch_attn_out, None),
        "hook_mlp_out": (peer.get_act_patch_mlp_out, None),
        "attn.hook_z": (peer.get_act_patch_attn_head_out_by_pos, None),
        "attn.hook_q": (peer.get_act_patch_attn_head_q_by_pos, None),
        "attn.hook_k": (peer.get_act_patch_attn_head_k_by_pos, None),
        "attn.hook_v": (peer.get_act_patch_attn_head_v_by_pos, None),
        "attn.hook_pattern": (peer.get_act_patch_attn_head_pattern_all_pos, None),
        "attn.hook_pattern by query": (peer.get_act_patch_attn_head_pattern_by_pos, range(6)),
    }
    for site, (sweep, positions) in sweeps.items():
        with torch.no_grad():
            theirs = sweep(model, corrupted, cache, lambda logits: metric(logits).mean())
        ours = patch(model, clean, corrupted, metric, f"blocks.*.{site.split(' ')[0]}", positions=positions, batch_size=12)
        labels = list(zip(ours.hooks, ours.positions, ours.heads, strict=True))
        assert len(set(labels)) == theirs.numel() == len(labels)
        for (hook, position, head), value in zip(labels, ours.values.mean(axis=0), strict=True):
            index = [int(hook.split(".")[1]), position, head]
            if site.endswith("by query"):
                index = [index[0], head, position]
            assert abs(value - theirs[tuple(i for i in index if i is not None)].item()) < 1e-5, (site, index)


@pytest.mark.parametrize("d_mlp, normalization", [(32, "LN"), (0, "none")])
def test_restarting_equals_full_forward_passes(d_mlp, normalization):
    model, clean, corrupted = model_for(d_mlp=d_mlp, normalization=normalization), tokens_for(4, 6, 1), tokens_for(4, 6, 2)
    sites = [pattern for pattern in ALL_SITES if d_mlp or "mlp" not in pattern]
    for positions in (None, [(0, 1, 2), (3, 4, 5), -1]):
        fast = patch(model, clean, corrupted, metric, [*sites, "*hook_pattern"], positions=positions)
        slow = patch(WithoutRestart(model), clean, corrupted, metric, [*sites, "*hook_pattern"], positions=positions)
        assert fast.cells == slow.cells
        np.testing.assert_allclose(fast.values, slow.values, rtol=0, atol=2e-5)


def test_a_restart_that_answers_a_little_differently_is_not_believed():
    model, sweep = model_for(), (tokens_for(4, 6, 1), tokens_for(4, 6, 2), metric, "blocks.*.hook_resid_pre")
    expected, forward = patch(model, *sweep).values, model.forward

    def tilted(inputs, start_at_layer=None, stop_at_layer=None, **options):
        found = forward(inputs, start_at_layer=start_at_layer, stop_at_layer=stop_at_layer, **options)
        return found if start_at_layer is None or stop_at_layer is not None else found + 0.01 * torch.arange(4.0)

    model.forward = tilted
    np.testing.assert_allclose(patch(model, *sweep).values, expected, rtol=0, atol=2e-5)


def test_a_patched_run_costs_only_the_blocks_after_the_patch():
    model, rows = model_for(), {layer: 0 for layer in range(3)}
    for layer in rows:  # counts sequences through each block
        model.hook_dict[f"blocks.{layer}.hook_resid_pre"].register_forward_hook(
            lambda point, inputs, output, layer=layer: rows.update({layer: rows[layer] + len(output)})
        )
    counts = {}
    for positions in ((0,), range(6)):
        rows.update(dict.fromkeys(rows, 0))
        patch(model, tokens_for(2, 6, 1), tokens_for(2, 6, 2), metric, "blocks.1.hook_attn_out", positions=positions)
        counts[len(positions)] = dict(rows)
    assert {layer: counts[6][layer] - counts[1][layer] for layer in rows} == {0: 0, 1: 0, 2: 5 * 2}


def test_a_block_that_spreads_patches_is_found_out(monkeypatch):
    """A key patch is not local: a table that says so by mistake must not change any number."""
    model, clean, corrupted = model_for(), tokens_for(4, 6, 1), tokens_for(4, 6, 2)
    right = patch(model, clean, corrupted, metric, "blocks.*.attn.hook_k").values
    monkeypatch.setitem(patch_sites.SITES, "hook_k", patch_sites.Site("position head", local=True))
    np.testing.assert_array_equal(patch(model, clean, corrupted, metric, "blocks.*.attn.hook_k").values, right)


def test_a_block_that_spreads_patches_to_the_right_only_is_found_out(monkeypatch):
    """The pair agrees at position 0 and in its first row: neither shows that keys of a causal block reach later positions."""
    model, clean = model_for(attention="causal"), tokens_for(4, 6, 1)
    corrupted = clean.clone() if isinstance(clean, torch.Tensor) else clean.copy()
    corrupted[1:, 2] = (corrupted[1:, 2] + 1) % 4
    last = lambda logits: logits[:, -1, 0]  # noqa: E731
    right = patch(model, clean, corrupted, last, "blocks.*.attn.hook_k").values
    assert np.ptp(right, axis=1).max() > 1e-4
    monkeypatch.setitem(patch_sites.SITES, "hook_k", patch_sites.Site("position head", local=True))
    np.testing.assert_array_equal(patch(model, clean, corrupted, last, "blocks.*.attn.hook_k").values, right)


@pytest.mark.parametrize("batch_size", [3, 1000])
def test_the_batch_size_changes_nothing(batch_size):
    model, clean, corrupted = model_for(), tokens_for(4, 6, 1), tokens_for(4, 6, 2)
    reference = patch(model, clean, corrupted, metric, ALL_SITES, batch_size=8).values
    values = patch(model, clean, corrupted, metric, ALL_SITES, batch_size=batch_size).values
    np.testing.assert_allclose(values, reference, rtol=0, atol=2e-5)


# identities


@pytest.mark.parametrize("seed", range(3))
def test_patching_a_run_with_itself_changes_nothing(seed):
    model, tokens = model_for(seed, heads=1 + seed % 2), tokens_for(4, 6, seed)
    for subject in (model, WithoutRestart(model)):
        effects = patch(subject, tokens, tokens, metric, [*ALL_SITES, "*hook_pattern"])
        np.testing.assert_array_equal(effects.values, np.broadcast_to(effects.base[:, None], effects.values.shape))
        assert not effects.effects.any() and np.isnan(effects.normalized).all() and effects.gap.mean == 0


@pytest.mark.parametrize("direction", ["denoising", "noising"])
@pytest.mark.parametrize("seed", range(3))
def test_patching_everything_gives_the_donor_exactly(seed, direction):
    model, clean, corrupted = model_for(seed), tokens_for(4, 6, 1), tokens_for(4, 6, 2)
    hooks = ["blocks.*.hook_resid_pre", "blocks.*.hook_resid_mid", "blocks.*.hook_resid_post"]
    effects = patch(model, clean, corrupted, metric, hooks, direction=direction, positions=[tuple(range(6))])
    donor = metric(model(clean if direction == "denoising" else corrupted)).detach().double().numpy()
    np.testing.assert_array_equal(effects.donor, donor)
    np.testing.assert_array_equal(effects.values, np.broadcast_to(donor[:, None], effects.values.shape))
    np.testing.assert_allclose(effects.normalized_effect.mean, 1, rtol=0, atol=1e-12)
    np.testing.assert_allclose(effects.normalized_effect.high, 1, rtol=0, atol=1e-12)


def test_directions_mirror_each_other():
    model, clean, corrupted = model_for(), tokens_for(4, 6, 1), tokens_for(4, 6, 2)
    one = patch(model, clean, corrupted, metric, "*hook_z", direction="noising")
    other = patch(model, corrupted, clean, metric, "*hook_z", direction="denoising")
    np.testing.assert_array_equal(one.values, other.values)


def test_patching_leaves_the_model_and_the_tokens_alone():
    model, clean, corrupted = model_for(), tokens_for(4, 6, 1), tokens_for(4, 6, 2)
    before = [value.clone() for value in (clean, corrupted, *model.parameters())]
    patch(model, clean, corrupted, metric, ALL_SITES)
    assert all(torch.equal(a, b) for a, b in zip(before, (clean, corrupted, *model.parameters()), strict=True))
    assert not any(point._forward_hooks for point in model.hook_dict.values())


# a circuit built by hand


def planted(seed):
    """Attention only, 2 layers of 2 heads: one head of layer 0 copies token 0's value to the last position."""
    draw = rng(seed, "planted")
    model = model_for(layers=2, heads=2, length=4, d_mlp=0, normalization="none")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        head, scale = int(draw.integers(2)), float(draw.uniform(0.5, 2))
        model.embed.W_E[:4, 0] = torch.tensor([-1.0, 1.0, 0.0, 0.0])  # value of the token
        model.pos_embed.W_pos[0, 1] = 1  # "I am the first position"
        model.pos_embed.W_pos[3, 2] = 1  # "I am the last position"
        attention = model.blocks[0].attn
        attention.W_Q[head, 2, 0] = attention.W_K[head, 1, 0] = 20 * attention.attn_scale**0.5
        attention.W_V[head, 0, 1] = scale
        attention.W_O[head, 1, 3] = 1
        model.unembed.W_U[3, 1] = 1
        for other in (layer.attn for layer in model.blocks):  # distractors write where nothing is read
            other.W_V[:, 0, 2] = 1
            other.W_O[:, 2, 4] = 1
    return model, head, scale


@pytest.mark.parametrize("seed", range(20))
def test_the_planted_head_comes_first_with_the_right_effect(seed):
    model, head, scale = planted(seed)
    clean, corrupted = tokens_for(6, 4, seed), tokens_for(6, 4, seed)
    clean[:, 0], corrupted[:, 0] = 1, 0
    effects = patch(model, clean, corrupted, lambda logits: logits[:, -1, 1], "blocks.*.attn.hook_z")
    strongest = effects.cells[int(np.abs(effects.effect.mean).argmax())]
    assert strongest == ("blocks.0.attn.hook_z", 3, head)
    expected = np.array([2 * scale if cell == strongest else 0.0 for cell in effects.cells])  # the value moves from -1 to 1
    np.testing.assert_allclose(effects.effect.mean, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(effects.normalized_effect.mean, expected / (2 * scale), rtol=0, atol=1e-6)


# the result


def test_results_are_labelled_and_normalised_by_the_mean_gap():
    model, clean, corrupted = model_for(), tokens_for(8, 6, 1), tokens_for(8, 6, 2)
    effects = patch(model, clean, corrupted, metric, ["*hook_z", "*hook_pattern", "blocks.0.hook_resid_pre"], rng=rng(0))
    assert effects.values.shape == effects.normalized.shape == (8, len(effects.cells)) == (8, 3 * 2 * 6 + 3 * 2 + 6)
    assert set(effects.positions) == {None, *range(6)} and set(effects.heads) == {None, 0, 1}
    np.testing.assert_allclose(effects.normalized.mean(axis=0), effects.normalized_effect.mean, rtol=0, atol=1e-9)
    gap = (effects.donor - effects.base).mean()
    np.testing.assert_allclose(effects.normalized, (effects.values - effects.base[:, None]) / gap, rtol=0, atol=1e-12)
    frame = effects.to_dataframe()
    assert list(frame.columns[:4]) == ["hook", "layer", "position", "head"] and len(frame) == len(effects.cells)
    assert ((frame.effect_low <= frame.effect) & (frame.effect <= frame.effect_high)).all()
    assert effects.to_dict()["cells"][0] == {"hook": effects.hooks[0], "position": effects.positions[0], "head": effects.heads[0]}
    assert np.shape(effects.to_dict(per_example=True)["values"]) == effects.values.shape


def test_heads_can_be_patched_jointly():
    model, clean, corrupted = model_for(), tokens_for(4, 6, 1), tokens_for(4, 6, 2)
    joint = patch(model, clean, corrupted, metric, "blocks.1.attn.hook_z", heads=False)
    donor = capture(model, clean, "blocks.1.attn.hook_z")["blocks.1.attn.hook_z"]
    for cell, values in zip(joint.cells, joint.values.T, strict=True):
        at = torch.tensor([cell.position])
        with torch.no_grad(), edit(model, {cell.hook: lambda z, at=at: z.index_copy(1, at, donor[:, at])}):
            np.testing.assert_allclose(values, metric(model(corrupted)).numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        (dict(direction="sideways"), InputError, "direction must be one of denoising, noising, got 'sideways'"),
        (dict(positions=[6]), InputError, r"positions must name positions 0..5, or tuples of them, got 6"),
        (dict(positions=[[1, 2]]), InputError, r"positions must name positions 0..5, or tuples of them, got \[1, 2\]"),
        (dict(positions=[(1, "2")]), InputError, r"or tuples of them, got \(1, '2'\)"),
        (dict(positions=[1.0]), InputError, "or tuples of them, got 1.0"),
        (dict(positions=[True]), InputError, "or tuples of them, got True"),
        (dict(positions=3), InputError, "positions must be a list of positions or tuples of them, got 3"),
        (dict(positions="abc"), InputError, "positions must be a list of positions or tuples of them, got 'abc'"),
        (dict(positions=[]), InputError, "positions is empty"),
        (dict(batch_size=0), InputError, "batch_size must be an integer >= 1"),
        (dict(batch_size="8"), InputError, "batch_size must be an integer >= 1"),
        (dict(metric=None), InputError, "metric must be a function of logits"),
        (dict(clean="words"), InputError, "tokens must be integers, got dtype <U5"),
        (dict(hooks="*hook_scale"), HookError, "is no site for patching. Sites: hook_resid_pre"),
        (dict(metric=lambda logits: logits.mean()), InputError, r"one value per example, \[3\], got \[\]"),
        (dict(metric=lambda logits: logits[:, 0, 0] / 0), InputError, "the unpatched run: metric is not finite for example 0"),
        (dict(corrupted=tokens_for(2, 6, 2)), InputError, r"one shape, got \[3, 6\] and \[2, 6\]"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, error, message):
    full = dict(clean=tokens_for(3, 6, 1), corrupted=tokens_for(3, 6, 2), metric=metric, hooks="*hook_z") | arguments
    with pytest.raises(error, match=re.compile(message)):
        patch(model_for(), **full)


def test_a_gap_that_is_not_clear_of_zero_is_cautioned_against_and_not_divided_by():
    run = mechbp.load("tree-mlm-k0")
    tokens = run.process.sample(64, mechbp.rng(0, "caution")).tokens
    metric = mechbp.metrics.log_prob(3, 1)
    same = mechbp.patch(run.model, tokens, tokens, metric, hooks="blocks.0.hook_resid_pre")
    assert "caution: the gap's interval holds 0" in same.summary()
    assert same.picture().data["value_title"] == "effect on the metric"
    best, worst = np.split(tokens[np.argsort(run.task.exact(run.process, tokens)[:, 3, 1])][::-1], 2)
    apart = mechbp.patch(run.model, best, worst, metric, hooks="blocks.0.hook_resid_pre")
    assert "caution" not in apart.summary() and "effect / gap" in apart.picture().data["value_title"]
