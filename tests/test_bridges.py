"""Bridges of TransformerLens 4: what their hooks are not is found, and no method believes it."""

import re

import numpy as np
import pytest
import torch

import mechbp
from mechbp import hook_check
from mechbp.errors import HookError
from mechbp.methods.interchange.interchange import interchange
from mechbp.methods.interchange.pairs import Pairs
from mechbp.methods.interchange.subspaces import random_subspace
from mechbp.methods.patching.ablate import ablate
from mechbp.methods.patching.attribution import attribution_patch, integrated_gradients
from mechbp.methods.patching.edges import DirectPath, Receiver, Sender
from mechbp.methods.patching.patch import patch
from mechbp.methods.patching.path_patch import path_patch
from mechbp.models.architectures import LINE

pytestmark = pytest.mark.skipif(LINE < 4, reason="bridges replace HookedTransformer from release 4 of TransformerLens on")
LAYERS = 2


def metric(logits):
    return logits[:, -1, 1] - logits[:, -1, 0]


def tokens(seed, n=4):
    return torch.randint(7, (n, 6), generator=torch.Generator().manual_seed(seed))


def native():
    from transformer_lens import TransformerBridge, TransformerBridgeConfig

    sizes = {"d_model": 16, "d_head": 8, "n_layers": LAYERS, "n_ctx": 6, "n_heads": 2, "d_mlp": 32, "d_vocab": 7}
    return TransformerBridge.boot_native(TransformerBridgeConfig(**sizes, act_fn="relu", seed=0, device="cpu"))


def gpt2():
    from transformer_lens.model_bridge.sources import build_bridge_from_module
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(n_embd=16, n_layer=LAYERS, n_head=2, n_positions=6, vocab_size=7, bos_token_id=0, eos_token_id=0)
    config.architectures = ["GPT2LMHeadModel"]
    with torch.random.fork_rng(devices=[]):
        model = GPT2LMHeadModel(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if "ln" in name and name.endswith("weight") else 0.0, 0.3, generator=generator)
    return build_bridge_from_module(model, "GPT2LMHeadModel", hf_config=config, device="cpu")


@pytest.fixture(scope="module", params=[native, gpt2])
def bridge(request):
    return request.param().eval()


@pytest.fixture(scope="module")
def checked(bridge):
    return {row.name: row for row in mechbp.check_model(bridge, tokens(0))}


def test_every_trap_is_found(checked):
    for layer in range(LAYERS):
        mid = checked[f"blocks.{layer}.hook_resid_mid"]
        assert mid.verdict == "unsound" and "a skip path goes past it" in mid.reason
    assert checked[f"start_at_layer={LAYERS}"].verdict == checked[f"stop_at_layer={LAYERS}"].verdict == "unsound"
    assert "raises ValueError" in checked[f"start_at_layer={LAYERS}"].reason
    assert "which is not the input of that block" in checked[f"stop_at_layer={LAYERS}"].reason
    assert checked["blocks.0.hook_attn_out"].other_names == ("blocks.0.attn.hook_out",)


def test_scores_that_are_patterns_are_found():
    model = native().eval()
    name = "blocks.1.attn.hook_attn_scores"
    found = {row.name: row for row in mechbp.check_model(model, tokens(0))}[name]
    assert found.verdict == "unsound" and "edits are thrown away" in found.reason
    with pytest.raises(HookError, match=f"ablate: {name} .* edits are thrown away"):
        ablate(model, tokens(0), metric, name, "zero", jointly=True)
    with pytest.raises(HookError, match=f"{name} shows the attention pattern, after the softmax"):
        mechbp.capture(model, tokens(0), name)
    assert not {row.name: row for row in mechbp.hook_table(model, tokens(0))}[name].writable


def test_what_holds_is_not_suspected(checked):
    sites = ("hook_resid_pre", "hook_resid_post", "hook_attn_out", "hook_mlp_out", *(f"attn.hook_{letter}" for letter in "qkvz"))
    for name in (f"blocks.{layer}.{site}" for layer in range(LAYERS) for site in (*sites, "attn.hook_pattern")):
        assert checked[name].verdict == "sound", checked[name]
    for layer in range(LAYERS):
        assert checked[f"start_at_layer={layer}"].verdict == checked[f"stop_at_layer={layer}"].verdict == "sound"


