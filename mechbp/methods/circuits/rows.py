"""What a head reads of a token, from its weights: rows, and the OV and QK circuits that they give.

Tensors of a model that `folded` made, float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from einops import einsum, rearrange
from jaxtyping import Float64, Int, Integer
from torch import Tensor

from mechbp.errors import LimitExceeded

Ids = Int[Tensor, " token"]
Indices = Sequence[int] | Integer[np.ndarray, " index"]
Rows = Float64[Tensor, "*position token d_model"]
KeyRows = Float64[Tensor, "*key_position token d_model"]
MAX_NUMBERS = 2**27
"""Numbers that one result may hold, 1 GiB of float64."""


def token_rows(source: Any, layer: int, ids: Ids, positions: Sequence[int]) -> Float64[Tensor, "_position token d"]:
    """Return LNPre(W_E + W_pos[s]) of every token at every position, one row each, as the first norm of that block makes it."""
    embedded = source.embed.W_E[ids] + rearrange(source.pos_embed.W_pos[list(positions)], "position d -> position 1 d")
    return source.blocks[layer].ln1(embedded)


def mean_position_rows(source: Any, layer: int, ids: Ids, positions: Sequence[int]) -> Float64[Tensor, "token d"]:
    """Return LNPre(W_E + mean of W_pos over the positions), one row per token: the norm of the mean, not the mean of norms."""
    embedded = source.embed.W_E[ids] + source.pos_embed.W_pos[list(positions)].mean(dim=0)
    return source.blocks[layer].ln1(embedded[None])[0]  # norms take [batch, position, d]


def ov_circuit(source: Any, layer: int, rows: Rows) -> Float64[Tensor, "head *position token output"]:
    """Return rows W_V W_O W_U per head, centred over outputs."""
    attention = source.blocks[layer].attn
    values = einsum(rows, attention.W_V, "... d, head d d_head -> head ... d_head")
    read = einsum(attention.W_O, source.unembed.W_U, "head d_head d, d output -> head d_head output")
    return centred(einsum(values, read, "head ... d_head, head d_head output -> head ... output"))


def qk_circuit(source: Any, layer: int, queries: Rows, keys: KeyRows) -> Float64[Tensor, "head *_positions query key"]:
    """Return attention scores before the softmax, per head, less their mean over keys, those of all key positions together.

    Where rows have a position axis, so has the circuit: [head, query position, key position, query, key].
    """
    attention = source.blocks[layer].attn
    heads = (-1, *(1,) * (queries.ndim - 1), attention.W_Q.shape[-1])
    query = einsum(queries, attention.W_Q, "... d, head d d_head -> head ... d_head") + attention.b_Q.view(heads)
    key = einsum(keys, attention.W_K, "... d, head d d_head -> head ... d_head") + attention.b_K.view(heads)
    query = query / float(attention.attn_scale)
    if query.ndim == 4:
        scores = einsum(query, key, "head s query d_head, head t key d_head -> head s t query key")
        return scores - scores.mean(dim=(2, 4), keepdim=True)
    return centred(einsum(query, key, "head query d_head, head key d_head -> head query key"))


def centred(values: Tensor) -> Tensor:
    """Return the values less their mean over the last axis, which no softmax over it can see."""
    return values - values.mean(dim=-1, keepdim=True)


def check_size(numbers: int, what: str, advice: str) -> None:
    """Raise LimitExceeded where an array would be larger than MAX_NUMBERS."""
    if numbers > MAX_NUMBERS:
        raise LimitExceeded(f"{what} would hold {numbers:,} numbers; at most {MAX_NUMBERS:,} (1 GiB of float64).\n{advice}")
