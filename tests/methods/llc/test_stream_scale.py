"""A residual stream of another size computes the same, and only where the epsilons follow."""

import pytest
import torch

from mechbp.errors import InputError
from mechbp.methods.llc.stream_scale import with_scaled_stream
from mechbp.models.architectures import build_model
from mechbp.models.config import ModelConfig


def built(n_layers, d_mlp, normalization="LN"):
    config = ModelConfig(n_layers=n_layers, n_heads=2, d_model=8, d_mlp=d_mlp, attention="causal", normalization=normalization)
    return build_model(config, d_vocab=5, d_vocab_out=5, n_ctx=6, seed=0)


TOKENS = torch.tensor([[0, 3, 2, 1], [4, 4, 0, 2]])


@pytest.mark.parametrize(("n_layers", "d_mlp"), [(1, 0), (2, 16)])
@pytest.mark.parametrize("factor", [0.5, 2.0, 3.0])
@torch.no_grad()
def test_outputs_stay(n_layers, d_mlp, factor):
    model, generator = built(n_layers, d_mlp), torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    before = model(TOKENS).clone()
    scaled = with_scaled_stream(model, factor)
    torch.testing.assert_close(scaled(TOKENS), before, rtol=0, atol=0 if factor in (0.5, 2.0) else 1e-5)
    assert torch.equal(model(TOKENS), before), "the model given has changed"
    assert float(scaled.embed.W_E.abs().sum() / model.embed.W_E.abs().sum()) == pytest.approx(factor, rel=1e-6)
    tiny = with_scaled_stream(model, 2.0**-8)
    for module in tiny.modules():
        if isinstance(getattr(module, "eps", None), float):
            module.eps = model.ln_final.eps
    assert not torch.allclose(tiny(TOKENS), before, atol=1e-3), "the epsilon plays no part, so that this tests nothing"


def test_refusals():
    with pytest.raises(InputError, match="another function"):
        with_scaled_stream(built(1, 0, "none"), 2.0)
    with pytest.raises(InputError, match="positive"):
        with_scaled_stream(built(1, 0), 0.0)
