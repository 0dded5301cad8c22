"""A copy of a model whose weights alone say what each part does: norms, value biases and everything softmax ignores folded away.

With x a residual row, u = (x - mean x) / sigma what a layer norm makes of it before gains g and biases c, and W what reads it:
(g u + c) W + b = u (g W) + (c W + b). As u has mean 0, a constant added to a column of g W changes nothing, and as the norm takes
means away, neither does a constant added to a row of what is written. Patterns sum to 1, so that value biases reach the stream
unmixed, b_V W_O. A constant added to all logits is no change of their softmax.

TransformerLens's own processing is not used: it goes through float32, and takes a square W_U, or any with as many tokens as
d_model, for its transpose.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable
from typing import Any

import torch
from einops import einsum
from torch import Tensor, nn

from mechbp.errors import HookError, InputError
from mechbp.hooks import HookedModel, model_device, require_hooked

PRE = {"LN": "LNPre", "LNPre": "LNPre", "RMS": "RMSPre", "RMSPre": "RMSPre", None: None}
"""Kind of normalisation -> what is left of it once gains and biases are folded."""
CENTRED = ("LN", "LNPre")
BARRED = {
    "final_rms": "its last norm is of another kind",
    "use_normalization_before_and_after": "norms stand between what is written and the stream",
    "post_embedding_ln": "a norm stands between embedding and stream",
    "use_attention_sinks": "its patterns do not sum to 1",
    "rmsnorm_uses_offset": "its gains are 1 + w",
    "clip_qkv": "queries, keys and values are clipped",
    "num_experts": "its MLP is a mixture of experts",
}
"""Settings under which the identities above do not hold, and why."""


@torch.no_grad()
def folded(model: HookedModel, dtype: torch.dtype = torch.float64) -> Any:
    """Return a private copy of a HookedTransformer in eval mode with the same log-probabilities and weights that can be read.

    Gains and biases of norms are folded into what reads them, matrices that read from or write to a stream whose mean is removed
    are centred over d_model, W_U and b_U over outputs, and value biases are folded into b_O. Norms become LNPre or RMSPre;
    root-mean-square norms and models without norms keep the means of their stream. The copy carries none of the hooks of the
    model, whose weights and generators are left alone. Folding twice is folding once. Computed in float64, stored as `dtype`.
    Raises HookError for a model that is no HookedTransformer, InputError for one whose settings break an identity above, and for
    a dtype other than float32 and float64. Source: plain algebra, as above.
    """
    check_foldable(model)
    if dtype not in (torch.float32, torch.float64):
        raise InputError(f"folded: dtype must be torch.float64 or torch.float32, got {dtype}.")
    twin = _twin(model, dtype)
    weights = _folded_weights(model)
    twin.load_state_dict({**twin.state_dict(), **{name: value.to(dtype) for name, value in weights.items()}})
    return twin.requires_grad_(False).eval()


def check_foldable(model: HookedModel) -> None:
    """Raise HookError for a model without a transformer's weights by their usual names, InputError for what cannot be folded."""
    check_weights(model, ("unembed.b_U",), ("attn.b_Q", "attn.b_K", "attn.b_V", "attn.b_O"))
    cfg: Any = model.cfg
    kind = getattr(cfg, "normalization_type", None)
    reasons = [f"{name}: {why}" for name, why in BARRED.items() if getattr(cfg, name, None)]
    if kind not in PRE:
        reasons.append(f"normalization_type {kind!r}: known are {', '.join(map(str, PRE))}")
    if getattr(cfg, "positional_embedding_type", "standard") == "shortformer":
        reasons.append("shortformer positions: queries and keys read another stream than values")
    if (getattr(cfg, "output_logits_soft_cap", None) or 0) > 0:
        reasons.append("output_logits_soft_cap: a constant added to all logits then changes their softmax")
    if "_ln" in (getattr(cfg, "act_fn", None) or ""):
        reasons.append(f"act_fn {cfg.act_fn!r}: a norm stands inside the MLP")
    weights: Any = model
    if getattr(cfg, "gated_mlp", False) and any(bool(block.ln2.b.any()) for block in weights.blocks if hasattr(block.ln2, "b")):
        reasons.append("gated_mlp with biases of ln2: they multiply the gate and fold into no bias")
    if reasons:
        raise InputError(f"{type(model).__name__} cannot be folded: {'; '.join(reasons)}.")


