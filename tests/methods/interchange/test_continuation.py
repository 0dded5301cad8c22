"""Runs continued from a written activation take the weights' short way wherever it gives what is asked for."""

import pytest
import torch

from mechbp.methods.interchange.continuation import Continuation, _agree
from mechbp.models.architectures import build_model
from mechbp.models.config import ModelConfig


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("act_fn", ["relu", "gelu", "relu2"])
def test_a_changed_run_continues_from_weights_where_they_give_what_is_asked_for(act_fn, gradients):
    model = build_model(ModelConfig(3, 1, 16, 24, act_fn=act_fn), d_vocab=6, d_vocab_out=4, n_ctx=5, seed=1)
    tokens = torch.randint(6, (9, 5), generator=torch.Generator().manual_seed(0))
    reads = torch.arange(9)[:, None] % 5
    place = Continuation.at(model, "blocks.0.hook_resid_post")
    base = place.activation(tokens)
    answer = place.answers(tokens, base, reads, gradients=gradients)
    changed = (base + 0.1).requires_grad_(gradients)
    with torch.set_grad_enabled(gradients):
        found = answer(slice(None), changed)
        expected = place.logits(tokens, changed)[torch.arange(9), reads[:, 0]]
    torch.testing.assert_close(found[:, 0], expected, rtol=1e-4, atol=1e-5)
    if gradients:
        slopes = [torch.autograd.grad(logits.square().sum(), changed)[0] for logits in (found, expected)]
        torch.testing.assert_close(*slopes, rtol=1e-3, atol=1e-5)
    ran = []
    model.blocks[1].register_forward_hook(lambda *_: ran.append(1))
    with torch.no_grad():
        answer(slice(None), base)
    squares_in_place = act_fn == "relu2" and gradients
    assert bool(ran) == squares_in_place, "the model itself runs where weights have no gradient, and only there"


@pytest.mark.parametrize(("dtype", "within", "beyond"), [(torch.float32, 2e-5, 2e-3), (torch.float64, 1e-10, 1e-7)])
def test_a_short_way_is_believed_as_far_as_the_precision_reaches(dtype, within, beyond):
    activation = torch.linspace(-1, 1, 24, dtype=dtype).reshape(2, 3, 4)
    expected = lambda rows, start: start[rows]  # noqa: E731
    for off, believed in ((within, True), (beyond, False)):
        assert _agree(lambda rows, start, off=off: start[rows] + off, expected, activation, gradients=False) is believed
