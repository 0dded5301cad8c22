"""A sorter made by hand, two heads that split the values, whose attention and logits are written out beside its weights.

Both heads score value k for the current value q as -steepness (k - q) where k > q and far below otherwise, at positions of the
list alone; head a copies the values of its range with strength `copies`, head b the others. There is no direct path.
"""

from __future__ import annotations

import numpy as np
import torch

from mechbp.models.architectures import hooked_transformer

FAR = 1000.0


def scores(v, steepness):
    """[query token incl. SEP, value]."""
    query = np.append(np.arange(v), -1)[:, None]
    value = np.arange(v)
    return np.where(value > query, -steepness * (value - query), -steepness * (v + 1.0))


def hand_sorter(process, owned, *, steepness=5.0, copies=20.0):
    """owned: bool [value], the range of head 0."""
    v = process.vocab_size
    width = 2 * v + 2  # a token, whether its position is behind the list, and what the heads write
    flag, written = v + 1, v + 2
    model = hooked_transformer(
        n_layers=1, n_heads=2, d_model=width, d_head=v + 2, attn_only=True, act_fn=None, normalization_type=None,
        attention_dir="causal", n_ctx=process.n_tokens, d_vocab=v + 1, d_vocab_out=v + 1, dtype=torch.float64,
    )  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.embed.W_E[:, : v + 1] = torch.eye(v + 1)
        model.pos_embed.W_pos[process.length :, flag] = 1
        attention = model.blocks[0].attn
        for head in range(2):
            attention.W_Q[head, : v + 1, :v] = torch.from_numpy(scores(v, steepness)) * attention.attn_scale
            attention.b_Q[head, flag] = attention.attn_scale
            attention.W_K[head, :v, :v] = torch.eye(v)
            attention.W_K[head, flag, flag] = -FAR
            attention.W_V[head, :v, :v] = torch.eye(v)
            mine = torch.from_numpy(owned if head == 0 else ~owned).double()
            attention.W_O[head, :v, written:] = copies * torch.diag(mine)
        model.unembed.W_U[written:, :v] = torch.eye(v)
    return model.eval()


def attention_by_hand(sequence, length, v, steepness=5.0):
    """Pattern of both heads [asked, list position] of one sequence, a softmax written out."""
    table = scores(v, steepness)
    rows = []
    for query in sequence[length : 2 * length]:
        weights = [np.exp(table[query, value]) for value in sequence[:length]]
        rows.append([weight / sum(weights) for weight in weights])
    return np.array(rows)
