"""Of what one head writes, keep only what changes the logit of the token attended to, or only the rest.

The diagonal of OV is what a copying or suppressing head is named after; what it does to other logits is beside that. A row of OV
counts up to a constant, as the softmax sees none: here the mean over all other logits is 0, so that a head which writes to the
attended token alone is all diagonal. Both halves are cut in the table of logits, everything else as in the model, attention
included. Scales of the last norm: "frozen" is the
model's own; "recomputed" is that of the stream whose write is cut the same way, along the token's own column of W_U or at right
angles to it. The logits themselves are no stream's (see `mechbp.methods.circuits.decomposition`).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float64

from mechbp.errors import InputError
from mechbp.methods.circuits.decomposition import Decomposition, Scale
from mechbp.methods.circuits.tables import along_own, beside_own, drop_diagonal, keep_diagonal

Kept = Literal["diagonal", "rest"]
KEPT: tuple[Kept, ...] = ("diagonal", "rest")
SCALES: tuple[Scale, ...] = ("frozen", "recomputed")


def kept_logits(parts: Decomposition, head: int) -> dict[tuple[Kept, Scale], Float64[np.ndarray, "n position output"]]:
    """Return the logits with only the diagonal of a head's OV kept, or only the rest, for both scales of the last norm.

    Logits have mean 0 over outputs. Raises InputError for a head that the model lacks.
    """
    n_heads = parts.writes.shape[0]
    if not 0 <= head < n_heads:
        raise InputError(f"kept_logits: head must be among 0..{n_heads - 1}, got {head!r:.40}.")
    table = _beside_others(parts.ov)
    found = {}
    for kept, cut, cut_stream in (("diagonal", keep_diagonal, along_own), ("rest", drop_diagonal, beside_own)):
        edited = table.copy()
        edited[head] = cut(table[head])
        writes = parts.writes.copy()
        writes[head] = cut_stream(writes[head], parts.unembedding)
        recomputed = parts.with_writes(writes, scale="recomputed").sigma
        for scale, sigma in zip(SCALES, (None, recomputed), strict=True):
            found[kept, scale] = parts.logits_with_ov(edited, sigma=sigma)
    return found


def _beside_others(ov: Float64[np.ndarray, "*axes token output"]) -> Float64[np.ndarray, "*axes token output"]:
    """The table with each row less its mean over all outputs but the token's own."""
    others = 1 - np.eye(*ov.shape[-2:])
    return ov - (ov * others).sum(axis=-1, keepdims=True) / np.maximum(others.sum(axis=-1, keepdims=True), 1)
