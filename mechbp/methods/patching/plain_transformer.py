"""The forward pass of a plain pre-norm transformer from its weights, cut where patching needs it, without hooks.

Taken only from models whose every part is known, that carry no forward hooks of anyone's, and whose own logits it reproduces.
Numbers of rows R are cells times examples; P positions, H heads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu_,
    "gelu": F.gelu,
    "relu2": lambda x: torch.relu_(x).square_(),
}
UNUSUAL = (
    *("gated_mlp", "parallel_attn_mlp", "use_attn_result", "use_split_qkv_input", "use_attn_in", "use_hook_mlp_in"),
    *("final_rms", "use_normalization_before_and_after", "scale_attn_by_inverse_layer_idx", "use_qk_norm", "use_local_attn"),
)
"""Settings that change the arithmetic; a model with any of them is left to the hooks."""


@dataclass(frozen=True, eq=False)
class Norm:
    """Layer norm, with or without gains; None stands for no normalisation."""

    weight: Tensor | None
    bias: Tensor | None
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps)


@dataclass(frozen=True, eq=False)
class Block:
    """One block's weights, heads side by side."""

    ln1: Callable[[Tensor], Tensor]
    ln2: Callable[[Tensor], Tensor]
    w_qkv: Tensor
    """[d, 3 H d_head]"""
    b_qkv: Tensor
    w_out: Tensor
    """[H, d_head, d]"""
    b_out: Tensor
    mlp: tuple[Tensor, Tensor, Tensor, Tensor] | None
    """W_in, b_in, W_out, b_out."""
    activation: Callable[[Tensor], Tensor]
    scale: float

    def qkv(self, residual: Float[Tensor, "... d"]) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries (scaled), keys and values [..., H, d_head]."""
        heads, d_head, d = self.w_out.shape
        flat = torch.addmm(self.b_qkv, self.ln1(residual).reshape(-1, d), self.w_qkv)
        query, key, value = flat.view(*residual.shape[:-1], 3, heads, d_head).unbind(dim=-3)
        return query / self.scale, key, value

    def mixed(self, z: Float[Tensor, "... head d_head"]) -> Float[Tensor, "... d"]:
        """Return the attention output of mixed values."""
        heads, d_head, d = self.w_out.shape
        flat = torch.addmm(self.b_out, z.reshape(-1, heads * d_head), self.w_out.reshape(-1, d))
        return flat.view(*z.shape[:-2], d)

    def after_attention(self, middle: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """Return the residual stream after the MLP, given that before it."""
        if self.mlp is None:
            return middle
        w_in, b_in, w_out, b_out = self.mlp
        flat = middle.reshape(-1, middle.shape[-1])
        hidden = self.activation(torch.addmm(b_in, self.ln2(flat), w_in))
        return torch.addmm(b_out, hidden, w_out).add_(flat).view(middle.shape)


@dataclass(frozen=True, eq=False)
class Network:
    """All blocks and the unembedding."""

    blocks: tuple[Block, ...]
    ln_final: Callable[[Tensor], Tensor]
    w_u: Tensor
    b_u: Tensor
    causal: bool

    @classmethod
    def of(cls, model: Any) -> Network | None:
        """Read a model's weights; None where it is not, for all its settings say, a plain pre-norm transformer without hooks."""
        cfg: Any = getattr(model, "cfg", None)
        if not isinstance(model, nn.Module) or any(getattr(cfg, name, False) for name in UNUSUAL):
            return None
        if any(module._forward_hooks or module._forward_pre_hooks for module in model.modules()):
            return None
        known = hasattr(cfg, "attn_only") and (cfg.attn_only or cfg.act_fn in ACTIVATIONS)
        plain = known and getattr(cfg, "positional_embedding_type", None) == "standard"
        whole = getattr(cfg, "n_key_value_heads", None) is None and getattr(cfg, "attn_scores_soft_cap", -1.0) <= 0
        if not plain or not whole or getattr(cfg, "normalization_type", "") not in ("LN", "LNPre", None):
            return None
        parts: Any = model
        try:
            blocks = tuple(_block(block, cfg) for block in parts.blocks)
            last, unembed = _norm(parts, "ln_final"), parts.unembed
            return cls(blocks, last, unembed.W_U.detach(), unembed.b_U.detach(), cfg.attention_dir == "causal")
        except AttributeError:
            return None

    def future(self, length: int, like: Tensor) -> Float[Tensor, "query key"] | None:
        """Return what is added to scores so that no query sees later keys; None where all see all."""
        return like.new_full((length, length), -torch.inf).triu(1) if self.causal else None

    def through(self, layer: int, residual: Float[Tensor, "R P d"]) -> Float[Tensor, "R P d"]:
        """Return the residual stream after one block."""
        return self.blocks[layer].after_attention(self.after_mixing(layer, residual))

    def after_mixing(self, layer: int, residual: Float[Tensor, "R P d"]) -> Float[Tensor, "R P d"]:
        """Return the residual stream between a block's attention and its MLP."""
        block = self.blocks[layer]
        query, key, value = block.qkv(residual)
        scores = torch.einsum("rqhe,rkhe->rhqk", query, key)
        future = self.future(residual.shape[1], scores)
        pattern = (scores if future is None else scores.add_(future)).softmax(dim=-1)
        z = torch.einsum("rhqk,rkhe->rqhe", pattern, value)
        return block.mixed(z).add_(residual)

    def through_last(self, residual: Float[Tensor, "R P d"], reads: Int[Tensor, "R r"]) -> Float[Tensor, "R r d"]:
        """Return the residual stream after the last block at the positions `reads` only.

        Few queries need no keys and values: q . W_K x_j = (W_K' q) . x_j, and sum_j a_j W_V x_j = W_V sum_j a_j x_j.
        """
        block = self.blocks[-1]
        heads, d_head, d = block.w_out.shape
        at = residual.gather(1, reads[..., None].expand(-1, -1, d))
        query, seen = block.qkv(at)[0], block.ln1(residual)
        (_, w_k, w_v), (_, _, b_v) = block.w_qkv.view(d, 3, heads, d_head).unbind(1), block.b_qkv.view(3, heads, d_head)
        scores = torch.einsum("rqhd,rkd->rhqk", torch.einsum("rqhe,dhe->rqhd", query, w_k), seen)  # b_K shifts all keys alike
        future = self.future(residual.shape[1], scores)
        if future is not None:
            scores += future[reads][:, None]
        gathered = torch.einsum("rhqk,rkd->rqhd", scores.softmax(dim=-1), seen)
        z = torch.einsum("rqhd,dhe->rqhe", gathered, w_v) + b_v
        return block.after_attention(block.mixed(z).add_(at))

    def logits(self, residual: Float[Tensor, "... d"]) -> Float[Tensor, "... q"]:
        """Return the logits of the residual stream after the last block."""
        flat = self.ln_final(residual).reshape(-1, residual.shape[-1])
        return torch.addmm(self.b_u, flat, self.w_u).view(*residual.shape[:-1], -1)


