"""Circuits against loops over tokens and heads, against the model's own attention, and under what cannot change them."""

import copy

import numpy as np
import pytest
import torch
from brute_circuits import mean_position_circuits, raw_circuits
from random_models import in_float64, random_model, random_tokens

import mechbp
from mechbp.errors import HookError, InputError, LimitExceeded
from mechbp.methods.circuits import circuit as circuit_module
from mechbp.methods.circuits.circuit import circuits
from mechbp.methods.circuits.folding import folded
from mechbp.models.architectures import LINE, hooked_transformer

KINDS = {
    "LN": {},
    "none": {"normalization_type": None},
    "RMS": {"normalization_type": "RMS"},
    "LNPre": {"normalization_type": "LNPre"},
    "two blocks, MLP": {"n_layers": 2, "d_mlp": 9},
    "scaled by layer": {"n_layers": 2, "scale_attn_by_inverse_layer_idx": True},
    "unscaled": {"use_attn_scale": False},
    "as many outputs as tokens as dimensions": {"d_vocab": 8, "d_vocab_out": 8},
}


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
def test_mean_position_circuits_are_those_of_loops(settings):
    model = random_model(**settings)
    for layer in range(model.cfg.n_layers):
        for keys, queries in (((0, 1, 2, 3, 4), (0, 1, 2, 3, 4)), ((0, 2), (4, 1, 3))):
            whole = len(keys) == 5
            found = circuits(
                model, layer=layer, key_positions=None if whole else keys, query_positions=None if whole else queries
            )
            ov, qk, direct = mean_position_circuits(model, layer, keys, queries)
            np.testing.assert_allclose(found.ov, ov, rtol=0, atol=1e-12)
            np.testing.assert_allclose(found.qk, qk, rtol=0, atol=1e-12)
            np.testing.assert_allclose(found.direct, direct, rtol=0, atol=1e-12)
            assert (found.key_positions, found.query_positions, found.layer) == (keys, queries, layer)


@pytest.mark.parametrize("settings", [{}, {"normalization_type": None}, {"n_layers": 2, "d_mlp": 9}])
def test_raw_circuits_are_products_of_the_weights_as_they_stand(settings):
    model = random_model(**settings)
    for layer in range(model.cfg.n_layers):
        found = circuits(model, layer=layer, variant="raw")
        for ours, theirs in zip((found.ov, found.qk, found.direct), raw_circuits(model, layer), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)
        assert found.key_positions is None and found.query_positions is None


