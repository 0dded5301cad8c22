"""Mean attention patterns: those of the model, in order of layers, and with positions left out."""

import numpy as np
import pytest
import torch

from mechbp.errors import InputError
from mechbp.hooks import capture
from mechbp.methods.attention.patterns import mean_pattern
from mechbp.models.architectures import build_model
from mechbp.models.config import ModelConfig

TOKENS = torch.randint(6, (7, 5), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def model():
    built = build_model(ModelConfig(2, 2, 16, 24), d_vocab=6, d_vocab_out=4, n_ctx=5, seed=1)
    with torch.no_grad():  # of two layers and heads that differ, query by query
        for number, block in enumerate(built.blocks):
            block.attn.W_Q.mul_(20 + 20 * number)
    return built


def test_they_are_those_of_the_model(model):
    found = mean_pattern(model, TOKENS)
    assert found.layers == (0, 1) and found.to_rest is None and found.from_rest is None
    for layer, row in enumerate(found.mean):
        captured = capture(model, TOKENS, f"blocks.{layer}.attn.hook_pattern")[f"blocks.{layer}.attn.hook_pattern"]
        np.testing.assert_allclose(row, captured.double().mean(dim=0).numpy(), rtol=0, atol=1e-7)


@pytest.mark.parametrize("kept", [1, 3, 4])
def test_what_is_left_out_is_told_and_rows_sum_to_one_without_it(model, kept):
    whole, found = mean_pattern(model, TOKENS).within, mean_pattern(model, TOKENS, kept)
    np.testing.assert_allclose(found.within.sum(axis=-1), 1, rtol=0, atol=1e-6)
    share = whole[..., :kept, :kept] / whole[..., :kept, :kept].sum(axis=-1)[..., None]
    np.testing.assert_allclose(found.within, share, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.to_rest + whole[..., :kept, :kept].sum(axis=-1), 1, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(found.from_rest, whole[..., kept:, :kept])


@pytest.mark.parametrize("kept", [0, 6])
def test_more_positions_than_there_are_cannot_be_kept(model, kept):
    with pytest.raises(InputError, match=f"{kept} positions were to be kept, the patterns have 5"):
        mean_pattern(model, TOKENS, kept)
