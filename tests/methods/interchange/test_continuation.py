"""Runs continued from a written activation take the weights' short way for every activation function on offer."""

import pytest
import torch

from mechbp.methods.interchange.continuation import Continuation
from mechbp.models.architectures import build_model
from mechbp.models.config import ModelConfig


@pytest.mark.parametrize("act_fn", ["relu", "gelu", "relu2"])
def test_the_weights_continue_a_changed_run_with_its_gradient(act_fn):
    model = build_model(ModelConfig(3, 1, 16, 24, act_fn=act_fn), d_vocab=6, d_vocab_out=4, n_ctx=5, seed=1)
    tokens = torch.randint(6, (9, 5), generator=torch.Generator().manual_seed(0))
    reads = torch.arange(9)[:, None] % 5
    place = Continuation.at(model, "blocks.0.hook_resid_post")
    base = place.activation(tokens)
    answer = place.answers(tokens, base, reads)
    changed = (base + 0.1).requires_grad_()
    found = answer(slice(None), changed)
    expected = place.logits(tokens, changed)[torch.arange(9), reads[:, 0]]
    torch.testing.assert_close(found[:, 0], expected, rtol=1e-4, atol=1e-5)
    gradients = [torch.autograd.grad(logits.square().sum(), changed)[0] for logits in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-5)
    runs = []
    with torch.no_grad():
        model.blocks[1].register_forward_hook(lambda *_: runs.append(1))
        answer(slice(None), base)
    assert not runs, "the model itself ran"