@pytest.mark.parametrize("settings", [{}, {"normalization_type": "RMS"}, {"attention_dir": "bidirectional"}])
def test_per_position_circuits_are_what_the_first_block_computes(settings):
    model = random_model(n_layers=2, **settings)
    tokens = random_tokens(model, 30)
    found = circuits(model, variant="per position")
    place = np.arange(5)
    scores = found.qk[:, place[:, None], place, tokens[:, :, None], tokens[:, None, :]].transpose(1, 0, 2, 3)
    if settings.get("attention_dir") != "bidirectional":
        scores = np.where(place[:, None] >= place, scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    pattern = mechbp.capture(model, tokens, ["blocks.0.attn.hook_pattern"])["blocks.0.attn.hook_pattern"]
    np.testing.assert_allclose(weights / weights.sum(axis=-1, keepdims=True), pattern, rtol=0, atol=1e-12)

    twin = folded(model)
    values = mechbp.capture(twin, tokens, ["blocks.0.attn.hook_v"])["blocks.0.attn.hook_v"]  # [n, key, head, d_head]
    added = torch.einsum("nkhe,hed,do->hnko", values, twin.blocks[0].attn.W_O, twin.unembed.W_U)
    np.testing.assert_allclose(found.ov[:, place, tokens], added, rtol=0, atol=1e-12)


def test_one_pair_of_positions_is_a_mean_over_one():
    model = random_model(n_layers=2, d_mlp=9)
    found = circuits(model, layer=1, variant="per position", key_positions=[3, 0], query_positions=[2, 4, 1])
    assert found.qk.shape == (2, 3, 2, 6, 6) and found.ov.shape == (2, 2, 6, 7)
    assert abs(found.qk.mean(axis=(2, 4))).max() < 1e-12
    for query in (2, 4, 1):
        for key in (3, 0):
            one = found.at(query, key)
            mean = circuits(model, layer=1, key_positions=[key], query_positions=[query])
            np.testing.assert_allclose(one.ov, mean.ov, rtol=0, atol=1e-12)
            np.testing.assert_allclose(one.qk - one.qk.mean(axis=2, keepdims=True), mean.qk, rtol=0, atol=1e-12)
            assert (one.key_positions, one.query_positions) == (mean.key_positions, mean.query_positions) == ((key,), (query,))


def test_some_tokens_are_rows_and_columns_of_all():
    model = random_model()
    ids = np.array([4, 0, 5])
    for variant in ("raw", "mean position"):
        whole = circuits(model, variant=variant)
        some = circuits(model, variant=variant, tokens=ids)
        np.testing.assert_array_equal(some.tokens, ids)
        np.testing.assert_allclose(some.ov, whole.ov[:, ids], rtol=0, atol=1e-13)
        np.testing.assert_allclose(some.direct, whole.direct[ids], rtol=0, atol=1e-13)
        among = whole.qk[:, ids][:, :, ids]
        np.testing.assert_allclose(some.qk, among - among.mean(axis=2, keepdims=True), rtol=0, atol=1e-13)


@pytest.mark.parametrize("variant", ["raw", "mean position", "per position"])
def test_bases_inside_a_head_do_not_matter(variant):
    model = random_model(n_layers=2)
    turned = copy.deepcopy(model)
    g = torch.randn(2, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5)) + 2 * torch.eye(3)
    attention = turned.blocks[1].attn
    with torch.no_grad():
        attention.W_V.copy_(attention.W_V @ g[0])
        attention.b_V.copy_(torch.einsum("he,hef->hf", attention.b_V, g[0]))
        attention.W_O.copy_(g[0].inverse() @ attention.W_O)
        attention.W_Q.copy_(attention.W_Q @ g[1])
        attention.b_Q.copy_(torch.einsum("he,hef->hf", attention.b_Q, g[1]))
        attention.W_K.copy_(attention.W_K @ g[1].inverse().mT)
        attention.b_K.copy_(torch.einsum("he,hef->hf", attention.b_K, g[1].inverse().mT))
    assert (attention.W_V - model.blocks[1].attn.W_V).abs().max() > 0.1
    before, after = (circuits(one, layer=1, variant=variant) for one in (model, turned))
    for name in ("ov", "qk", "direct"):
        np.testing.assert_allclose(getattr(after, name), getattr(before, name), rtol=0, atol=1e-11)


def test_folding_first_changes_nothing_and_the_model_stays():
    model = random_model(dtype=torch.float32)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    direct, twice = circuits(model), circuits(folded(model))
    for name in ("ov", "qk", "direct"):
        assert getattr(direct, name).dtype == np.float64
        np.testing.assert_allclose(getattr(twice, name), getattr(direct, name), rtol=0, atol=1e-12)
    for variant in ("raw", "per position"):
        circuits(model, variant=variant)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert model.cfg.normalization_type == "LN" and model.embed.W_E.dtype == torch.float32


SHIPPED = ("tree-mlm-k0", "tree-root-k1", "mess3-x50-a20", "rrxor-s24", "topics-4l", "sorting-plain-free-s0")


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_models(name):
    model = mechbp.load(name).model
    for variant in ("raw", "mean position"):
        found = mechbp.circuits(model, variant=variant)
        cfg = model.cfg
        assert found.ov.shape == (cfg.n_heads, cfg.d_vocab, cfg.d_vocab_out)
        assert found.qk.shape == (cfg.n_heads, cfg.d_vocab, cfg.d_vocab)
        for circuit in (found.ov, found.qk, found.direct):
            assert np.isfinite(circuit).all() and abs(circuit.mean(axis=-1)).max() < 1e-12 and np.ptp(circuit) > 1e-3
    tokens = random_tokens(model, 2)
    query, key = model.cfg.n_ctx - 1, 0
    pair = circuits(model, variant="per position", query_positions=[query], key_positions=[key, query])
    scores = mechbp.capture(in_float64(model), tokens, ["blocks.0.attn.hook_attn_scores"])["blocks.0.attn.hook_attn_scores"]
    ids = tokens.numpy()
    ours = pair.qk[:, 0, 1, ids[:, query], ids[:, query]] - pair.qk[:, 0, 0, ids[:, query], ids[:, key]]
    np.testing.assert_allclose(ours.T, scores[:, :, query, query] - scores[:, :, query, key], rtol=0, atol=1e-12)


