"""What one leaf of a tree, on its own, says about a node: the tables that `pooling` adds or multiplies.

On a path that goes down from the target the laws of left and right children are multiplied. Where the path turns, the children
of the lowest common ancestor are taken jointly: as siblings they are not independent given their parent.
"""

from __future__ import annotations

from functools import reduce

import numpy as np
from jaxtyping import Float64

from mechbp.errors import InputError
from mechbp.processes.tree.filtered_tree import FilteredTree


def leaf_influence(tree: FilteredTree, depth: int, node: int) -> Float64[np.ndarray, "leaf q q"]:
    """Return P(symbol of node (depth, node) | leaf shows symbol), [leaf, symbol of the leaf, symbol of the node].

    A symbol that a leaf never shows has a row of zeros. Raises InputError for a node that bears no symbol.
    """
    if depth not in tree.depths or not 0 <= node < 2**depth:
        raise InputError(f"leaf_influence: there is no symbol at node ({depth}, {node}); depths with symbols: {tree.depths}.")
    joints = np.stack([_joint(tree, depth, node, leaf) for leaf in range(tree.n_leaves)]).transpose(0, 2, 1)
    sums = joints.sum(axis=2, keepdims=True)
    return np.divide(joints, sums, out=np.zeros_like(joints), where=sums > 0)


def _joint(tree: FilteredTree, depth: int, node: int, leaf: int) -> np.ndarray:
    """P(symbol of the node, symbol of the leaf)."""
    bottom = tree.depth
    shared = next(d for d in range(depth, -1, -1) if node >> (depth - d) == leaf >> (bottom - d))
    if shared == depth:
        return tree.priors[depth][node][:, None] * _down(tree, depth, node, bottom, leaf)
    if shared < tree.filter_level:  # children of the root, or filtered nodes: independent given the root
        top = tree.filter_level
        to_node = _down(tree, 0, 0, top, node >> (depth - top)) @ _down(tree, top, node >> (depth - top), depth, node)
        to_leaf = _down(tree, 0, 0, top, leaf >> (bottom - top)) @ _down(tree, top, leaf >> (bottom - top), bottom, leaf)
        return (tree.grammar.root_prior[:, None] * to_node).T @ to_leaf
    ancestor = node >> (depth - shared)
    pair = np.einsum("p,plr->lr", tree.priors[shared][ancestor], tree.grammar.rules)
    below = [node >> (depth - shared - 1), leaf >> (bottom - shared - 1)]
    if below[0] % 2:  # the node is on the right
        pair = pair.T
    return _down(tree, shared + 1, below[0], depth, node).T @ pair @ _down(tree, shared + 1, below[1], bottom, leaf)


def _down(tree: FilteredTree, depth: int, node: int, to_depth: int, to_node: int) -> np.ndarray:
    """P(symbol of (to_depth, to_node) | symbol of (depth, node)), the first above the second."""
    turns = [(to_node >> (to_depth - d)) % 2 for d in range(depth + 1, to_depth + 1)]
    steps = [tree.grammar.right if turn else tree.grammar.left for turn in turns]
    return reduce(np.matmul, steps, np.eye(tree.vocab_size))
