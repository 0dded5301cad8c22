"""The forward of HookedTransformer without hooks: the same function of the same parameters, for training and for reading answers.

`logits` serves training: gradients flow, about 1.6x faster. `answers` serves evaluation, about 4x faster: see `reader`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from mechbp.models.architectures import HookedTransformer
from mechbp.models.devices import device_of
from mechbp.models.one_block import applies, logits_at, normed
from mechbp.models.reader import Reader

ACTIVATIONS = {"relu": torch.relu, "gelu": F.gelu, "relu2": lambda x: torch.relu(x).square()}

BATCH = 128
"""Sequences per pass: the widest activations of 128 short sequences stay in a core's own cache."""

LEAST = 1e-6
"""The smallest probability of a model whose output is no softmax: divergences from it stay finite."""

PLAIN = {
    "positional_embedding_type": "standard",
    "n_key_value_heads": None,
    "num_experts": None,
    "clip_qkv": None,
    "attn_scores_soft_cap": -1.0,
    "output_logits_soft_cap": -1.0,
    "parallel_attn_mlp": False,
    "gated_mlp": False,
    "use_local_attn": False,
    "use_qk_norm": False,
    "use_logn_attn": False,
    "use_attention_sinks": False,
    "post_embedding_ln": False,
    "use_normalization_before_and_after": False,
}
"""Settings of HookedTransformerConfig that change the function, each with the only value that is known here."""


def supports(model: Any) -> bool:
    """Whether `logits` computes model(tokens): a HookedTransformer of a kind known here, with no hook on any of its parts."""
    if type(model) is not HookedTransformer:
        return False
    settings = model.cfg
    plain = all(getattr(settings, name, value) == value for name, value in PLAIN.items())
    normalized = settings.normalization_type in (None, "LN")
    activated = settings.attn_only or settings.act_fn in ACTIVATIONS
    return plain and normalized and activated and not any(p._forward_hooks or p._forward_pre_hooks for p in model.modules())


def answers(
    model: Any, inputs: Int[np.ndarray, "n position"], read: Int[np.ndarray, " n"] | None = None, batch_size: int = BATCH
) -> Float64[np.ndarray, "n q"] | Float64[np.ndarray, "n position q"]:
    """Return the model's probabilities at position read[i] of row i, or at all positions; softmax in float64.

    Any model that returns logits will do; one that `supports` knows takes a fraction of the time.
    """
    device = device_of(model)
    tokens = torch.from_numpy(np.ascontiguousarray(inputs)).long().to(device)
    at = None if read is None else torch.from_numpy(np.ascontiguousarray(read)).long().to(device)
    found = []
    with torch.no_grad():
        reader = Reader.of(model, tokens.shape[1]) if supports(model) else None
        for start in range(0, len(tokens), batch_size):
            rows = slice(start, start + batch_size)
            positions = None if at is None else at[rows]
            values = _hooked(model, tokens[rows], positions) if reader is None else reader.logits(tokens[rows], positions)
            found.append(probabilities(model, values).cpu().numpy())
    if found:
        return np.concatenate(found)
    return np.empty((0, *inputs.shape[1:][: read is None], model.cfg.d_vocab_out))


def probabilities(model: Any, output: Float[Tensor, "... q"]) -> Float64[Tensor, "... q"]:
    """Return what a model's output says in float64: the softmax of logits.

    A model that gives probabilities itself (`cfg.outputs`) may overshoot: what is below LEAST is raised to it, the sum made 1.
    """
    if getattr(model.cfg, "outputs", "logits") == "logits":
        return output.double().softmax(dim=-1)
    positive = output.double().clamp(min=LEAST)
    return positive / positive.sum(dim=-1, keepdim=True)


def _hooked(model: Any, tokens: Int[Tensor, "batch position"], read: Int[Tensor, " batch"] | None) -> Tensor:
    if read is not None and hasattr(model, "read"):
        return model.read(tokens, F.one_hot(read, tokens.shape[1]).bool())
    everywhere = model(tokens)
    return everywhere if read is None else everywhere[torch.arange(len(tokens), device=read.device), read]


def read(model: Any, tokens: Int[Tensor, "batch position"], reads: Bool[Tensor, "batch position"]) -> Float[Tensor, "read q"]:
    """Return the output where `reads` says, with gradients to the model's parameters; a model may have a `read` of its own."""
    if hasattr(model, "read"):
        return model.read(tokens, reads)
    return logits_at(model, tokens, reads) if applies(model, reads) else logits(model, tokens)[reads]


def logits(model: HookedTransformer, tokens: Int[Tensor, "batch position"]) -> Float[Tensor, "batch position q"]:
    """Return model(tokens), to float32 rounding, with gradients to the model's own parameters."""
    batch, length = tokens.shape
    parts: Any = model  # torch types every submodule as Tensor | Module
    activation = ACTIVATIONS[model.cfg.act_fn] if not model.cfg.attn_only else None
    residual = rearrange(parts.embed.W_E[tokens] + parts.pos_embed.W_pos[:length], "batch position d -> (batch position) d")
    future = None
    if model.cfg.attention_dir == "causal":
        future = residual.new_full((length, length), -torch.inf).triu(1)
    for block in parts.blocks:
        residual = residual + _attention(block.attn, normed(residual, block, "ln1"), batch, future)
        if activation is not None:
            hidden = activation(torch.addmm(block.mlp.b_in, normed(residual, block, "ln2"), block.mlp.W_in))
            residual = residual + torch.addmm(block.mlp.b_out, hidden, block.mlp.W_out)
    flat = torch.addmm(parts.unembed.b_U, normed(residual, parts, "ln_final"), parts.unembed.W_U)
    return rearrange(flat, "(batch position) q -> batch position q", batch=batch)


def _attention(attention: Any, x: Float[Tensor, "row d"], batch: int, future: Tensor | None) -> Float[Tensor, "row d"]:
    heads = attention.W_Q.shape[0]

    def project(weight: Tensor, bias: Tensor) -> Tensor:
        flat = torch.addmm(bias.flatten(), x, rearrange(weight, "head d d_head -> d (head d_head)"))
        return rearrange(flat, "(batch position) (head d_head) -> (batch head) position d_head", batch=batch, head=heads)

    query = project(attention.W_Q, attention.b_Q)
    key = project(attention.W_K, attention.b_K)
    value = project(attention.W_V, attention.b_V)
    scores = torch.bmm(query, key.transpose(1, 2)) / attention.attn_scale
    pattern = (scores if future is None else scores + future).softmax(dim=-1)
    mixed = rearrange(torch.bmm(pattern, value), "(batch head) position d_head -> (batch position) (head d_head)", head=heads)
    return torch.addmm(attention.b_O, mixed, rearrange(attention.W_O, "head d_head d -> (head d_head) d"))
