"""Patch inside a block, at every position, from the weights: the residual stream that leaves the block.

What is patched after the attention pattern acts on each position by itself, so one pass holds the patches of all positions.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from mechbp.methods.patching.finisher import Finisher, Rows
from mechbp.methods.patching.plain_transformer import MIXING


def after_block(finisher: Finisher, layer: int, kind: str, head: int | None, donor: Tensor) -> Float[Tensor, "n P d"] | None:
    """Return the residual stream after the block with the donor's activation at all positions; None for kinds left to hooks.

    `kind` is the last part of the hook's name, `donor` [n, ...] the activation there; with `head`, only that head's is taken.
    """
    network, block, before = finisher.network, finisher.network.blocks[layer], finisher.residuals[layer]

    def pattern(rows: Rows) -> Tensor:
        return network.pattern(finisher.attention[layer].scores[rows].clone())

    def middle(pattern: Tensor, rows: Rows) -> Tensor:
        return block.mixed(einsum(pattern, finisher.attention[layer].values[rows], MIXING)).add_(before[rows])

    def other_pattern(rows: Rows) -> Tensor:
        if head is None:
            return block.after_attention(middle(donor[rows], rows))
        mixed = pattern(rows)
        mixed[:, head] = donor[rows, head]
        return block.after_attention(middle(mixed, rows))

    ways: dict[str, Callable[[Rows], Tensor]] = {
        "hook_resid_mid": lambda rows: block.after_attention(donor[rows]),
        "hook_resid_post": lambda rows: donor[rows],
        "hook_attn_out": lambda rows: block.after_attention(before[rows] + donor[rows]),
        "hook_mlp_out": lambda rows: middle(pattern(rows), rows).add_(donor[rows]),
        "hook_pattern": other_pattern,
    }
    if head is None or block.w_out.shape[0] == 1:
        ways["hook_z"] = lambda rows: block.after_attention(block.written(donor[rows]).add_(before[rows]))
    if kind not in ways:
        return None
    if kind in ("hook_mlp_out", "hook_pattern"):
        finisher.attention[layer]  # made now, before threads share it
    return torch.cat(finisher.map(ways[kind], finisher.chunks(torch.arange(len(before), device=before.device))))
