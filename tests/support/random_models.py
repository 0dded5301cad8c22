"""HookedTransformers with every weight random, biases and gains too, so that nothing is right by being 0 or 1."""

from __future__ import annotations

import copy

import pytest
import torch

from mechbp.models.architectures import LINE, HookedTransformer, hooked_transformer

SIZES = {"n_layers": 1, "n_heads": 2, "d_model": 8, "d_head": 3, "n_ctx": 5, "d_vocab": 6, "d_vocab_out": 7}


def random_model(seed: int = 0, dtype: torch.dtype = torch.float64, **settings: object) -> HookedTransformer:
    """One attention-only causal block with LN unless settings say otherwise; a d_mlp makes it one with an MLP.

    Skips the test where the installed line of TransformerLens has no model of these settings.
    """
    attn_only = "d_mlp" not in settings
    act_fn = None if attn_only else "gelu"
    given = {**SIZES, "attn_only": attn_only, "act_fn": act_fn, "normalization_type": "LN", "dtype": dtype, **settings}
    try:
        model = hooked_transformer(**given)
    except (TypeError, ValueError) as error:
        if LINE < 4:
            raise
        pytest.skip(f"needs the HookedTransformer of TransformerLens 3.9: {error}")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(1 + 0.3 * drawn if name.endswith(".w") else 0.6 * drawn)
    return model.eval()


def in_float64(model: HookedTransformer) -> HookedTransformer:
    """A copy that computes in float64."""
    twin = copy.deepcopy(model).double()
    twin.cfg.dtype = torch.float64
    return twin


def random_tokens(model: HookedTransformer, n: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(0, model.cfg.d_vocab, (n, model.cfg.n_ctx), generator=torch.Generator().manual_seed(seed))
