"""HookedTransformer for the lines of TransformerLens that offer none: the same parameters, hooks and functions as that of 3.9.

From release 4 on, TransformerLens has hook points and the module that runs with them, and no model class of its own to train.
This file is the model on top of them. It needs PyTorch and TransformerLens and nothing of mechbp, so that an exported model can
take it along.

A block computes, on the residual stream x, y = x + attention(ln1(x)) and then y + MLP(ln2(y)); with `attn_only`, y alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from einops import einsum, rearrange, repeat
from torch import Tensor, nn
from transformer_lens import ActivationCache, HookedRootModule
from transformer_lens.hook_points import HookPoint

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "relu2": lambda x: F.relu(x).square(),
}


@dataclass
class HookedTransformerConfig:
    """The settings of TransformerLens 3.9 that this model knows, under their names and with their defaults.

    Raises TypeError for any other setting, ValueError for a value that is not known here.
    """

    n_layers: int
    d_model: int
    n_ctx: int
    d_head: int
    d_vocab: int
    n_heads: int = -1
    d_mlp: int | None = None
    d_vocab_out: int = -1
    attn_only: bool = False
    act_fn: str | None = "relu"
    normalization_type: str | None = "LN"
    eps: float = 1e-5
    attention_dir: str = "causal"
    positional_embedding_type: str = "standard"
    use_attn_scale: bool = True
    attn_scale: float = -1.0
    use_attn_result: bool = False
    use_split_qkv_input: bool = False
    use_attn_in: bool = False
    use_hook_mlp_in: bool = False
    dtype: torch.dtype = torch.float32
    device: str | None = "cpu"
    model_name: str = "custom"
    tokenizer_name: str | None = None
    seed: int | None = None
    n_devices: int = 1
    n_key_value_heads: int | None = None
    init_weights: bool = False

    def __post_init__(self) -> None:
        if self.n_heads == -1:
            self.n_heads = self.d_model // self.d_head
        if self.d_mlp is None:
            self.d_mlp = 4 * self.d_model
        if self.d_vocab_out == -1:
            self.d_vocab_out = self.d_vocab
        if self.attn_scale == -1.0:
            self.attn_scale = self.d_head**0.5
        if self.n_key_value_heads is not None:
            raise ValueError(f"n_key_value_heads must be None, every head having its own, got {self.n_key_value_heads}.")
        if not self.attn_only and self.act_fn not in ACTIVATIONS:
            raise ValueError(f"act_fn must be one of {', '.join(ACTIVATIONS)}, got {self.act_fn!r}.")

    def to_dict(self) -> dict[str, Any]:
        """Return all settings by name."""
        return dict(vars(self))


class LayerNorm(nn.Module):
    """Subtract the mean, divide by the standard deviation, scale by `w` and add `b`."""

    centred = True
    learned = True

    def __init__(self, cfg: HookedTransformerConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.eps = cfg.eps
        if self.learned:
            self.w = nn.Parameter(torch.ones(cfg.d_model, dtype=cfg.dtype))
        if self.learned and self.centred:
            self.b = nn.Parameter(torch.zeros(cfg.d_model, dtype=cfg.dtype))
        self.hook_scale = HookPoint()
        self.hook_normalized = HookPoint()

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised input [..., d_model]; computed in float32 where the model is in half precision."""
        if self.cfg.dtype not in (torch.float32, torch.float64):
            x = x.float()
        if self.centred:
            x = x - x.mean(dim=-1, keepdim=True)
        scale = self.hook_scale((x.pow(2).mean(dim=-1, keepdim=True) + self.eps).sqrt())
        x = self.hook_normalized(x / scale).to(self.cfg.dtype)
        if self.learned:
            x = x * self.w
        return x + self.b if self.learned and self.centred else x


class LayerNormPre(LayerNorm):
    """Layer norm whose gains and biases were folded into the weights that read it."""

    learned = False


class RMSNorm(LayerNorm):
    """Divide by the root mean square and scale by `w`."""

    centred = False


class RMSNormPre(RMSNorm):
    """Root-mean-square norm whose gains were folded into the weights that read it."""

    learned = False


