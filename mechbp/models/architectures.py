"""Configs become HookedTransformers here, and only here is it known which line of TransformerLens is installed.

Up to release 3.9 the model class is TransformerLens's own. Later lines have none, and `own_transformer` stands in: the same class
name, settings, parameters, hooks and functions.
"""

from __future__ import annotations

import warnings
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mechbp.models.config import ModelConfig
from mechbp.models.devices import device_of, moved

LINE = int(version("transformer-lens").split(".")[0])
"""The line of TransformerLens that is installed: 3, 4."""

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from transformer_lens import HookedRootModule
    from transformer_lens.hook_points import HookPoint

    if TYPE_CHECKING or LINE < 4:
        from transformer_lens import HookedTransformer, HookedTransformerConfig
        from transformer_lens.components.attention import Attention
        from transformer_lens.components.layer_norm import LayerNorm
        from transformer_lens.components.mlps.mlp import MLP
    else:
        from mechbp.models.own_transformer import MLP, Attention, HookedTransformer, HookedTransformerConfig, LayerNorm

__all__ = [
    "LINE",
    "MLP",
    "Attention",
    "HookPoint",
    "HookedRootModule",
    "HookedTransformer",
    "HookedTransformerConfig",
    "LayerNorm",
    "build_model",
    "hooked_transformer",
    "untrained_twin",
]


def build_model(config: ModelConfig, *, d_vocab: int, d_vocab_out: int, n_ctx: int, seed: int) -> HookedTransformer:
    """Return a HookedTransformer in eval mode with weights drawn from `seed`; no global random state is read or moved.

    Matrices and embeddings are N(0, 0.8^2 / d_model), biases 0, layer-norm gains 1.
    """
    model = hooked_transformer(
        n_layers=config.n_layers,
        n_heads=config.n_heads,
        d_model=config.d_model,
        d_head=config.d_head or config.d_model // config.n_heads,
        d_mlp=config.d_mlp or None,
        attn_only=config.d_mlp == 0,
        act_fn=config.act_fn,
        normalization_type=None if config.normalization == "none" else config.normalization,
        attention_dir=config.attention,
        n_ctx=n_ctx,
        d_vocab=d_vocab,
        d_vocab_out=d_vocab_out,
    )
    return _drawn(model, seed)


NOT_SETTINGS = ("init_weights", "device", "outputs")
"""Of a configuration's dictionary: what is set here, and how outputs are read, which TransformerLens does not know."""


def untrained_twin(model: HookedTransformer, seed: int) -> HookedTransformer:
    """Return a model of the same architecture in eval mode, its weights drawn from `seed` as by `build_model`: a control."""
    settings = {key: value for key, value in model.cfg.to_dict().items() if key not in NOT_SETTINGS}
    twin = hooked_transformer(**settings)
    told: Any = model.cfg
    if hasattr(told, "outputs"):
        shown: Any = twin.cfg
        shown.outputs = told.outputs
    return moved(_drawn(twin, seed), device_of(model))


def hooked_transformer(**settings: Any) -> HookedTransformer:
    """Return a HookedTransformer of these HookedTransformerConfig settings, its weights uninitialised memory.

    No global random state is read or moved.
    """
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # The class is deprecated in 3.9 in favour of a bridge that lacks what we need; its users need not hear of it.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        return HookedTransformer(HookedTransformerConfig(init_weights=False, device="cpu", **settings))


def _drawn(model: HookedTransformer, seed: int) -> HookedTransformer:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            _initialise(name.rpartition(".")[2], parameter, generator, spread=0.8 / model.cfg.d_model**0.5)
    return model.eval()


def _initialise(name: str, parameter: Tensor, generator: torch.Generator, *, spread: float) -> None:
    if name.startswith("W_"):
        parameter.normal_(0.0, spread, generator=generator)
    else:
        parameter.fill_(1.0 if name == "w" else 0.0)
