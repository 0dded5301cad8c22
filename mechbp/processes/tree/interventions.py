"""Exact inference after one message has been replaced by hand: what a computation of beliefs must answer if it uses that message.

An upward message carries all that the leaves below its node say to the rest of the tree, a downward message all that the rest
says to those leaves. So replacing beta_{d,j} moves every node outside the subtree of (d, j) and none inside it, and replacing
alpha_{d,j} the reverse; the node's own marginal, proportional to their product, moves with either.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int, Integer

from mechbp.brief import Brief
from mechbp.errors import InputError
from mechbp.processes.tree.belief_propagation import Messages, chunks, combine_at_root, downward_pass, normalise, upward_pass
from mechbp.processes.tree.filtered_tree import FilteredTree


@dataclass(frozen=True, eq=False, repr=False)
class Intervened(Brief):
    """Messages and marginals of every symbol-bearing depth, as in `TreeBeliefs`, after the replacement."""

    upward: dict[int, Float64[np.ndarray, "n _nodes q"]]
    downward: dict[int, Float64[np.ndarray, "n _nodes q"]]
    marginals: dict[int, Float64[np.ndarray, "n _nodes q"]]
    possible: Bool[np.ndarray, " n"]
    """False where the new message contradicts the evidence; some marginals of such a row are all zeros."""


def intervene(
    tree: FilteredTree,
    tokens: Integer[np.ndarray, "n leaves"],
    depth: int,
    nodes: Int[np.ndarray, " n"],
    *,
    upward: Float64[np.ndarray, "n q"] | None = None,
    downward: Float64[np.ndarray, "n q"] | None = None,
) -> Intervened:
    """Return all beliefs when the messages of node (depth, nodes[i]) of example i are replaced, and all that follow from them.

    `upward` and `downward` [n, q] are the new messages, up to a factor; at least one is given. A constant upward message says
    nothing: the leaves below might as well be masked. Tokens equal to MASK are not observed.
    Raises InputError for a depth above the filter level, nodes it does not have, or messages that are no distributions.
    """
    evidence = tree.check_tokens(tokens, "intervene")
    n, q = len(evidence), tree.vocab_size
    if depth not in range(tree.filter_level, tree.depth + 1):
        raise InputError(f"intervene: depth must be in {tree.filter_level}..{tree.depth}, filter level to leaves, got {depth!r}.")
    which = np.asarray(nodes)
    if which.shape != (n,) or (n and (which.min() < 0 or which.max() >= 2**depth)):
        raise InputError(f"intervene: nodes must be {n} numbers in 0..{2**depth - 1}, one per example, got {which!r:.80}.")
    if upward is None and downward is None:
        raise InputError("intervene: nothing to replace. Pass upward=, downward= or both.")
    new = {name: _checked(name, given, n, q) for name, given in (("upward", upward), ("downward", downward)) if given is not None}
    results = {name: {d: np.empty((n, 2**d, q)) for d in tree.depths} for name in ("upward", "downward", "marginals")}
    symbol_evidence = np.vstack([np.eye(q), np.ones(q)])
    for part in chunks(n, q, tree.depth):
        leaves = np.ascontiguousarray(symbol_evidence[evidence[part]].transpose(1, 2, 0))
        up, down = _passes(tree, leaves, depth, which[part], {name: message[part] for name, message in new.items()})
        for d in tree.depths:
            messages = {"upward": normalise(up[d])[0], "downward": down[d], "marginals": normalise(up[d] * down[d])[0]}
            for name, level in messages.items():
                results[name][d][part] = level.transpose(2, 0, 1)
    possible = np.logical_and.reduce([level.any(axis=-1).all(axis=-1) for level in results["marginals"].values()])
    return Intervened(**results, possible=possible)


def _passes(
    tree: FilteredTree, leaves: Messages, depth: int, nodes: np.ndarray, new: dict[str, np.ndarray]
) -> tuple[dict[int, Messages], dict[int, Messages]]:
    """Both passes, each stopped at the node's depth to replace its message; what is above takes the new upward message."""
    examples = np.arange(len(nodes))
    up, _ = upward_pass(tree.grammar, leaves, tree.depth, depth)
    if "upward" in new:
        up[depth] = up[depth].copy()  # at the leaves' depth it is the evidence itself
        up[depth][nodes, :, examples] = new["upward"]
    up |= upward_pass(tree.grammar, up[depth], depth, tree.filter_level)[0]
    root_upward, down, _ = combine_at_root(tree.grammar, tree.transitions, up[tree.filter_level])
    up[0] = root_upward
    down = downward_pass(tree.grammar, up, down, depth, tree.filter_level)
    if "downward" in new:
        down[depth] = down[depth].copy()
        down[depth][nodes, :, examples] = new["downward"]
    return up, downward_pass(tree.grammar, up, down, tree.depth, depth)


def _checked(name: str, message: object, n: int, q: int) -> Float64[np.ndarray, "n q"]:
    """Return a message as distributions over symbols, or raise InputError."""
    array = np.asarray(message, np.float64)
    if array.shape != (n, q) or not np.isfinite(array).all() or (array < 0).any() or not array.any(axis=1).all():
        raise InputError(f"intervene: {name} must be [{n}, {q}], finite, >= 0 and not all zero, got {list(array.shape)}.")
    return array / array.sum(axis=1, keepdims=True)
