"""Tables of what attention to each token at each position gives, per head, and what can be made of them.

A table [head, key position, token, width] holds rows of the stream, width d_model, or of logits, width the number of outputs.
"""

from __future__ import annotations

import numpy as np
from einops import rearrange
from jaxtyping import Float64, Int

from mechbp.errors import InputError

BATCH = 512
"""Sequences whose rows are looked up at once."""


def attended(
    patterns: Float64[np.ndarray, "n head position key"],
    table: Float64[np.ndarray, "head key token width"],
    tokens: Int[np.ndarray, "n key"],
) -> Float64[np.ndarray, "n position head width"]:
    """Return the rows that a table gives the tokens of each sequence, averaged by attention: sum_s A[p, s] table[s, t_s]."""
    key = np.arange(tokens.shape[1])
    batches = []
    for start in range(0, len(tokens), BATCH):
        part = slice(start, start + BATCH)
        rows = table[:, key, tokens[part]]  # [head, n, key, width]
        batches.append(rearrange(patterns[part], "n head p key -> head n p key") @ rows)
    return rearrange(np.concatenate(batches, axis=1), "head n p width -> n p head width")


def keep_diagonal(ov: Float64[np.ndarray, "*axes token output"]) -> Float64[np.ndarray, "*axes token output"]:
    """Return a table in which a token adds to its own logit alone; a token that is no output adds nothing."""
    return ov * np.eye(*ov.shape[-2:])


def drop_diagonal(ov: Float64[np.ndarray, "*axes token output"]) -> Float64[np.ndarray, "*axes token output"]:
    """Return a table in which a token adds to all logits but its own, the rest of the row as it is."""
    return ov * (1 - np.eye(*ov.shape[-2:]))


def along_own(
    writes: Float64[np.ndarray, "*axes token d_model"], unembedding: Float64[np.ndarray, "d_model output"]
) -> Float64[np.ndarray, "*axes token d_model"]:
    """Return of what each token writes the part along its own column of W_U: (r . w_t) w_t / |w_t|^2.

    It adds to the token's own logit what the whole did, and to others as far as their columns point the same way. A token that is
    no output, or whose column is 0, writes nothing.
    """
    n_tokens, outputs = writes.shape[-2], unembedding.shape[1]
    own = np.zeros((n_tokens, len(unembedding)))
    named = min(n_tokens, outputs)
    own[:named] = unembedding.T[:named]
    length = np.linalg.norm(own, axis=1, keepdims=True)
    unit = np.divide(own, length, out=np.zeros_like(own), where=length > 0)
    return (writes * unit).sum(axis=-1, keepdims=True) * unit


def beside_own(
    writes: Float64[np.ndarray, "*axes token d_model"], unembedding: Float64[np.ndarray, "d_model output"]
) -> Float64[np.ndarray, "*axes token d_model"]:
    """Return of what each token writes the rest, at right angles to its own column of W_U: its own logit gets nothing."""
    return writes - along_own(writes, unembedding)


def checked_table(given: np.ndarray, shape: tuple[int, ...], what: str, last: str) -> np.ndarray:
    """Return the table as float64. Raises InputError for one of another shape or not finite."""
    table = np.asarray(given, np.float64)
    if table.shape != shape or not np.isfinite(table).all():
        raise InputError(f"{what} must be finite, [head, key position, token, {last}] = {list(shape)}, got {list(table.shape)}.")
    return table
