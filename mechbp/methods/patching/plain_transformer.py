"""The forward pass of a plain pre-norm transformer from its weights, cut where patching needs it, without hooks.

Taken only from models whose every part is known, that carry no forward hooks of anyone's, and whose own logits it reproduces.
A run is one example of one patched cell; H heads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from mechbp.brief import Brief

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
SCORES = "run query head e, run key head e -> run head query key"
MIXING = "run head query key, run key head e -> run query head e"


@dataclass(frozen=True, eq=False, repr=False)
class Norm(Brief):
    """Layer norm; gains of 1 and biases of 0 are spelt out, since torch is twice as fast with them as without."""

    weight: Tensor
    bias: Tensor
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps)


@dataclass(frozen=True, eq=False, repr=False)
class Block(Brief):
    """One block's weights, heads side by side.

    Where a head is wide (2 d_head > d), W_Q W_K' and W_V W_O are folded into one matrix each: keys are then the normalised
    residual stream itself, and values what the head writes to it. That takes two products of d x d instead of four.
    """

    ln1: Callable[[Tensor], Tensor]
    ln2: Callable[[Tensor], Tensor]
    folded: bool
    w_in: Tensor
    """[d, 3 H d_head]: scaled queries, keys, values; folded [d, 2 H d]: scaled queries, values."""
    b_in: Tensor
    w_out: Tensor
    """[H, d_head, d]"""
    b_out: Tensor
    mlp: tuple[Tensor, Tensor, Tensor, Tensor] | None
    """W_in, b_in, W_out, b_out."""
    activation: Callable[[Tensor], Tensor]

    def qkv(self, residual: Float[Tensor, "*rows d"]) -> tuple[Tensor, Tensor, Tensor]:
        """Return scaled queries, keys and values [..., H, e], where e = d_head or, folded, d."""
        heads = self.w_out.shape[0]
        seen = self.ln1(residual)
        flat = torch.addmm(self.b_in, seen.reshape(-1, seen.shape[-1]), self.w_in)
        if self.folded:
            query, value = flat.view(*residual.shape[:-1], 2, heads, -1).unbind(dim=-3)
            return query, seen[..., None, :].expand(*seen.shape[:-1], heads, -1), value
        query, key, value = flat.view(*residual.shape[:-1], 3, heads, -1).unbind(dim=-3)
        return query, key, value

    def mixed(self, z: Float[Tensor, "*rows head e"]) -> Float[Tensor, "*rows d"]:
        """Return the attention output of mixed values."""
        if not self.folded:
            return self.written(z)
        return z.squeeze(dim=-2) if z.shape[-2] == 1 else z.sum(dim=-2)

    def written(self, z: Float[Tensor, "*rows head d_head"]) -> Float[Tensor, "*rows d"]:
        """Return the attention output of z as the model's own hook shows it."""
        flat = torch.addmm(self.b_out, z.reshape(-1, self.w_out.shape[:2].numel()), self.w_out.flatten(0, 1))
        return flat.view(*z.shape[:-2], -1)

    def mixed_of_seen(
        self, query: Float[Tensor, "run read head e"], seen: Float[Tensor, "run key d"], mask: Tensor | None
    ) -> Float[Tensor, "run read d"]:
        """Return the attention output of few queries without making keys and values of all that they see.

        q . W_K' x_j = (W_K q) . x_j, where b_K shifts all keys alike, and sum_j a_j W_V x_j = W_V sum_j a_j x_j.
        """
        weights = rearrange(self.w_in, "d (part head e) -> part d head e", head=query.shape[2], e=query.shape[3])
        value = rearrange(self.b_in, "(part head e) -> part head e", head=query.shape[2], e=query.shape[3])[-1]
        if not self.folded:
            query = einsum(query, weights[1], "run read head e, d head e -> run read head d")
        scores = einsum(query, seen, "run read head d, run key d -> run head read key")
        pattern = (scores if mask is None else scores + mask).softmax(dim=-1)
        gathered = einsum(pattern, seen, "run head read key, run key d -> run read head d")
        return self.mixed(einsum(gathered, weights[-1], "run read head d, d head e -> run read head e") + value)

    def after_attention(self, middle: Float[Tensor, "*rows d"]) -> Float[Tensor, "*rows d"]:
        """Return the residual stream after the MLP, given that before it."""
        if self.mlp is None:
            return middle
        w_in, b_in, w_out, b_out = self.mlp
        flat = middle.reshape(-1, middle.shape[-1])
        hidden = self.activation(torch.addmm(b_in, self.ln2(flat), w_in))
        return torch.addmm(b_out, hidden, w_out).add_(flat).view(middle.shape)