def test_the_table(bridge):
    found = mechbp.check_model(bridge, tokens(0).numpy())
    frame = found.to_dataframe()
    assert list(frame.columns) == ["name", "shape", "verdict", "reason", "other_names"] and len(frame) == len(found)
    lines = str(found).splitlines()
    columns = {line.index(f" {row.verdict}") for line, row in zip(lines[1:], found, strict=True)}
    assert len(lines) == len(found) + 1 and len(columns) == 1
    assert {row.name for row in found.unsound} == set(frame.name[frame.verdict == "unsound"])


def test_methods_refuse_what_is_unsound(bridge):
    clean, corrupted, mid = tokens(1), tokens(2), "blocks.0.hook_resid_mid"
    why = re.escape("blocks.0.hook_resid_mid of this TransformerBridge is not what it is called: a skip path goes past it")
    for call in (
        lambda: patch(bridge, clean, corrupted, metric, mid),
        lambda: attribution_patch(bridge, clean, corrupted, metric, mid),
        lambda: integrated_gradients(bridge, clean, corrupted, metric, mid, "hook"),
        lambda: ablate(bridge, clean, metric, mid, "zero", jointly=True),
        lambda: path_patch(
            bridge, clean, corrupted, metric, [DirectPath(Sender("embedding"), (Receiver("mlp", 0),))], "recomputed"
        ),
        lambda: interchange(bridge, pairs(), mid, {"a": random_subspace(6, 16, 2, mechbp.rng(0))}, rng=mechbp.rng(1)),
    ):
        for _ in range(2):  # a refusal is not remembered as a pass
            with pytest.raises(HookError, match=why):
                call()
    with pytest.raises(HookError, match="blocks.0.attn.hook_out and blocks.0.hook_attn_out are one point"):
        ablate(bridge, clean, metric, ["blocks.0.hook_attn_out", "blocks.0.attn.hook_out"], "zero", jointly=True)


def pairs():
    shape = (4, 6)
    answers = np.full((4, 7), 1 / 7)
    return Pairs(
        base=tokens(1).numpy(), source=tokens(2).numpy(), positions=np.ones(shape, bool), query=np.full(4, 5),
        expected=answers, before=answers, without=answers, share_kept=1.0,
    )  # fmt: skip


def test_the_last_block_is_patched_as_any_other(bridge):
    clean, corrupted = tokens(1), tokens(2)
    hooks = ["blocks.*.hook_resid_pre", "blocks.*.hook_resid_post", "blocks.*.attn.hook_z", "blocks.*.attn.hook_pattern"]
    effects = patch(bridge, clean, corrupted, metric, hooks)
    donors = mechbp.capture(bridge, clean, hooks)
    with torch.no_grad():
        for column, (hook, position, head) in enumerate(effects.cells):

            def written(value, hook=hook, position=position, head=head):
                at = (slice(None), head) if position is None else (slice(None), position, *([] if head is None else [head]))
                value[at] = donors[hook][at]
                return value

            with mechbp.edit(bridge, {hook: written}):
                np.testing.assert_allclose(effects.values[:, column], metric(bridge(corrupted)), rtol=0, atol=1e-4)


def test_a_pattern_edits_a_point_of_two_names_once(bridge):
    pattern = "blocks.0.[ah][to]?[nk][._][ah]*_out"
    assert set(mechbp.hooks.matching_hooks(bridge, pattern)) == {"blocks.0.attn.hook_out", "blocks.0.hook_attn_out"}
    with torch.no_grad(), mechbp.edit(bridge, {pattern: lambda value: 2 * value}) as session:
        doubled = bridge(tokens(0))
    assert session.firings == {"blocks.0.attn.hook_out": 1}
    with torch.no_grad(), mechbp.edit(bridge, {"blocks.0.hook_attn_out": lambda value: 2 * value}):
        expected = bridge(tokens(0))
    assert torch.equal(doubled, expected)


def test_the_table_of_hooks_comes_through(bridge):
    table = {row.name: row for row in mechbp.hook_table(bridge, tokens(0))}
    assert table["embed.hook_in"].writable and table["blocks.0.hook_resid_pre"].shape == ("batch", 6, 16)
    assert len(table) == len(bridge.hook_dict)


def test_what_was_found_sound_is_tried_once(bridge, monkeypatch):
    patch(bridge, tokens(1), tokens(2), metric, "blocks.1.hook_mlp_out")
    monkeypatch.setattr(hook_check._Trial, "checked", lambda self, name: pytest.fail(f"{name} was tried again"))
    patch(bridge, tokens(1), tokens(2), metric, "blocks.1.hook_mlp_out")
