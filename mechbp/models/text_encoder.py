"""A BERT-style encoder with TransformerLens's hooks, for weights of transformers' BertModel.

A block computes, on its input x, y = LN1(x + attention(x)) and then LN2(y + MLP(y)); every position is a key. The output is what
the last block hands on: there is no further head. Hook names are those of TransformerLens 3.9's encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from mechbp.models.architectures import MLP, Attention, HookedRootModule, HookedTransformerConfig, HookPoint, LayerNorm


class TextEmbedding(nn.Module):
    """The sum of a token's, a position's and the first kind of text's vector, normalised."""

    def __init__(self, cfg: HookedTransformerConfig) -> None:
        super().__init__()
        sizes = {"embed.W_E": cfg.d_vocab, "pos_embed.W_pos": cfg.n_ctx, "token_type_embed.W_token_type": 2}
        for name, rows in sizes.items():
            part, weight = name.split(".")
            table: Any = nn.Module()
            table.register_parameter(weight, nn.Parameter(torch.empty(rows, cfg.d_model, dtype=cfg.dtype)))
            setattr(self, part, table)
        self.ln: Any = LayerNorm(cfg)
        self.hook_embed = HookPoint()
        self.hook_pos_embed = HookPoint()
        self.hook_token_type_embed = HookPoint()

    def forward(self, tokens: Int[Tensor, "batch position"]) -> Float[Tensor, "batch position d"]:
        """Return the input of the first block."""
        parts: Any = self  # torch types every submodule as Tensor | Module
        token = self.hook_embed(parts.embed.W_E[tokens])
        position = self.hook_pos_embed(parts.pos_embed.W_pos[: tokens.shape[1]].repeat(len(tokens), 1, 1))
        kind = self.hook_token_type_embed(parts.token_type_embed.W_token_type[torch.zeros_like(tokens)])
        return self.ln(token + position + kind)


class TextBlock(nn.Module):
    """Attention and MLP, each followed by its skip connection and then its layer norm."""

    def __init__(self, cfg: HookedTransformerConfig) -> None:
        super().__init__()
        self.attn: Any = Attention(cfg)
        self.ln1: Any = LayerNorm(cfg)
        self.mlp: Any = MLP(cfg)
        self.ln2: Any = LayerNorm(cfg)
        self.hook_attn_out = HookPoint()
        self.hook_mlp_out = HookPoint()
        self.hook_resid_pre = HookPoint()
        self.hook_resid_mid = HookPoint()
        self.hook_resid_post = HookPoint()
        self.hook_normalized_resid_post = HookPoint()

    def forward(self, residual: Float[Tensor, "batch position d"]) -> Float[Tensor, "batch position d"]:
        """Return what the block hands on."""
        residual = self.hook_resid_pre(residual)
        middle = self.ln1(self.hook_resid_mid(residual + self.hook_attn_out(self.attn(residual, residual, residual))))
        after = self.hook_resid_post(middle + self.hook_mlp_out(self.mlp(middle)))
        return self.hook_normalized_resid_post(self.ln2(after))


class TextEncoder(HookedRootModule):
    """See the module for what it computes; weights are uninitialised memory until `text_encoder` writes them."""

    def __init__(self, cfg: HookedTransformerConfig) -> None:
        super().__init__()
        self.cfg: Any = cfg
        self.embed: Any = TextEmbedding(cfg)
        self.blocks: Any = nn.ModuleList([TextBlock(cfg) for _ in range(cfg.n_layers)])
        self.hook_full_embed = HookPoint()
        self.setup()

    def forward(self, input: Int[Tensor, "batch position"]) -> Float[Tensor, "batch position d"]:
        """Return what the last block hands on."""
        residual = self.hook_full_embed(self.embed(input))
        for block in self.blocks:
            residual = block(residual)
        return residual


def text_encoder(weights: Mapping[str, Tensor], *, n_heads: int, act_fn: str, eps: float) -> TextEncoder:
    """Return the encoder of these weights in eval mode, its sizes read off the weights.

    weights: named as transformers' BertModel names them; those of heads are left alone. eps: what layer norms add to a variance.
    Raises KeyError for a weight that is missing and RuntimeError for one of another shape.
    """
    embedding = weights["embeddings.word_embeddings.weight"]
    d_model = embedding.shape[1]
    n_layers = len({name.split(".")[2] for name in weights if name.startswith("encoder.layer.")})
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