def _block(block: Any, cfg: Any) -> Block:
    attention = block.attn
    d = attention.W_Q.shape[1]

    def side_by_side(name: str) -> tuple[Tensor, Tensor]:
        weight, bias = getattr(attention, f"W_{name}").detach(), getattr(attention, f"b_{name}").detach()
        return weight.permute(1, 0, 2).reshape(d, -1), bias.reshape(-1)

    weights, biases = zip(*(side_by_side(name) for name in "QKV"), strict=True)
    mlp = None
    if not cfg.attn_only:
        mlp = tuple(getattr(block.mlp, name).detach() for name in ("W_in", "b_in", "W_out", "b_out"))
    return Block(
        ln1=_norm(block, "ln1"),
        ln2=_norm(block, "ln2") if mlp else _same,
        w_qkv=torch.cat(weights, dim=1).contiguous(),
        b_qkv=torch.cat(biases),
        w_out=attention.W_O.detach(),
        b_out=attention.b_O.detach(),
        mlp=mlp,  # type: ignore[arg-type]
        activation=ACTIVATIONS.get(cfg.act_fn, torch.relu_),
        scale=float(attention.attn_scale),
    )


def _norm(owner: Any, name: str) -> Callable[[Tensor], Tensor]:
    norm = getattr(owner, name, None)
    if norm is None or isinstance(norm, nn.Identity):
        return _same
    weight, bias = (part.detach() if isinstance(part := getattr(norm, key, None), Tensor) else None for key in "wb")
    return Norm(weight, bias, float(norm.eps))


def _same(x: Tensor) -> Tensor:
    return x