NORMS: dict[str | None, type[LayerNorm]] = {"LN": LayerNorm, "LNPre": LayerNormPre, "RMS": RMSNorm, "RMSPre": RMSNormPre}


class Attention(nn.Module):
    """Multi-head attention; weights [head, d_model, d_head], queries, keys and values [batch, position, head, d_head]."""

    # torch types every submodule as Tensor | Module.
    hook_k: Any
    hook_q: Any
    hook_v: Any
    hook_z: Any
    hook_attn_scores: Any
    hook_pattern: Any
    hook_result: Any

    def __init__(self, cfg: HookedTransformerConfig) -> None:
        super().__init__()
        self.cfg = cfg
        into, out_of = (cfg.n_heads, cfg.d_model, cfg.d_head), (cfg.n_heads, cfg.d_head, cfg.d_model)
        self.W_Q = nn.Parameter(torch.empty(into, dtype=cfg.dtype))
        self.W_O = nn.Parameter(torch.empty(out_of, dtype=cfg.dtype))
        self.b_Q = nn.Parameter(torch.zeros(into[::2], dtype=cfg.dtype))
        self.b_O = nn.Parameter(torch.zeros(cfg.d_model, dtype=cfg.dtype))
        self.W_K = nn.Parameter(torch.empty(into, dtype=cfg.dtype))
        self.W_V = nn.Parameter(torch.empty(into, dtype=cfg.dtype))
        self.b_K = nn.Parameter(torch.zeros(into[::2], dtype=cfg.dtype))
        self.b_V = nn.Parameter(torch.zeros(into[::2], dtype=cfg.dtype))
        self.attn_scale = cfg.attn_scale if cfg.use_attn_scale else 1.0
        for hook in ("hook_k", "hook_q", "hook_v", "hook_z", "hook_attn_scores", "hook_pattern", "hook_result"):
            setattr(self, hook, HookPoint())

    def forward(self, query_input: Tensor, key_input: Tensor, value_input: Tensor) -> Tensor:
        """Return what the heads write [batch, position, d_model]; inputs [batch, position, (head,) d_model]."""
        query = self.hook_q(_projected(query_input, self.W_Q, self.b_Q))
        key = self.hook_k(_projected(key_input, self.W_K, self.b_K))
        value = self.hook_v(_projected(value_input, self.W_V, self.b_V))
        scores = rearrange(query, "b query head e -> b head query e") @ rearrange(key, "b key head e -> b head e key")
        scores = scores / self.attn_scale
        if self.cfg.attention_dir == "causal":
            later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
            scores = scores.masked_fill(later, -torch.inf)
        scores = self.hook_attn_scores(scores)
        pattern = scores.softmax(dim=-1)
        pattern = torch.where(pattern.isnan(), 0, pattern)  # a query that sees no key, after an edit of its scores
        pattern = self.hook_pattern(pattern).to(value.dtype)
        mixed = pattern @ rearrange(value, "b key head e -> b head key e")
        z = self.hook_z(rearrange(mixed, "b head query e -> b query head e"))
        if self.cfg.use_attn_result:
            written = self.hook_result(einsum(z, self.W_O, "b query head e, head e d -> b query head d"))
            return written.sum(dim=2) + self.b_O
        return F.linear(z.flatten(2), rearrange(self.W_O, "head e d -> d (head e)").contiguous(), self.b_O)


