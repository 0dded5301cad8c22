"""Where leaves stand to each other on a complete binary tree, and which sequence positions are leaves."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int

from mechbp.errors import InputError


def leaves_below_root(n_positions: int, where: str) -> int:
    """Return how many positions are leaves, for a caller who has said that they are a tree's, perhaps with ROOT at the end.

    Raises InputError, in the name of `where`, for numbers that no tree has.
    """
    n_leaves = next((n for n in (n_positions, n_positions - 1) if n >= 2 and n & (n - 1) == 0), None)
    if n_leaves is None:
        raise InputError(
            f"{where}: {n_positions} positions are neither 2^depth leaves (depth >= 1) nor these and a ROOT query.\n"
            "For what is no tree give a reference pattern of your own, [query, key]."
        )
    return n_leaves


def lca_level(n_leaves: int) -> Int[np.ndarray, "leaf leaf"]:
    """Return h[i, j], how many levels above leaves i and j their lowest common ancestor stands: the bit length of i XOR j.

    0 on the diagonal, log2(n_leaves) where only the root is common. Raises InputError unless n_leaves is a power of two >= 2.
    """
    if n_leaves < 2 or n_leaves & (n_leaves - 1):
        raise InputError(f"lca_level: n_leaves must be a power of two >= 2, got {n_leaves}.")
    leaf = np.arange(n_leaves)
    return np.frexp((leaf[:, None] ^ leaf[None, :]).astype(np.float64))[1].astype(np.int64)  # frexp's exponent is the bit length


def own_nodes(targets: Mapping[str, np.ndarray], n_leaves: int, n_positions: int) -> dict[str, Int[np.ndarray, " position"]]:
    """Return, for targets [n, nodes, ...] that are one depth of a tree each, the node above every position; -1: none.

    The first `n_leaves` positions are the leaves; what follows them, the ROOT query, has no node of its own.
    Raises InputError for a target whose nodes are no depth of the tree, and for fewer positions than leaves.
    """
    if n_positions < n_leaves:
        raise InputError(f"own_nodes: {n_leaves} leaves do not fit into {n_positions} positions.")
    found = {}
    for name, target in targets.items():
        n_nodes = target.shape[1]
        if n_leaves % n_nodes:
            raise InputError(f"own_nodes: {name!r} has {n_nodes} nodes, no depth of a tree of {n_leaves} leaves.")
        own = np.full(n_positions, -1)
        own[:n_leaves] = np.arange(n_leaves) * n_nodes // n_leaves
        found[name] = own
    return found
