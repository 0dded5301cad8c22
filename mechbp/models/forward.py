"""The training forward: the same function of the same parameters as HookedTransformer, without hooks, about 1.6x faster."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from mechbp.models.architectures import HookedTransformer

ACTIVATIONS = {"relu": torch.relu, "gelu": F.gelu, "relu2": lambda x: torch.relu(x).square()}


def logits(model: HookedTransformer, tokens: Int[Tensor, "batch position"]) -> Float[Tensor, "batch position q"]:
    """Return model(tokens), to float32 rounding, with gradients to the model's own parameters."""
    batch, length = tokens.shape
    parts: Any = model  # torch types every submodule as Tensor | Module
    activation = ACTIVATIONS[model.cfg.act_fn] if not model.cfg.attn_only else None
    residual = (parts.embed.W_E[tokens] + parts.pos_embed.W_pos[:length]).reshape(batch * length, -1)
    future = None
    if model.cfg.attention_dir == "causal":
        future = torch.full((length, length), -torch.inf).triu(1)
    for block in parts.blocks:
        residual = residual + _attention(block.attn, _norm(residual, block, "ln1"), batch, length, future)
        if activation is not None:
            hidden = activation(torch.addmm(block.mlp.b_in, _norm(residual, block, "ln2"), block.mlp.W_in))
            residual = residual + torch.addmm(block.mlp.b_out, hidden, block.mlp.W_out)
    return torch.addmm(parts.unembed.b_U, _norm(residual, parts, "ln_final"), parts.unembed.W_U).view(batch, length, -1)


def _norm(residual: Tensor, owner: Any, name: str) -> Tensor:
    norm = getattr(owner, name, None)
    if norm is None or not hasattr(norm, "w"):
        return residual
    return F.layer_norm(residual, norm.w.shape, norm.w, norm.b, norm.eps)


def _attention(attention: Any, x: Tensor, batch: int, length: int, future: Tensor | None) -> Tensor:
    heads, d_model, d_head = attention.W_Q.shape

    def project(weight: Tensor, bias: Tensor) -> Tensor:
        flat = torch.addmm(bias.reshape(-1), x, weight.permute(1, 0, 2).reshape(d_model, heads * d_head))
        by_head = flat.view(batch, length, heads, d_head).transpose(1, 2)
        return by_head.reshape(batch * heads, length, d_head)

    query = project(attention.W_Q, attention.b_Q)
    key = project(attention.W_K, attention.b_K)
    value = project(attention.W_V, attention.b_V)
    scores = torch.bmm(query, key.transpose(1, 2)) / attention.attn_scale
    pattern = (scores if future is None else scores + future).softmax(dim=-1)
    mixed = torch.bmm(pattern, value).view(batch, heads, length, d_head).transpose(1, 2).reshape(-1, heads * d_head)
    return torch.addmm(attention.b_O, mixed, attention.W_O.reshape(heads * d_head, d_model))
