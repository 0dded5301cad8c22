"""The encoder with hooks computes what transformers' BertModel does, and can be captured and edited."""

import pytest
import torch
from transformers import BertConfig, BertModel

import mechbp
from mechbp.models.text_encoder import text_encoder

LAYERS = 2
HEADS = 3


@pytest.fixture(scope="module")
def bert():
    config = BertConfig(
        vocab_size=50, hidden_size=12, num_hidden_layers=LAYERS, num_attention_heads=HEADS, intermediate_size=20,
        max_position_embeddings=16, layer_norm_eps=1e-12,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        model = BertModel(config, add_pooling_layer=False).double().eval()
    model.set_attn_implementation("eager")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.7, generator=generator)
    return model


def hooked(bert, **changed):
    weights = {name: weight.clone() for name, weight in bert.state_dict().items()} | changed
    return text_encoder(weights, n_heads=HEADS, act_fn="gelu", eps=1e-12)


def test_every_activation_is_the_same(bert):
    tokens = torch.randint(50, (4, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        output = bert(input_ids=tokens, output_hidden_states=True, output_attentions=True)
    names = ["hook_full_embed", "blocks.*.hook_normalized_resid_post", "blocks.*.attn.hook_pattern"]
    encoder = hooked(bert)
    acts = mechbp.capture(encoder, tokens, names)
    states = [acts["hook_full_embed"], *(acts[f"blocks.{layer}.hook_normalized_resid_post"] for layer in range(LAYERS))]
    for own, theirs in zip(states, output.hidden_states, strict=True):
        torch.testing.assert_close(own, theirs, rtol=0, atol=1e-12)
    for layer, theirs in enumerate(output.attentions):
        torch.testing.assert_close(acts[f"blocks.{layer}.attn.hook_pattern"], theirs, rtol=0, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(encoder(tokens), output.last_hidden_state, rtol=0, atol=1e-12)


def test_an_edit_of_a_pattern_changes_the_output(bert):
    tokens = torch.arange(8)[None]
    encoder = hooked(bert)
    with torch.no_grad():
        base = encoder(tokens)
        with mechbp.edit(encoder, {"blocks.1.attn.hook_pattern": lambda pattern: torch.full_like(pattern, 1 / 8)}) as session:
            edited = encoder(tokens)
    assert session.firings == {"blocks.1.attn.hook_pattern": 1} and (base - edited).abs().max() > 1e-3
    assert not [name for name in encoder.hook_dict if name.startswith(("mlm_head", "pooler", "nsp_head", "unembed"))]


def test_a_missing_weight_is_named(bert):
    weights = dict(bert.state_dict())
    del weights["encoder.layer.1.output.LayerNorm.bias"]
    with pytest.raises(KeyError, match="encoder.layer.1.output.LayerNorm.bias"):
        text_encoder(weights, n_heads=HEADS, act_fn="gelu", eps=1e-12)


def test_a_weight_of_another_shape_is_refused(bert):
    with pytest.raises(RuntimeError, match="W_pos"):
        hooked(bert, **{"embeddings.position_embeddings.weight": torch.zeros(16, 11, dtype=torch.float64)})


def test_building_leaves_the_global_generator_alone_and_warns_of_nothing(bert, recwarn):
    before = torch.random.get_rng_state()
    hooked(bert)
    assert torch.equal(before, torch.random.get_rng_state())
    assert not [warning for warning in recwarn if issubclass(warning.category, DeprecationWarning)]
