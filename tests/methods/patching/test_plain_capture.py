"""Activations rebuilt from weights are those of the model, and are not believed where they are not."""

import pytest
import torch

from mechbp.hooks import capture
from mechbp.methods.patching.plain_capture import captured
from mechbp.methods.patching.plain_transformer import Network
from mechbp.models.architectures import build_model
from mechbp.models.config import ModelConfig

TOKENS = torch.randint(6, (40, 5), generator=torch.Generator().manual_seed(0))
HOOKS = ["blocks.*.hook_resid_*", "blocks.1.attn.hook_pattern"]


def model_for():
    return build_model(ModelConfig(3, 2, 16, 24), d_vocab=6, d_vocab_out=4, n_ctx=5, seed=1)


def test_they_are_what_capture_finds():
    model = model_for()
    found, expected = captured(model, TOKENS, HOOKS), capture(model, TOKENS, HOOKS)
    assert list(found) == list(expected) and len(found) == 10
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-5)


@pytest.mark.parametrize("louder", [1.01, 2.0])
def test_weights_that_do_not_reproduce_the_run_are_not_believed(louder):
    """A subclass whose block does something else between its parts looks plain from outside."""
    model = model_for()
    plain = type(model.blocks[1].mlp)

    class Louder(plain):
        def forward(self, x):
            return louder * super().forward(x)

    model.blocks[1].mlp.__class__ = Louder
    assert Network.of(model) is not None
    found, expected = captured(model, TOKENS, HOOKS), capture(model, TOKENS, HOOKS)
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize("off", [0.01, 1.0])
def test_a_model_that_does_more_than_its_weights_say_is_run_by_its_hooks(off):
    model = model_for()
    model.blocks[1].hook_mlp_out.register_forward_hook(lambda module, inputs, output: output + off)
    found, expected = captured(model, TOKENS, HOOKS), capture(model, TOKENS, HOOKS)
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_hooks_that_weights_alone_do_not_give_are_captured():
    model = model_for()
    assert list(captured(model, TOKENS, "blocks.1.attn.hook_pattern")) == ["blocks.1.attn.hook_pattern"]