BAD = [
    ({"variant": "mean"}, InputError, "variant must be one of raw, mean position, per position, got 'mean'"),
    ({"layer": 1}, InputError, r"layer must be distinct integers in 0\.\.0, at least one, got \[1\]"),
    ({"layer": -1}, InputError, "layer must be"),
    ({"tokens": [0, 6]}, InputError, r"tokens must be distinct integers in 0\.\.5, at least one, got \[0, 6\]"),
    ({"tokens": [1, 1]}, InputError, "tokens must be distinct"),
    ({"tokens": []}, InputError, "at least one"),
    ({"tokens": [True, False]}, InputError, "tokens must be distinct integers"),
    ({"key_positions": [5]}, InputError, r"key_positions must be distinct integers in 0\.\.4"),
    ({"query_positions": [-1]}, InputError, "query_positions must be"),
    ({"query_positions": [[0]]}, InputError, "query_positions must be"),
    ({"variant": "raw", "key_positions": [0]}, InputError, "the raw variant knows no positions"),
]


@pytest.mark.parametrize(("arguments", "kind", "message"), BAD)
def test_arguments_that_do_not_fit(arguments, kind, message):
    with pytest.raises(kind, match=message):
        circuits(random_model(), **arguments)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (
            {"positional_embedding_type": "rotary", "d_head": 4, "rotary_dim": 4},
            "positions are 'rotary', not added to the embedding",
        ),
        ({"positional_embedding_type": "alibi"}, "positions are 'alibi'"),
        ({"use_qk_norm": True}, "use_qk_norm: queries and keys are normalised"),
        ({"attn_scores_soft_cap": 5.0}, "attn_scores_soft_cap bends the scores"),
    ],
)
def test_models_of_which_only_the_raw_weights_say_something(settings, reason):
    model = random_model(**settings)
    for variant in ("mean position", "per position"):
        with pytest.raises(InputError, match=f"circuits: '{variant}' is not defined for this HookedTransformer: {reason}"):
            circuits(model, variant=variant)
    np.testing.assert_allclose(circuits(model, variant="raw").ov, raw_circuits(model, 0)[0], rtol=0, atol=1e-12)


def test_models_without_token_level_circuits():
    with pytest.raises(HookError, match="TopicAttention has no token-level circuits: it lacks blocks.0.attn.W_O"):
        circuits(mechbp.load("topics-attention").model, variant="raw")


@pytest.mark.skipif(LINE >= 4, reason="needs the HookedTransformer of TransformerLens 3.9: heads that share keys and values")
def test_heads_that_share_keys_and_values():
    sizes = {"n_layers": 1, "n_heads": 2, "d_model": 4, "d_head": 2, "n_ctx": 3, "d_vocab": 3, "attn_only": True}
    grouped = hooked_transformer(**sizes, n_key_value_heads=1).eval()
    with pytest.raises(InputError, match="grouped-query attention"):
        circuits(grouped, variant="raw")
    with pytest.raises(InputError, match="train mode"):
        circuits(random_model().train())
    with pytest.raises(HookError, match="is no hooked model"):
        circuits(torch.nn.Linear(2, 2))


def test_large_circuits_are_refused_before_they_are_made():
    model = random_model()
    model.cfg.n_ctx = 4000
    with pytest.raises(LimitExceeded, match=r"the maps would hold 1,152,\d{3},\d{3} numbers; at most 134,217,728"):
        circuits(model, variant="per position")
    many = random_model(d_vocab=9000)
    for variant in ("raw", "mean position"):
        with pytest.raises(LimitExceeded, match="Name fewer tokens, or fewer positions"):
            circuits(many, variant=variant)
    assert circuits(many, tokens=[2, 8000]).qk.shape == (2, 2, 2)


def test_what_circuits_hold_is_counted_before_they_are_made(monkeypatch):
    counted = []
    monkeypatch.setattr(circuit_module, "check_size", lambda n, *_: counted.append(n))
    found = circuits(random_model(), tokens=[0, 2, 3])
    assert counted == [found.ov.size + found.qk.size + found.direct.size]
