"""Where leaves stand to each other on a complete binary tree, and which sequence positions are leaves."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from mechbp.errors import InputError


def leaf_count(n_positions: int, where: str) -> int:
    """Return how many of the positions are leaves: all of a power of two, or all but the ROOT query at the end.

    Raises InputError, in the name of `where`, for any other length.
    """
    n_leaves = _leaves_among(n_positions)
    if n_leaves is None:
        raise InputError(f"{where}: {n_positions} positions are neither 2^depth leaves (depth >= 1) nor these and a ROOT query.")
    return n_leaves


def lca_level(n_leaves: int) -> Int[np.ndarray, "leaf leaf"]:
    """Return h[i, j], how many levels above leaves i and j their lowest common ancestor stands: the bit length of i XOR j.

    0 on the diagonal, log2(n_leaves) where only the root is common. Raises InputError unless n_leaves is a power of two >= 2.
    """
    if n_leaves < 2 or n_leaves & (n_leaves - 1):
        raise InputError(f"lca_level: n_leaves must be a power of two >= 2, got {n_leaves}.")
    leaf = np.arange(n_leaves)
    return np.frexp((leaf[:, None] ^ leaf[None, :]).astype(np.float64))[1].astype(np.int64)  # frexp's exponent is the bit length


def own_node(position: int, n_nodes: int, n_positions: int) -> int | None:
    """Return which of the n_nodes = 2^d nodes of depth d is the ancestor of the leaf at `position`; None where there is none.

    The ROOT query after the leaves owns the root (n_nodes = 1) and no other node. Sequences that are no tree's leaves have none.
    """
    n_leaves = _leaves_among(n_positions)
    if n_leaves is None or n_leaves % n_nodes:
        return None
    if position >= n_leaves:
        return 0 if n_nodes == 1 else None
    return position * n_nodes // n_leaves


def _leaves_among(n_positions: int) -> int | None:
    return next((n for n in (n_positions, n_positions - 1) if n >= 2 and n & (n - 1) == 0), None)
