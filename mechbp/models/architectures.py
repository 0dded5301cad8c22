"""Configs become HookedTransformers here, and only here is transformer_lens imported."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from mechbp.models.config import ModelConfig

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from transformer_lens import HookedEncoder, HookedTransformer, HookedTransformerConfig
    from transformer_lens.components.attention import Attention
    from transformer_lens.components.layer_norm import LayerNorm
    from transformer_lens.components.mlps.mlp import MLP
    from transformer_lens.hook_points import HookPoint
    from transformer_lens.HookedRootModule import HookedRootModule

__all__ = [
    "MLP",
    "Attention",
    "HookPoint",
    "HookedRootModule",
    "HookedTransformer",
    "HookedTransformerConfig",
    "LayerNorm",
    "build_model",
    "hooked_transformer",
    "text_encoder",
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


def untrained_twin(model: HookedTransformer, seed: int) -> HookedTransformer:
    """Return a model of the same architecture in eval mode, its weights drawn from `seed` as by `build_model`: a control."""
    settings = {key: value for key, value in model.cfg.to_dict().items() if key not in ("init_weights", "device")}
    return _drawn(hooked_transformer(**settings), seed)


def hooked_transformer(**settings: Any) -> HookedTransformer:
    """Return a HookedTransformer of these HookedTransformerConfig settings, its weights uninitialised memory.

    No global random state is read or moved.
    """
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # The class is deprecated in 3.9 in favour of a bridge that lacks what we need; its users need not hear of it.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        return HookedTransformer(HookedTransformerConfig(init_weights=False, device="cpu", **settings))


class TextEncoder(HookedEncoder):
    """A BERT-style encoder with TransformerLens's hooks, whose output is what its last block writes; it has no further head."""

    HEADS = ("mlm_head", "unembed", "nsp_head", "pooler")

    def __init__(self, cfg: HookedTransformerConfig) -> None:
        super().__init__(cfg, move_to_device=False)
        for head in self.HEADS:
            delattr(self, head)
        self.setup()  # hooks of the heads are no longer listed

    def forward(self, input: Tensor) -> Tensor:  # type: ignore[override]
        """Return [batch, position, d_model], what the last block writes, its layer norm applied; every position is a key."""
        return self.encoder_output(input)


def text_encoder(weights: Mapping[str, Tensor], *, n_heads: int, act_fn: str, eps: float) -> TextEncoder:
    """Return the encoder of these weights in eval mode, its sizes read off the weights.

    weights: named as transformers' BertModel names them; those of heads are left alone. eps: what layer norms add to a variance.
    Raises KeyError for a weight that is missing and RuntimeError for one of another shape.
    """
    embedding = weights["embeddings.word_embeddings.weight"]
    d_model = embedding.shape[1]
    n_layers = len({name.split(".")[2] for name in weights if name.startswith("encoder.layer.")})
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        config = HookedTransformerConfig(
            n_layers=n_layers,
            n_heads=n_heads,
            d_model=d_model,
            d_head=d_model // n_heads,
            d_mlp=weights["encoder.layer.0.intermediate.dense.weight"].shape[0],
            d_vocab=embedding.shape[0],
            n_ctx=weights["embeddings.position_embeddings.weight"].shape[0],
            act_fn=act_fn,
            eps=eps,
            normalization_type="LN",
            attention_dir="bidirectional",
            init_weights=False,
            device="cpu",
            dtype=embedding.dtype,
        )
        model = TextEncoder(config)
    missing = model.load_state_dict(_encoder_weights(weights, n_layers, n_heads), strict=False).missing_keys
    if parameters := sorted(set(missing) & {name for name, _ in model.named_parameters()}):
        raise KeyError(f"text_encoder: no weight for {', '.join(parameters)}.")
    return model.eval()


def _encoder_weights(weights: Mapping[str, Tensor], n_layers: int, n_heads: int) -> dict[str, Tensor]:
    """Rename and reshape BertModel's weights: its matrices are [out, in], its heads are stretches of one axis."""
    table = {
        "embed.embed.W_E": "embeddings.word_embeddings.weight",
        "embed.pos_embed.W_pos": "embeddings.position_embeddings.weight",
        "embed.token_type_embed.W_token_type": "embeddings.token_type_embeddings.weight",
        "embed.ln.w": "embeddings.LayerNorm.weight",
        "embed.ln.b": "embeddings.LayerNorm.bias",
    }
    found = {name: weights[theirs] for name, theirs in table.items()}
    for layer in range(n_layers):
        here, there = f"blocks.{layer}", f"encoder.layer.{layer}"
        for letter, part in (("Q", "query"), ("K", "key"), ("V", "value")):
            matrix, bias = (weights[f"{there}.attention.self.{part}.{kind}"] for kind in ("weight", "bias"))
            found[f"{here}.attn.W_{letter}"] = rearrange(matrix, "(head d_head) d_model -> head d_model d_head", head=n_heads)
            found[f"{here}.attn.b_{letter}"] = rearrange(bias, "(head d_head) -> head d_head", head=n_heads)
        output = weights[f"{there}.attention.output.dense.weight"]
        found[f"{here}.attn.W_O"] = rearrange(output, "d_model (head d_head) -> head d_head d_model", head=n_heads)
        found[f"{here}.attn.b_O"] = weights[f"{there}.attention.output.dense.bias"]
        for side, part in (("in", "intermediate.dense"), ("out", "output.dense")):
            found[f"{here}.mlp.W_{side}"] = weights[f"{there}.{part}.weight"].T
            found[f"{here}.mlp.b_{side}"] = weights[f"{there}.{part}.bias"]
        for norm, part in (("ln1", "attention.output.LayerNorm"), ("ln2", "output.LayerNorm")):
            found[f"{here}.{norm}.w"] = weights[f"{there}.{part}.weight"]
            found[f"{here}.{norm}.b"] = weights[f"{there}.{part}.bias"]
    return found


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