class MLP(nn.Module):
    """One hidden layer."""

    def __init__(self, cfg: HookedTransformerConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.W_in = nn.Parameter(torch.empty(cfg.d_model, cfg.d_mlp or 0, dtype=cfg.dtype))
        self.b_in = nn.Parameter(torch.zeros(cfg.d_mlp or 0, dtype=cfg.dtype))
        self.W_out = nn.Parameter(torch.empty(cfg.d_mlp or 0, cfg.d_model, dtype=cfg.dtype))
        self.b_out = nn.Parameter(torch.zeros(cfg.d_model, dtype=cfg.dtype))
        self.act_fn = ACTIVATIONS[cfg.act_fn or "relu"]
        self.hook_pre = HookPoint()
        self.hook_post = HookPoint()

    def forward(self, x: Tensor) -> Tensor:
        """Return [batch, position, d_model]."""
        flat = x.reshape(-1, x.shape[-1])
        hidden = self.hook_pre(torch.addmm(self.b_in, flat, self.W_in).view(*x.shape[:-1], self.W_in.shape[1]))
        active = self.hook_post(self.act_fn(hidden)).reshape(-1, self.W_in.shape[1])
        return torch.addmm(self.b_out, active, self.W_out).view(x.shape)


class Block(nn.Module):
    """Attention and MLP, each added to the residual stream; see the module."""

    # torch types every submodule as Tensor | Module.
    hook_attn_out: Any
    hook_mlp_in: Any
    hook_mlp_out: Any
    hook_resid_pre: Any

    def __init__(self, cfg: HookedTransformerConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.ln1 = norm_of(cfg)
        if not cfg.attn_only:
            self.ln2 = norm_of(cfg)
        self.attn = Attention(cfg)
        if not cfg.attn_only:
            self.mlp = MLP(cfg)
        for hook in ("attn_in", "q_input", "k_input", "v_input", "mlp_in", "attn_out", "mlp_out", "resid_pre"):
            setattr(self, f"hook_{hook}", HookPoint())
        if not cfg.attn_only:
            self.hook_resid_mid = HookPoint()
        self.hook_resid_post = HookPoint()

    def forward(self, residual: Tensor) -> Tensor:
        """Return the residual stream [batch, position, d_model] after the block."""
        cfg = self.cfg
        residual = self.hook_resid_pre(residual)

        def by_head(hook: str) -> Tensor:
            repeated = repeat(residual, "b position d -> b position head d", head=cfg.n_heads)
            return getattr(self, hook)(repeated.clone())

        inputs = [by_head("hook_attn_in") if cfg.use_attn_in else residual] * 3
        if cfg.use_split_qkv_input:
            inputs = [by_head(f"hook_{letter}_input") for letter in "qkv"]
        middle = residual + self.hook_attn_out(self.attn(*map(self.ln1, inputs)))
        if cfg.attn_only:
            return self.hook_resid_post(middle)
        middle = self.hook_resid_mid(middle)
        seen = self.hook_mlp_in(middle.clone()) if cfg.use_hook_mlp_in else middle
        return self.hook_resid_post(middle + self.hook_mlp_out(self.mlp(self.ln2(seen))))


class Table(nn.Module):
    """Vectors by row number, a parameter of the name given: embeddings of tokens or of positions."""

    def __init__(self, name: str, rows: int, cfg: HookedTransformerConfig) -> None:
        super().__init__()
        self.register_parameter(name, nn.Parameter(torch.empty(rows, cfg.d_model, dtype=cfg.dtype)))


class Unembed(nn.Module):
    """Read logits from the residual stream."""

    def __init__(self, cfg: HookedTransformerConfig) -> None:
        super().__init__()
        self.W_U = nn.Parameter(torch.empty(cfg.d_model, cfg.d_vocab_out, dtype=cfg.dtype))
        self.b_U = nn.Parameter(torch.zeros(cfg.d_vocab_out, dtype=cfg.dtype))
        self.hook_in = HookPoint()
        self.hook_out = HookPoint()

    def forward(self, residual: Tensor) -> Tensor:
        """Return logits [batch, position, d_vocab_out]."""
        return self.hook_out(F.linear(self.hook_in(residual), self.W_U.T.contiguous(), self.b_U))


class HookedTransformer(HookedRootModule):
    """A pre-norm transformer with hooks; its weights are uninitialised memory until somebody writes them."""

    # torch types every submodule as Tensor | Module.
    embed: Any
    pos_embed: Any
    blocks: Any
    unembed: Any

    def __init__(self, cfg: HookedTransformerConfig) -> None:
        """Build from settings. Raises ValueError for positions other than learned ones, or an unknown normalisation."""
        super().__init__()
        if cfg.positional_embedding_type != "standard":
            raise ValueError(f"positional_embedding_type must be 'standard', got {cfg.positional_embedding_type!r}.")
        self.cfg: Any = cfg
        self.embed = Table("W_E", cfg.d_vocab, cfg)
        self.hook_embed = HookPoint()
        self.pos_embed = Table("W_pos", cfg.n_ctx, cfg)
        self.hook_pos_embed = HookPoint()
        self.blocks = nn.ModuleList([Block(cfg) for _ in range(cfg.n_layers)])
        if cfg.normalization_type is not None:
            self.ln_final = norm_of(cfg)
        self.unembed = Unembed(cfg)
        self.to(cfg.device)
        self.setup()

    def forward(
        self,
        input: Tensor,
        return_type: str | None = "logits",
        start_at_layer: int | None = None,
        stop_at_layer: int | None = None,
    ) -> Any:
        """Return logits [batch, position, d_vocab_out]; with `stop_at_layer` the input [batch, position, d_model] of that block.

        `input` are tokens [batch, position] or, with `start_at_layer`, the input of that block. Layers count from the end where
        they are negative. With `return_type` None, nothing is unembedded and None returned.
        """
        if return_type not in ("logits", None):
            raise ValueError(f"return_type must be 'logits' or None, got {return_type!r}.")
        residual = input if start_at_layer is not None else self._embedded(input)
        for block in self.blocks[start_at_layer or 0 : stop_at_layer]:
            residual = block(residual)
        if stop_at_layer is not None:
            return residual
        if self.cfg.normalization_type is not None:
            residual = self.ln_final(residual)
        return None if return_type is None else self.unembed(residual)

    def _embedded(self, tokens: Tensor) -> Tensor:
        tokens = tokens.to(self.embed.W_E.device)
        positions = repeat(self.pos_embed.W_pos[: tokens.shape[1]], "position d -> b position d", b=len(tokens)).clone()
        return self.hook_embed(self.embed.W_E[tokens]) + self.hook_pos_embed(positions)

    def run_with_cache(self, *args: Any, return_cache_object: bool = True, remove_batch_dim: bool = False, **kwargs: Any) -> Any:
        """Return the output and all activations: an ActivationCache, or a dict without `return_cache_object`."""
        output, found = super().run_with_cache(*args, remove_batch_dim=remove_batch_dim, **kwargs)
        if not return_cache_object:
            return output, found
        model: Any = self  # what the cache needs of a model is no more than this one has
        return output, ActivationCache(found, model, has_batch_dim=not remove_batch_dim)

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Move or convert as a torch module does, and say so in `cfg`, which layer norms follow."""
        super().to(*args, **kwargs)
        self.cfg.device, self.cfg.dtype = str(self.embed.W_E.device), self.embed.W_E.dtype
        return self

    def set_use_attn_result(self, use_attn_result: bool) -> None:
        """Compute what each head writes by itself, at `hook_result`, from now on."""
        self.cfg.use_attn_result = use_attn_result

    def set_use_split_qkv_input(self, use_split_qkv_input: bool) -> None:
        """Compute the inputs of queries, keys and values by head, at `hook_q_input` and its like, from now on."""
        self.cfg.use_split_qkv_input = use_split_qkv_input

    def set_use_attn_in(self, use_attn_in: bool) -> None:
        """Compute the input of attention by head, at `hook_attn_in`, from now on."""
        self.cfg.use_attn_in = use_attn_in

    def set_use_hook_mlp_in(self, use_hook_mlp_in: bool) -> None:
        """Show the input of the MLP's norm, at `hook_mlp_in`, from now on."""
        self.cfg.use_hook_mlp_in = use_hook_mlp_in


def norm_of(cfg: HookedTransformerConfig) -> nn.Module:
    """Return the norm that the settings name. Raises ValueError for an unknown one."""
    if cfg.normalization_type is None:
        return nn.Identity()
    if cfg.normalization_type not in NORMS:
        raise ValueError(
            f"normalization_type must be None or one of {', '.join(map(str, NORMS))}, got {cfg.normalization_type!r}."
        )
    return NORMS[cfg.normalization_type](cfg)


def _projected(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Inputs [batch, position, d_model], or with a head axis before the last, as [batch, position, head, d_head]."""
    if x.ndim == 4:
        return einsum(x, weight, "b position head d, head d e -> b position head e") + bias
    flat = F.linear(x, rearrange(weight, "head d e -> (head e) d"), bias.flatten())
    return flat.unflatten(-1, bias.shape)