def check_weights(model: HookedModel, whole: Iterable[str] = (), per_block: Iterable[str] = ()) -> None:
    """Raise HookError unless the model has embeddings, heads and an unembedding, and the further weights named."""
    require_hooked(model)
    if getattr(model.cfg, "n_key_value_heads", None) is not None:
        raise InputError(
            f"{type(model).__name__} has grouped-query attention ({model.cfg.n_key_value_heads} key-value heads for "
            f"{model.cfg.n_heads} heads), for which circuits per head are not implemented."
        )
    held: Any = model if isinstance(model, nn.Module) else nn.Module()
    state = {name for kind in (held.named_parameters, held.named_buffers) for name, _ in kind(remove_duplicate=False)}
    blocks = range(getattr(model.cfg, "n_layers", 0))
    in_block = [*(f"attn.W_{part}" for part in "QKVO"), *per_block]
    wanted = ["embed.W_E", *(f"blocks.{layer}.{name}" for layer in blocks for name in in_block), "unembed.W_U", *whole]
    missing = [name for name in wanted if name not in state]
    if missing:
        raise HookError(
            f"{type(model).__name__} has no token-level circuits: it lacks {', '.join(missing[:4])}.\n"
            f"Pass a HookedTransformer: embedding, attention heads that write to a residual stream, unembedding."
        )


def _twin(model: HookedModel, dtype: torch.dtype) -> Any:
    """A model of the same class and sizes, its norms without gains, its weights uninitialised memory."""
    cfg: Any = copy.deepcopy(model.cfg)  # not built anew: that would move global generators where cfg.seed is set
    cfg.normalization_type = PRE[cfg.normalization_type]
    cfg.dtype = dtype
    cfg.init_weights = False
    cfg.tokenizer_name = None
    cfg.n_devices = 1
    cfg.device = str(model_device(model))
    build: Any = type(model)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # charged to the caller for every HookedTransformer built
        try:
            return build(cfg)
        except TypeError as error:
            raise HookError(
                f"{type(model).__name__} cannot be folded: no copy can be built as {type(model).__name__}(cfg).\n"
                f"Pass a HookedTransformer."
            ) from error


def _folded_weights(model: HookedModel) -> dict[str, Tensor]:
    """All weights, folded and centred, by name; those of the norms are gone. Each its own memory, tied or not."""
    state: dict[str, Tensor] = model.state_dict()  # type: ignore[attr-defined]
    weights = {name: value.detach().double() if value.is_floating_point() else value for name, value in state.items()}
    centred = model.cfg.normalization_type in CENTRED
    for layer in range(model.cfg.n_layers):
        here = f"blocks.{layer}"
        _fold_norm(weights, f"{here}.ln1", [(f"{here}.attn.W_{part}", f"{here}.attn.b_{part}") for part in "QKV"], centred)
        _fold_norm(weights, f"{here}.ln2", [(f"{here}.mlp.W_{part}", f"{here}.mlp.b_{part}") for part in ("in", "gate")], centred)
        _fold_value_biases(weights, f"{here}.attn")
    _fold_norm(weights, "ln_final", [("unembed.W_U", "unembed.b_U")], centred)
    if centred:
        ends = ("W_E", "W_pos", "attn.W_O", "attn.b_O", "mlp.W_out", "mlp.b_out")
        for name in [name for name in weights if name.endswith(ends)]:
            weights[name] = weights[name] - weights[name].mean(dim=-1, keepdim=True)
    for name in ("unembed.W_U", "unembed.b_U"):
        if name in weights:
            weights[name] = weights[name] - weights[name].mean(dim=-1, keepdim=True)
    return weights


def _fold_norm(weights: dict[str, Tensor], norm: str, readers: list[tuple[str, str]], centred: bool) -> None:
    """Move one norm's gains and biases into what reads it, matrices [..., d_model, out] with biases [..., out]."""
    gain = weights.pop(f"{norm}.w", None)
    bias = weights.pop(f"{norm}.b", None)
    for matrix, offset in readers:
        if matrix not in weights:
            continue
        if bias is not None and offset in weights:  # a gate has none, and biases are then 0
            weights[offset] = weights[offset] + bias @ weights[matrix]
        if gain is not None:
            weights[matrix] = gain[:, None] * weights[matrix]
        if centred:
            weights[matrix] = weights[matrix] - weights[matrix].mean(dim=-2, keepdim=True)


def _fold_value_biases(weights: dict[str, Tensor], attention: str) -> None:
    values = weights[f"{attention}.b_V"]
    written = einsum(values, weights[f"{attention}.W_O"], "head d_head, head d_head d_model -> d_model")
    weights[f"{attention}.b_O"] = weights[f"{attention}.b_O"] + written
    weights[f"{attention}.b_V"] = torch.zeros_like(values)
