"""Trees that share chosen symbols: everything else is drawn anew, from its exact distribution given what is kept.

The kept symbols are evidence at their nodes, so the upward pass of belief propagation sums out all that may follow below; a
draw from the root down then takes every symbol from its distribution given its parent and the evidence below it. A redrawn tree
is an exact draw from the process given the kept symbols, and given these it is independent of the tree it replaces.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float64

from mechbp.errors import InputError
from mechbp.processes.tree.filtered_tree import FilteredTree, TreeSample
from mechbp.randomness import checked_generator

Kept = Mapping[int, Bool[np.ndarray, "n nodes"]]
"""Depth -> which of its nodes keep their symbol in which tree."""


def redraw(tree: FilteredTree, sample: TreeSample, kept: Kept, rng: np.random.Generator) -> TreeSample:
    """Return trees that have the symbols of `sample` where `kept` says, and new ones elsewhere.

    Depths that `kept` does not name keep nothing. Cost: one upward pass and one draw per node.
    Raises InputError for a depth without symbols, an array of another shape, or kept symbols that cannot occur together.
    """
    checked_generator(rng, "redraw")
    _check(tree, sample, kept)
    n, q = len(sample.tokens), tree.vocab_size
    rules = tree.grammar.rules
    evidence = {d: _evidence(sample.nodes[d], kept.get(d), q) for d in tree.depths}
    upward = {tree.depth: evidence[tree.depth]}
    for d in range(tree.depth - 1, tree.filter_level - 1, -1):
        left, right = upward[d + 1][:, 0::2], upward[d + 1][:, 1::2]
        upward[d] = np.einsum("abc,njb,njc->nja", rules, left, right, optimize=True) * evidence[d]
    weights = tree.grammar.root_prior * evidence[0][:, 0]
    if tree.filter_level:
        weights = weights * np.einsum("jab,njb->nja", tree.transitions, upward[tree.filter_level]).prod(axis=1)
    else:
        weights = tree.grammar.root_prior * upward[0][:, 0]
    impossible = np.flatnonzero(weights.sum(axis=1) == 0)
    if impossible.size:
        raise InputError(
            f"redraw: the kept symbols of example {impossible[0]} cannot occur together.\nPass a sample drawn from this tree."
        )
    nodes = {0: _draw(weights[:, None], rng)}
    top = tree.filter_level
    if top:
        given = tree.transitions.transpose(1, 0, 2)[nodes[0][:, 0]]  # [n, node, symbol]
        nodes[top] = _draw(given * upward[top], rng)
    for d in range(top, tree.depth):
        left, right = upward[d + 1][:, 0::2], upward[d + 1][:, 1::2]
        pairs = rules[nodes[d]] * left[..., :, None] * right[..., None, :]
        drawn = _draw(pairs.reshape(*nodes[d].shape, q * q), rng)
        nodes[d + 1] = np.stack(np.divmod(drawn, q), axis=-1).reshape(n, -1)
    return TreeSample(tokens=nodes[tree.depth], root=nodes[0][:, 0], nodes=nodes)


def _check(tree: FilteredTree, sample: TreeSample, kept: Kept) -> None:
    for d, chosen in kept.items():
        if d not in tree.depths:
            raise InputError(f"redraw: depth {d} carries no symbols; those that do are {', '.join(map(str, tree.depths))}.")
        if chosen.shape != sample.nodes[d].shape or chosen.dtype != bool:
            raise InputError(
                f"redraw: what is kept at depth {d} must be bool {list(sample.nodes[d].shape)}, "
                f"got {chosen.dtype} {list(chosen.shape)}."
            )


def _evidence(symbols: np.ndarray, chosen: np.ndarray | None, q: int) -> Float64[np.ndarray, "n nodes q"]:
    """One-hot where a symbol is kept, all ones elsewhere."""
    if chosen is None:
        return np.ones((*symbols.shape, q))
    return np.where(chosen[..., None], np.eye(q)[symbols], 1.0)


def _draw(weights: Float64[np.ndarray, "n nodes outcome"], rng: np.random.Generator) -> np.ndarray:
    """One outcome per node, in proportion to its weight; an outcome of weight 0 is never drawn."""
    cdf = np.cumsum(weights, axis=-1)
    point = rng.random(cdf.shape[:-1]) * cdf[..., -1]
    return np.minimum((cdf <= point[..., None]).sum(axis=-1), (weights > 0).cumsum(axis=-1).argmax(axis=-1))
