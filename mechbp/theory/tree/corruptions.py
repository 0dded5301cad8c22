"""Clean / corrupted pairs whose difference is defined on the tree: everything below one node is drawn anew.

For node (d, j) with parent symbol a and sibling symbol c, the node's new symbol b has the law P(b | a, c), proportional to
M_abc (M_acb for a right child), and its subtree then grows from b by the rules. By the tree's Markov property this is the law
of the subtree given *all* symbols outside it. So the corrupted tree is itself an exact draw from the process, and given what
is outside, clean and corrupted subtree are independent draws from one law: it is one step of a Gibbs sampler.

At or above the filter level, siblings say nothing given the root: every node of depth filter_level below (d, j) is drawn
from its own law given the root. Node (0, 0) redraws the root as well, which makes the pair two independent sequences.
(Source: Garnier-Brun et al. 2025, section 2, for the process.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from mechbp.errors import InputError
from mechbp.processes.tree.filtered_tree import FilteredTree, TreeSample

Node = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Corruption:
    """Pairs of trees that agree outside the subtree below `node`; row i of one is the partner of row i of the other."""

    node: Node
    """(depth, index) of the top of the redrawn subtree."""
    leaves: tuple[int, ...]
    """Leaf positions below the node: the only ones that may differ."""
    clean: TreeSample
    corrupted: TreeSample

    @property
    def changed_leaves(self) -> Bool[np.ndarray, "n leaves"]:
        """Which leaves differ. A redrawn subtree may come out as it was: the old one is a draw from the same law."""
        return self.clean.tokens != self.corrupted.tokens

    @property
    def changed(self) -> Bool[np.ndarray, " n"]:
        """Which pairs differ in any leaf."""
        return np.logical_or.reduce(self.changed_leaves, axis=1)

    def only_changed(self) -> Corruption:
        """Return the pairs that differ: draws conditioned on differing, no longer on the outside alone."""
        return Corruption(self.node, self.leaves, _rows(self.clean, self.changed), _rows(self.corrupted, self.changed))


def sibling_subtree(tree: FilteredTree, leaf: int, depth: int) -> Node:
    """Return the sibling of the leaf's ancestor at `depth` >= 1, the subtree whose message the leaf receives at that level.

    Raises InputError for a leaf or a depth that the tree does not have.
    """
    if not 0 <= leaf < tree.n_leaves or not 1 <= depth <= tree.depth:
        raise InputError(
            f"sibling_subtree: need a leaf in 0..{tree.n_leaves - 1} and a depth in 1..{tree.depth}, got {leaf} and {depth}."
        )
    return depth, (leaf >> (tree.depth - depth)) ^ 1


def corrupt(tree: FilteredTree, sample: TreeSample, node: Node, rng: np.random.Generator) -> Corruption:
    """Redraw the subtree below `node` = (d, j) of every tree in `sample`, from its exact law given all symbols outside it.

    (tree.depth, i) redraws leaf i, (0, 0) the whole tree, `sibling_subtree` names the ones between.
    Raises InputError if the tree has no such node, or if a sample's symbols around the node have probability 0 under it.
    """
    depth, index = node
    if not 0 <= depth <= tree.depth or not 0 <= index < 2**depth:
        raise InputError(f"corrupt: node must be (d, j) with d in 0..{tree.depth} and j in 0..2^d - 1, got {node}.")
    if sample.nodes.keys() != set(tree.depths):
        raise InputError(f"corrupt: the sample has symbols at depths {sorted(sample.nodes)}, the tree at {list(tree.depths)}.")
    width = 2 ** (tree.depth - depth)
    leaves = tuple(range(index * width, (index + 1) * width))
    if depth == 0:
        return Corruption(node, leaves, sample, tree.sample(len(sample.tokens), rng))

    top = max(depth, tree.filter_level)  # the first depth with symbols in the subtree
    nodes = {d: symbols.copy() for d, symbols in sample.nodes.items()}
    below = _below(top, node)
    nodes[top][:, below] = _draw(_top_laws(tree, nodes, node), rng)
    for d in range(top, tree.depth):
        parents = nodes[d][:, _below(d, node)]
        pairs = _draw(tree.grammar.rules.reshape(tree.vocab_size, -1)[parents], rng)
        children = np.stack(np.divmod(pairs, tree.vocab_size), axis=-1)
        nodes[d + 1][:, _below(d + 1, node)] = children.reshape(len(parents), -1)
    return Corruption(node, leaves, sample, TreeSample(tokens=nodes[tree.depth], root=sample.root, nodes=nodes))


def _top_laws(tree: FilteredTree, nodes: dict[int, np.ndarray], node: Node) -> np.ndarray:
    """Law of each topmost symbol of the subtree given what is outside it, [n, nodes, q]."""
    depth, index = node
    if depth <= tree.filter_level:
        of_root = tree.transitions[_below(tree.filter_level, node)]  # [nodes, root symbol, symbol]
        return of_root.transpose(1, 0, 2)[nodes[0][:, 0]]
    rules = tree.grammar.rules if index % 2 == 0 else tree.grammar.rules.transpose(0, 2, 1)  # [parent, this child, sibling]
    weights = rules[nodes[depth - 1][:, index // 2], :, nodes[depth][:, index ^ 1]]
    totals = weights.sum(axis=1, keepdims=True)
    impossible = np.flatnonzero(totals[:, 0] == 0)
    if impossible.size:
        raise InputError(
            f"corrupt: the parent and sibling of node {node} in example {impossible[0]} cannot occur together.\n"
            "Pass a sample drawn from this tree."
        )
    return (weights / totals)[:, None]


def _below(d: int, node: Node) -> slice:
    """Indices of the nodes of depth d below `node`."""
    width = 2 ** (d - node[0])
    return slice(node[1] * width, (node[1] + 1) * width)


def _draw(laws: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One outcome from every law along the last axis."""
    return rng.multinomial(1, laws).argmax(axis=-1)


def _rows(sample: TreeSample, kept: np.ndarray) -> TreeSample:
    return TreeSample(sample.tokens[kept], sample.root[kept], {d: symbols[kept] for d, symbols in sample.nodes.items()})


def splice(
    tree: FilteredTree, tokens: Int[np.ndarray, "n leaves"], donors: Int[np.ndarray, "n leaves"], node: Node
) -> Int[np.ndarray, "n leaves"]:
    """Return `tokens` with the leaves below `node` = (d, j) taken from `donors`, row by row.

    Unlike `corrupt`, this ignores what the rest of the tree says about the subtree, so it can change the exact root; the
    result need not be typical of the process, nor even possible under an arbitrary grammar.
    """
    depth, index = node
    if tokens.shape != donors.shape or tokens.shape[1:] != (tree.n_leaves,):
        raise InputError(f"splice: tokens and donors must both be [n, {tree.n_leaves}], got {tokens.shape} and {donors.shape}.")
    if not 0 <= depth <= tree.depth or not 0 <= index < 2**depth:
        raise InputError(f"splice: node must be (d, j) with d in 0..{tree.depth} and j in 0..2^d - 1, got {node}.")
    spliced = tokens.copy()
    spliced[:, _below(tree.depth, node)] = donors[:, _below(tree.depth, node)]
    return spliced
