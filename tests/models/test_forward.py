"""The training forward is HookedTransformer's forward, logits and gradients, for every architecture on offer."""

import itertools

import pytest
import torch

from mechbp.models import forward
from mechbp.models.architectures import build_model
from mechbp.models.config import ModelConfig

ARCHITECTURES = [
    {"n_layers": layers, "n_heads": heads, "d_mlp": d_mlp, "act_fn": act_fn, "normalization": norm, "attention": attention}
    for (layers, heads), (d_mlp, act_fn), norm, attention in itertools.product(
        [(1, 1), (3, 4)],
        [(0, "relu"), (24, "relu"), (24, "gelu"), (24, "relu2")],
        ["LN", "none"],
        ["bidirectional", "causal"],
    )
]


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: "-".join(map(str, a.values())))
def test_logits_and_gradients_equal_those_of_transformer_lens(architecture):
    model = build_model(ModelConfig(d_model=16, **architecture), d_vocab=6, d_vocab_out=4, n_ctx=8, seed=1)
    model.double()  # without normalisation activations grow by layer; in float32 their rounding would hide small faults
    model.cfg.dtype = torch.float64
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():  # biases and gains too: at their initial 0 and 1 they could be forgotten
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    tokens = torch.randint(6, (5, 8), generator=generator)
    weights = torch.randn((5, 8, 4), generator=generator, dtype=torch.float64)
    answers = []
    for run in (model, lambda x: forward.logits(model, x)):
        model.zero_grad()
        logits = run(tokens)
        (logits.log_softmax(-1) * weights).sum().backward()
        gradients = {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}
        answers.append((logits.detach(), gradients))
    (expected, expected_gradients), (found, found_gradients) = answers
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    largest = max(gradient.abs().max().item() for gradient in expected_gradients.values() if gradient is not None)
    for name, gradient in expected_gradients.items():
        assert (gradient is None) == (found_gradients[name] is None), name
        if gradient is not None:
            torch.testing.assert_close(found_gradients[name], gradient, rtol=1e-9, atol=1e-12 * largest)


def test_shorter_inputs(tiny_encoder):
    tokens = torch.tensor([[0, 5]])
    torch.testing.assert_close(forward.logits(tiny_encoder, tokens), tiny_encoder(tokens), rtol=1e-5, atol=1e-5)
