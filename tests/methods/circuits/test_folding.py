"""Folding changes no log-probability, takes away what it says, and leaves the model alone."""

import copy
import random
import re

import numpy as np
import pytest
import torch
from random_models import in_float64, random_model, random_tokens

import mechbp
from mechbp.errors import HookError, InputError
from mechbp.methods.circuits.folding import folded
from mechbp.models.architectures import LINE, hooked_transformer

KINDS = {
    "LN": {},
    "none": {"normalization_type": None},
    "RMS": {"normalization_type": "RMS"},
    "LNPre": {"normalization_type": "LNPre"},
    "RMSPre": {"normalization_type": "RMSPre"},
    "bidirectional": {"attention_dir": "bidirectional"},
    "MLP": {"d_mlp": 9, "n_layers": 2},
    "MLP without norms": {"d_mlp": 9, "n_layers": 2, "normalization_type": None},
    "MLP, RMS": {"d_mlp": 9, "n_layers": 2, "normalization_type": "RMS"},
    "parallel": {"d_mlp": 9, "n_layers": 2, "parallel_attn_mlp": True},
    "gated, RMS": {"d_mlp": 9, "normalization_type": "RMS", "gated_mlp": True},
    "rotary": {"positional_embedding_type": "rotary", "d_head": 4, "rotary_dim": 4},
    "three blocks": {"n_layers": 3},
    "outputs as wide as the stream": {"d_vocab_out": 8},
    "tokens as many as the stream is wide": {"d_vocab": 8},
    "all sizes alike": {"d_vocab": 8, "d_vocab_out": 8},
    "one output": {"d_vocab_out": 1},
}


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
def test_log_probabilities_are_unchanged(settings):
    model = random_model(**settings)
    tokens = random_tokens(model, 40)
    before = model(tokens).log_softmax(-1)
    twin = folded(model)
    np.testing.assert_allclose(twin(tokens).log_softmax(-1), before.detach(), rtol=0, atol=1e-12)
    single = random_model(dtype=torch.float32, **settings)
    before = single(tokens).log_softmax(-1)
    change = folded(single, torch.float32)(tokens).log_softmax(-1) - before
    assert change.abs().max() < 2e-6 * max(5, before.abs().max())  # without norms, logits reach hundreds
    again = folded(twin)
    for name, weight in again.state_dict().items():
        np.testing.assert_allclose(weight, twin.state_dict()[name], rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind", ["LN", "RMS", None])
def test_what_is_folded_is_gone(kind):
    model = random_model(d_mlp=9, n_layers=2, normalization_type=kind)
    twin = folded(model)
    weights = twin.state_dict()
    assert twin.cfg.normalization_type == {"LN": "LNPre", "RMS": "RMSPre", None: None}[kind]
    assert not [name for name in weights if name.endswith((".w", "ln1.b", "ln2.b", "ln_final.b"))]
    assert not twin.training and not any(parameter.requires_grad for parameter in twin.parameters())
    assert set(twin.hook_dict) == set(random_model(d_mlp=9, n_layers=2, normalization_type=twin.cfg.normalization_type).hook_dict)
    for block in twin.blocks:
        assert not block.attn.b_V.any() and block.attn.b_Q.any() and block.attn.b_K.any()
    assert weights["unembed.W_U"].mean(-1).abs().max() < 1e-15 and abs(weights["unembed.b_U"].mean()) < 1e-15
    writers = [
        "embed.W_E",
        "pos_embed.W_pos",
        *(f"blocks.1.{name}" for name in ("attn.W_O", "attn.b_O", "mlp.W_out", "mlp.b_out")),
    ]
    readers = ["unembed.W_U", *(f"blocks.1.{name}" for name in ("attn.W_Q", "attn.W_K", "attn.W_V", "mlp.W_in"))]
    means = [weights[name].mean(-1).abs().max() for name in writers] + [weights[name].mean(-2).abs().max() for name in readers]
    assert (max(means) < 1e-15) if kind == "LN" else (min(means) > 1e-3)


@pytest.mark.skipif(LINE >= 4, reason="needs the HookedTransformer of TransformerLens 3.9, as a peer")
def test_it_agrees_with_transformer_lens_where_that_is_right():
    model = random_model(d_mlp=9, n_layers=2, dtype=torch.float32)
    theirs = copy.deepcopy(model)
    theirs.process_weights_()
    ours = folded(model, torch.float32).state_dict()
    assert theirs.cfg.normalization_type == "LNPre" and set(ours) == set(theirs.state_dict())
    for name, weight in theirs.state_dict().items():
        np.testing.assert_allclose(ours[name], weight, rtol=0, atol=2e-6)


def test_the_model_and_all_generators_are_left_alone(unchecked):  # the checks of annotations draw from `random`
    model = random_model(d_mlp=9)
    model.cfg.seed = 3  # building a config anew would now move every generator
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    settings = copy.deepcopy(model.cfg.to_dict())
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    twin = folded(model)
    assert torch.equal(torch.get_rng_state(), before[0]) and (np.random.get_state()[1] == before[1]).all()
    assert random.getstate() == before[2]
    assert model.cfg.to_dict() == settings and all(parameter.requires_grad for parameter in model.parameters())
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_hooks_are_not_copied():
    model = random_model()
    tokens = random_tokens(model, 3)
    plain = model(tokens).log_softmax(-1).detach()
    with mechbp.edit(model, {"blocks.0.hook_resid_post": torch.zeros_like}) as running:
        twin = folded(model)
        assert (model(tokens).log_softmax(-1) - plain).abs().max() > 1e-3 and running.firings
        np.testing.assert_allclose(twin(tokens).log_softmax(-1), plain, rtol=0, atol=1e-12)


def test_tied_embeddings():
    model = random_model(d_vocab_out=6)
    model.unembed.W_U = torch.nn.Parameter(model.embed.W_E.detach().T)  # one memory
    tokens = random_tokens(model, 20)
    before = model(tokens).log_softmax(-1).detach()
    np.testing.assert_allclose(folded(model)(tokens).log_softmax(-1), before, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(model(tokens).log_softmax(-1).detach(), before)


@pytest.mark.parametrize("name", ["tree-mlm-k0", "mess3-x50-a20", "topics-4l", "sorting-decay-s0"])
def test_trained_models(name):
    model = mechbp.load(name).model
    tokens = random_tokens(model, 8)
    before = in_float64(model)(tokens).log_softmax(-1).detach()
    np.testing.assert_allclose(folded(model)(tokens).log_softmax(-1), before, rtol=0, atol=1e-12)


REFUSED = {
    "final_rms": {"final_rms": True},
    "norms stand between what is written and the stream": {"use_normalization_before_and_after": True},
    "its patterns do not sum to 1": {"use_attention_sinks": True},
    "clipped": {"clip_qkv": 1.0},
    "mixture of experts": {"num_experts": 2},
    "shortformer": {"positional_embedding_type": "shortformer"},
    "output_logits_soft_cap": {"output_logits_soft_cap": 5.0},
    "a norm stands inside the MLP": {"act_fn": "solu_ln"},
    "a norm stands between embedding and stream": {"post_embedding_ln": True},
    "its gains are 1 + w": {"rmsnorm_uses_offset": True},
    "normalization_type 'DyT'": {"normalization_type": "DyT"},
}


@pytest.mark.parametrize("reason", REFUSED)
def test_settings_that_cannot_be_folded_are_named(reason):
    model = random_model()
    for name, value in REFUSED[reason].items():
        setattr(model.cfg, name, value)
    with pytest.raises(InputError, match=f"HookedTransformer cannot be folded: .*{re.escape(reason)}"):
        folded(model)


def test_other_refusals():
    with pytest.raises(InputError, match=r"dtype must be torch.float64 or torch.float32, got torch.bfloat16"):
        folded(random_model(), torch.bfloat16)
    gated = random_model(d_mlp=9, gated_mlp=True)
    with pytest.raises(InputError, match="gated_mlp with biases of ln2"):
        folded(gated)
    gated.blocks[0].ln2.b.data.zero_()
    folded(gated)
    with pytest.raises(InputError, match=r"grouped-query attention \(1 key-value heads for 2 heads\)"):
        folded(
            hooked_transformer(
                n_layers=1, n_heads=2, d_model=4, d_head=2, n_ctx=3, d_vocab=3, attn_only=True, n_key_value_heads=1
            ).eval()
        )
    with pytest.raises(InputError, match="train mode"):
        folded(random_model().train())
    with pytest.raises(
        HookError, match=r"TopicAttention has no token-level circuits: it lacks blocks.0.attn.W_O, blocks.0.attn.b_Q"
    ):
        folded(mechbp.load("topics-attention").model)


def test_a_class_that_cannot_be_built_from_its_settings_alone():
    class Other(type(random_model())):
        def __init__(self, cfg, more):
            super().__init__(cfg)

    model = random_model()
    model.__class__ = Other
    with pytest.raises(HookError, match=r"no copy can be built as Other\(cfg\)"):
        folded(model)
