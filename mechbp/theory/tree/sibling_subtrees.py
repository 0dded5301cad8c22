"""What another tree shares with this one, seen from a hidden leaf: its sibling subtrees, each at some resolution.

The tree around a hidden leaf is a stack of sibling subtrees: the sibling of the leaf itself (height 0), of its parent (height 1),
and so on to the other half of the tree. The symbols on top of them are all that exact inference needs: those of heights below h
make the upward message of the leaf's ancestor h levels up. `(height, at)` says that the subtree of this height is shared at its
nodes `at` levels above the leaves: at = height is its top symbol, the message it sends; at = 0 are all its leaves. Blocks count
from 1; in the paper's construction block m carries the message of the subtree of height m - 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from jaxtyping import Bool, Int

from mechbp.errors import InputError
from mechbp.processes.tree.filtered_tree import FilteredTree

Shared = frozenset[tuple[int, int]]
"""Pairs (height of a sibling subtree, levels above the leaves at which its symbols are shared)."""


def nothing(block: int) -> Shared:
    """Share the place of the hidden leaf alone."""
    del block
    return frozenset()


def own_message(block: int) -> Shared:
    """Share the upward message that the hidden leaf's own subtree sends before this block."""
    return frozenset((height, height) for height in range(block - 1))


def key_message(block: int) -> Shared:
    """Share the message of the sibling subtree that this block reads."""
    return frozenset({(block - 1, block - 1)})


def key_children(block: int) -> Shared:
    """Share the symbols one level below the top of that subtree."""
    return frozenset({(block - 1, max(block - 2, 0))})


def key_leaves(block: int) -> Shared:
    """Share all leaves of that subtree."""
    return frozenset({(block - 1, 0)})


def own_leaves(block: int) -> Shared:
    """Share all leaves of the hidden leaf's own subtree before this block."""
    return frozenset((height, 0) for height in range(block - 1))


MATCHINGS: dict[str, Callable[[int], Shared]] = {
    "nothing": nothing,
    "query's message": own_message,
    "keys' message": key_message,
    "both messages": lambda block: own_message(block) | key_message(block),
    "keys' leaves": key_leaves,
    "query's message, keys' children": lambda block: own_message(block) | key_children(block),
    "query's message, keys' leaves": lambda block: own_message(block) | key_leaves(block),
    "query's leaves, keys' leaves": lambda block: own_leaves(block) | key_leaves(block),
}
"""What a sequence may share with another before one takes the other's attention pattern in a block, coarse to fine."""


def kept_nodes(
    tree: FilteredTree, hidden: Int[np.ndarray, " n"], shared: Iterable[tuple[int, int]]
) -> dict[int, Bool[np.ndarray, "n nodes"]]:
    """Return which nodes keep their symbols, for `redraw`, where each tree hides its own leaf.

    Raises InputError for a subtree or a resolution that the tree does not have.
    """
    kept: dict[int, np.ndarray] = {}
    for height, at in shared:
        if not 0 <= at <= height < tree.depth:
            raise InputError(f"kept_nodes: need 0 <= at <= height < {tree.depth}, the depth, got height {height} and at {at}.")
        depth = tree.depth - at
        chosen = np.arange(2**depth) >> (height - at) == ((hidden >> height) ^ 1)[:, None]
        kept[depth] = chosen | kept.get(depth, np.zeros_like(chosen))
    return kept


def hide(tree: FilteredTree, tokens: Int[np.ndarray, "n leaves"], hidden: Int[np.ndarray, " n"]) -> Int[np.ndarray, "n leaves"]:
    """Return the leaves with hidden[i] of sequence i as MASK."""
    shown = tokens.copy()
    shown[np.arange(len(tokens)), hidden] = tree.mask_token
    return shown


def under_sibling(tree: FilteredTree, hidden: Int[np.ndarray, " n"], height: int) -> Bool[np.ndarray, "n leaves"]:
    """Return which leaves stand in the sibling subtree of this height."""
    return kept_nodes(tree, hidden, [(height, 0)])[tree.depth]
