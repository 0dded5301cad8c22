"""Take a one-block attention-only model apart: run it folded, and rebuild its stream from the weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from einops import einsum
from jaxtyping import Float64, Int
from torch import Tensor

from mechbp.errors import HookError, InputError
from mechbp.hooks import HookedModel, capture, to_tokens
from mechbp.methods.circuits.circuit import check_scores
from mechbp.methods.circuits.decomposition import Decomposition, Norm
from mechbp.methods.circuits.folding import CENTRED, check_foldable, folded
from mechbp.methods.circuits.rows import Indices, check_size, token_rows
from mechbp.methods.circuits.tables import attended

AGREEMENT = 1e-9
"""Largest difference, relative to the stream, between the stream summed from its parts and the model's own."""


@torch.no_grad()
def decompose(
    model: HookedModel,
    tokens: Int[np.ndarray, "n key"] | Int[Tensor, "n key"],
    positions: Indices | None = None,
) -> Decomposition:
    """Take apart the logits of a one-block attention-only transformer at some positions, default all; exact, in float64.

    The parts are those of the weights: hooks that stand on the model are left out. Raises HookError or InputError for a model of
    another kind, naming what is not covered, InputError for tokens and positions that do not fit, and LimitExceeded before
    allocating more than 1 GiB. Source: the formula of Decomposition, plain algebra.
    """
    check_foldable(model)
    _check_one_block(model)
    check_scores(model, 0, "the decomposition")
    rows = to_tokens(model, tokens)
    n_keys = rows.shape[1]
    at = np.arange(n_keys) if positions is None else np.asarray(positions)
    if at.ndim != 1 or at.dtype.kind not in "iu" or not len(at) or at.min() < 0 or at.max() >= n_keys:
        raise InputError(f"decompose: positions must be integers in 0..{n_keys - 1}, at least one, got {positions!r:.80}.")
    cfg: Any = model.cfg
    check_size(len(rows) * len(at) * cfg.n_heads * cfg.d_vocab_out, "decompose: `heads`", "Take fewer sequences or positions.")
    wide = max(cfg.d_model, cfg.d_vocab_out)
    check_size(
        cfg.n_heads * n_keys * cfg.d_vocab * wide, "decompose: `writes` or `ov`", "They grow with the number of tokens known."
    )
    source = folded(model)
    normed = hasattr(source, "ln_final") and hasattr(source.ln_final, "hook_scale")
    names = ["blocks.0.attn.hook_pattern", "blocks.0.hook_resid_post"] + (["ln_final.hook_scale"] if normed else [])
    found = {name: value.cpu().numpy() for name, value in capture(source, rows, names).items()}
    weights = {name: value.cpu().numpy() for name, value in source.state_dict().items() if value.is_floating_point()}
    sequences = rows.cpu().numpy()
    keys = token_rows(source, 0, torch.arange(cfg.d_vocab, device=rows.device), range(n_keys))
    patterns = found["blocks.0.attn.hook_pattern"][:, :, at]
    residual = found["blocks.0.hook_resid_post"][:, at]
    own = weights["embed.W_E"][sequences[:, at]]
    place = weights["pos_embed.W_pos"][at]
    bias = weights["blocks.0.attn.b_O"]
    writes = _writes(source, keys)
    written = attended(patterns, writes, sequences)
    _check_sum(model, own + place + bias + written.sum(axis=2), residual)
    last: Any = source.ln_final if normed else None
    norm = Norm(float(last.eps), cfg.normalization_type in CENTRED) if normed else None
    sigma = found["ln_final.hook_scale"][:, at, 0] if normed else np.ones(residual.shape[:2])
    unembedding = weights["unembed.W_U"]
    return Decomposition(
        tokens=sequences,
        positions=at,
        heads=written @ unembedding / sigma[..., None, None],
        direct=own @ unembedding / sigma[..., None],
        positional=place @ unembedding / sigma[..., None],
        output_bias=bias @ unembedding / sigma[..., None],
        unembed_bias=weights["unembed.b_U"],
        sigma=sigma,
        patterns=patterns,
        writes=writes,
        residual=residual,
        unembedding=unembedding,
        norm=norm,
    )


def _writes(source: Any, keys: Tensor) -> Float64[np.ndarray, "head key token d_model"]:
    attention = source.blocks[0].attn
    values = einsum(keys, attention.W_V, "key token d, head d d_head -> head key token d_head")
    return einsum(values, attention.W_O, "head key token d_head, head d_head d -> head key token d").cpu().numpy()


def _check_one_block(model: Any) -> None:
    cfg = model.cfg
    reasons = []
    if cfg.n_layers != 1:
        reasons.append(f"it has {cfg.n_layers} blocks: later heads read what earlier ones wrote, through a norm")
    if not cfg.attn_only:
        reasons.append("it has an MLP, which is not linear in what it reads")
    if reasons:
        raise InputError(
            f"decompose: this {type(model).__name__} has no exact sum of this kind: {'; '.join(reasons)}.\n"
            f"mechbp.patch and mechbp.circuits take any number of blocks."
        )


def _check_sum(model: Any, parts: np.ndarray, residual: np.ndarray) -> None:
    """Raise HookError where the parts do not make the stream: then the model computes something that its settings do not say."""
    error = float(np.abs(parts - residual).max())
    if not error <= AGREEMENT * max(1.0, float(np.abs(residual).max())):
        raise HookError(
            f"decompose: the parts of this {type(model).__name__} miss its stream by {error:.2g}: its forward pass is not "
            f"that of a HookedTransformer of its settings."
        )
