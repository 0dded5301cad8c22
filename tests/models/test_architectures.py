"""Models are built as their config says, in eval mode, from their own seed."""

import pytest
import torch

from mechbp.models.architectures import build_model
from mechbp.models.config import ModelConfig

SHAPE = {"d_vocab": 6, "d_vocab_out": 4, "n_ctx": 5}


def test_the_config_arrives_in_the_model():
    config = ModelConfig(n_layers=3, n_heads=2, d_model=16, d_mlp=24, act_fn="gelu", attention="causal")
    model = build_model(config, **SHAPE, seed=0)
    cfg = model.cfg
    assert (cfg.n_layers, cfg.n_heads, cfg.d_model, cfg.d_head, cfg.d_mlp, cfg.n_ctx) == (3, 2, 16, 8, 24, 5)
    assert (cfg.act_fn, cfg.attention_dir, cfg.d_vocab, cfg.d_vocab_out, cfg.attn_only) == ("gelu", "causal", 6, 4, False)
    assert cfg.seed is None and not model.training
    assert model(torch.zeros((2, 5), dtype=torch.int64)).shape == (2, 5, 4)


@pytest.mark.parametrize("attention", ["bidirectional", "causal"])
def test_only_a_causal_model_is_blind_to_the_future(attention):
    config = ModelConfig(n_layers=2, n_heads=1, d_model=16, d_mlp=0, attention=attention)
    model = build_model(config, **SHAPE, seed=0)
    tokens = torch.tensor([[0, 1, 2, 3, 0], [0, 1, 2, 3, 1]])
    first, second = model(tokens)
    assert torch.equal(first[:4], second[:4]) == (attention == "causal")


def test_seeds_name_weights():
    config = ModelConfig(n_layers=1, n_heads=1, d_model=64, d_mlp=64)
    one, same, other = (build_model(config, **SHAPE, seed=seed) for seed in (0, 0, 1))
    pairs = {name: p.detach() for name, p in one.named_parameters()}
    assert all(torch.equal(value, dict(same.named_parameters())[name]) for name, value in pairs.items())
    assert not torch.equal(one.embed.W_E, other.embed.W_E)
    assert float(pairs["blocks.0.mlp.W_in"].std()) == pytest.approx(0.1, rel=0.05)  # 0.8 / sqrt(64)
    assert float(pairs["blocks.0.attn.b_Q"].abs().max()) == 0
    assert float(pairs["ln_final.w"].min()) == float(pairs["ln_final.w"].max()) == 1