@dataclass(frozen=True, eq=False, repr=False)
class Network(Brief):
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
        if any(module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module) for module in model.modules()):
            return None  # watched, or a forward pass put in the place of the class's own
        known = hasattr(cfg, "attn_only") and (cfg.attn_only or cfg.act_fn in ACTIVATIONS)
        plain = known and getattr(cfg, "positional_embedding_type", None) == "standard"
        whole = getattr(cfg, "n_key_value_heads", None) is None and getattr(cfg, "attn_scores_soft_cap", -1.0) <= 0
        if not plain or not whole or getattr(cfg, "normalization_type", "") not in ("LN", "LNPre", None):
            return None
        parts: Any = model
        try:
            blocks = tuple(_block(block, cfg) for block in parts.blocks)
            last, unembed = _norm(parts, "ln_final", parts.unembed.W_U.T), parts.unembed
            return cls(blocks, last, unembed.W_U.detach(), unembed.b_U.detach(), cfg.attention_dir == "causal")
        except AttributeError:
            return None

    def future(self, length: int, like: Tensor) -> Float[Tensor, "query key"] | None:
        """Return what is added to scores so that no query sees later keys; None where all see all."""
        return like.new_full((length, length), -torch.inf).triu(1) if self.causal else None

    def pattern(
        self, scores: Float[Tensor, "run head query key"], reads: Int[Tensor, "run query"] | None = None
    ) -> Float[Tensor, "run head query key"]:
        """Return the attention pattern from scores, which may be overwritten; the queries are `reads`, or the last ones."""
        n_queries, n_keys = scores.shape[-2:]
        future = self.future(n_keys, scores)
        if future is not None:
            scores += (
                future[n_keys - n_queries :] if reads is None else rearrange(future[reads], "run query key -> run 1 query key")
            )
        return scores.softmax(dim=-1)

    def through(
        self, layer: int, residual: Float[Tensor, "run position d"], earlier: tuple[Tensor, Tensor] | None = None
    ) -> Float[Tensor, "run position d"]:
        """Return the residual stream after one block; `earlier` are keys and values of positions before those given."""
        return self.blocks[layer].after_attention(self.after_mixing(layer, residual, earlier))

    def after_mixing(
        self, layer: int, residual: Float[Tensor, "run position d"], earlier: tuple[Tensor, Tensor] | None = None
    ) -> Float[Tensor, "run position d"]:
        """Return the residual stream between a block's attention and its MLP."""
        block = self.blocks[layer]
        query, key, value = block.qkv(residual)
        if earlier is not None:
            key, value = (torch.cat(both, dim=1) for both in zip(earlier, (key, value), strict=True))
        pattern = self.pattern(einsum(query, key, SCORES))
        return block.mixed(einsum(pattern, value, MIXING)).add_(residual)

    def through_last(
        self, residual: Float[Tensor, "run position d"], reads: Int[Tensor, "run read"]
    ) -> Float[Tensor, "run read d"]:
        """Return the residual stream after the last block at the positions `reads` only."""
        block, future = self.blocks[-1], self.future(residual.shape[1], residual)
        at = gathered(residual, reads)
        mask = None if future is None else rearrange(future[reads], "run read key -> run 1 read key")
        return block.after_attention(block.mixed_of_seen(block.qkv(at)[0], block.ln1(residual), mask).add_(at))

    def logits(self, residual: Float[Tensor, "... d"]) -> Float[Tensor, "... q"]:
        """Return the logits of the residual stream after the last block."""
        flat = self.ln_final(residual).reshape(-1, residual.shape[-1])
        return torch.addmm(self.b_u, flat, self.w_u).view(*residual.shape[:-1], -1)


def gathered(values: Float[Tensor, "run position d"], reads: Int[Tensor, "run read"]) -> Float[Tensor, "run read d"]:
    """Return the rows of `values` at the positions read."""
    return values.gather(1, reads[..., None].expand(-1, -1, values.shape[-1]))


def _block(block: Any, cfg: Any) -> Block:
    attention = block.attn
    w_out, b_out = attention.W_O.detach(), attention.b_O.detach()
    heads, d_head, d = w_out.shape
    weights = {name: getattr(attention, f"W_{name}").detach().double() for name in "QKV"}  # [H, d, d_head]
    biases = {name: getattr(attention, f"b_{name}").detach().double() for name in "QKV"}
    for part in (weights, biases):
        part["Q"] = part["Q"] / float(attention.attn_scale)
    folded = 2 * d_head > d
    if folded:
        keys, output = weights.pop("K"), w_out.double()
        weights = {"Q": weights["Q"] @ keys.mT, "V": weights["V"] @ output}
        # Patterns sum to 1, so that the biases of values and output may ride on the values; b_K shifts all scores alike.
        biases = {
            "Q": einsum(biases["Q"], keys, "head e, head d e -> head d"),
            "V": einsum(biases["V"], output, "head e, head e d -> head d") + b_out.double() / heads,
        }
    mlp = None
    if not cfg.attn_only:
        mlp = tuple(getattr(block.mlp, name).detach() for name in ("W_in", "b_in", "W_out", "b_out"))
    return Block(
        ln1=_norm(block, "ln1", w_out),
        ln2=_norm(block, "ln2", w_out) if mlp else _same,
        folded=folded,
        w_in=torch.cat([rearrange(part, "head d e -> d (head e)") for part in weights.values()], dim=1).to(w_out.dtype),
        b_in=torch.cat([part.flatten() for part in biases.values()]).to(w_out.dtype),
        w_out=w_out,
        b_out=b_out,
        mlp=mlp,  # type: ignore[arg-type]
        activation=ACTIVATIONS.get(cfg.act_fn, torch.relu_),
    )


def _norm(owner: Any, name: str, like: Tensor) -> Callable[[Tensor], Tensor]:
    norm = getattr(owner, name, None)
    if norm is None or isinstance(norm, nn.Identity):
        return _same
    weight, bias = (part.detach() if isinstance(part := getattr(norm, key, None), Tensor) else None for key in "wb")
    width = like.shape[-1:]
    return Norm(
        like.new_ones(width) if weight is None else weight, like.new_zeros(width) if bias is None else bias, float(norm.eps)
    )


def _same(x: Tensor) -> Tensor:
    return x
