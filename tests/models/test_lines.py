"""One model on every line of TransformerLens: the numbers of release 3.9, and what its class offers."""

import json

import pytest
import torch
from line_numbers import MODELS, RECORD, model_of, numbers, tokens

import mechbp
from mechbp.methods.patching.finisher import Finisher
from mechbp.methods.patching.plain_transformer import Network
from mechbp.models.architectures import LINE, HookedTransformer
from mechbp.models.own_transformer import HookedTransformer as OwnTransformer
from mechbp.models.own_transformer import HookedTransformerConfig as OwnConfig
from mechbp.models.own_transformer import LayerNorm
from mechbp.models.verify import _check_curve

EXPECTED = json.loads(RECORD.read_text())


def close(found, expected):
    torch.testing.assert_close(
        torch.tensor(found, dtype=torch.float64), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-11
    )


def test_the_class_is_that_of_the_line():
    assert HookedTransformer.__module__ == ("transformer_lens.HookedTransformer" if LINE < 4 else OwnTransformer.__module__)


@pytest.mark.parametrize("own", [False, True], ids=["of the line", "own"])
@pytest.mark.parametrize("name", MODELS)
def test_the_numbers_are_those_of_3_9(name, own, monkeypatch):
    if own:
        monkeypatch.setattr("line_numbers.hooked_transformer", lambda **settings: OwnTransformer(OwnConfig(**settings)))
    found, expected = numbers(MODELS[name]), EXPECTED[name]
    assert list(found["parameters"].items()) == list(expected["parameters"].items()), "seeds draw weights in this order"
    assert found["hooks"] == expected["hooks"]
    close(found["logits"], expected["logits"])
    for kind in ("activations", "patches"):
        assert list(found[kind]) == list(expected[kind])
        close(list(found[kind].values()), list(expected[kind].values()))


@pytest.mark.parametrize("name", MODELS)
def test_all_restarts_agree(name):
    model = model_of(MODELS[name])
    whole = model(tokens(0))
    for layer in (0, 1, 2, -1):
        residual = model(tokens(0), stop_at_layer=layer)
        assert residual.shape == (3, 4, 8)
        torch.testing.assert_close(model(residual, start_at_layer=layer), whole, rtol=0, atol=1e-12)


def test_patches_are_finished_from_the_weights_of_our_own_class():
    model = _own_model()
    with torch.no_grad():
        logits = model(tokens(0))
    residuals = [model(tokens(0), stop_at_layer=layer).detach() for layer in range(3)]
    assert Network.of(model) is not None
    assert Finisher.of(model, residuals, torch.full((3, 1), 3), logits) is not None


def test_switches_show_what_they_are_for():
    for switch, hook, shape in (
        ("use_attn_result", "attn.hook_result", (3, 4, 2, 8)),
        ("use_split_qkv_input", "hook_k_input", (3, 4, 2, 8)),
        ("use_attn_in", "hook_attn_in", (3, 4, 2, 8)),
        ("use_hook_mlp_in", "hook_mlp_in", (3, 4, 8)),
    ):
        model = _own_model()
        before = model(tokens(0))
        getattr(model, f"set_{switch}")(True)
        torch.testing.assert_close(model(tokens(0)), before, rtol=0, atol=1e-12)
        assert mechbp.capture(model, tokens(0), f"blocks.1.{hook}")[f"blocks.1.{hook}"].shape == shape


def test_a_cache_has_the_short_names_of_transformer_lens():
    model = _own_model()
    _, cache = model.run_with_cache(tokens(0))
    assert torch.equal(cache["resid_post", 1], cache["blocks.1.hook_resid_post"])


def test_scores_are_divided_by_the_scale_that_the_settings_name_or_by_none():
    scaled, plain = _own_model(attn_scale=2.5), _own_model(attn_scale=2.5, use_attn_scale=False)
    with torch.no_grad():
        for block in plain.blocks:
            block.attn.W_Q /= 2.5
            block.attn.b_Q /= 2.5
    torch.testing.assert_close(plain(tokens(0)), scaled(tokens(0)), rtol=0, atol=1e-12)


def test_norms_are_computed_with_room_in_half_precision():
    norm = LayerNorm(OwnConfig(**(_settings() | {"dtype": torch.float16})))
    x = torch.linspace(-900, 900, 8, dtype=torch.float16)  # whose squares are beyond the largest half-precision number
    expected = torch.nn.functional.layer_norm(x.double(), (8,))
    torch.testing.assert_close(norm(x).double(), expected, rtol=0, atol=2e-3)
    assert norm(x).dtype == torch.float16 and _own_model().to(torch.float16).cfg.dtype == torch.float16


def test_a_query_that_sees_no_key_attends_to_nothing():
    model = _own_model()
    with mechbp.edit(model, {"blocks.0.attn.hook_attn_scores": lambda scores: torch.full_like(scores, -torch.inf)}):
        pattern = mechbp.capture(model, tokens(0), "blocks.0.attn.hook_pattern")["blocks.0.attn.hook_pattern"]
        assert not pattern.any() and model(tokens(0)).isfinite().all()


def test_one_sequence_is_cached_without_its_batch_axis_and_nothing_is_unembedded_unasked():
    model = _own_model()
    logits, cache = model.run_with_cache(tokens(0)[:1], remove_batch_dim=True)
    assert not cache.has_batch_dim and cache["resid_post", 1].shape == (4, 8) and logits.shape == (1, 4, 3)
    assert model(tokens(0), return_type=None) is None


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"positional_embedding_type": "rotary"}, ValueError, "must be 'standard', got 'rotary'"),
        ({"normalization_type": "DyT"}, ValueError, "None or one of LN, LNPre, RMS, RMSPre, got 'DyT'"),
        ({"act_fn": "solu"}, ValueError, "act_fn must be one of relu, gelu, relu2, got 'solu'"),
        ({"n_key_value_heads": 1}, ValueError, "n_key_value_heads must be None"),
        ({"gated_mlp": True}, TypeError, "gated_mlp"),
    ],
)
def test_settings_that_our_own_class_does_not_know(changed, error, message):
    with pytest.raises(error, match=message):
        OwnTransformer(OwnConfig(**{**_settings(), **changed}))


def _own_model(**settings):
    """A model of our own class with weights written: until then they are whatever the memory held, which may be NaN."""
    model = OwnTransformer(OwnConfig(**(_settings() | settings))).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.arange(parameter.numel(), dtype=torch.float64).mul(1.3).sin().view(parameter.shape))
    return model


def _settings():
    return {**MODELS["causal, relu"], "n_layers": 2, "n_heads": 2, "d_model": 8, "d_head": 3, "n_ctx": 4, "d_vocab": 5,
            "d_vocab_out": 3, "dtype": torch.float64}  # fmt: skip


@pytest.mark.parametrize("name", ["tree-mlm-k0", "topics-attention", "mess3-x15-a20"])
def test_shipped_runs_give_the_answers_that_were_recorded(name):
    check = _check_curve(mechbp.load(name))
    assert check.verdict == "pass", check
