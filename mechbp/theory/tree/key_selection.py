"""Which leaf of a sibling subtree a hidden leaf looks at: one that tells much, one that tells little, one that can be seen?

The obvious theory of content-dependent attention is that it seeks evidence: of the leaves at one level it prefers those whose own
symbols say most about the message to be read. Here that is measured, within the sibling subtree that a block reads, free of
where leaves stand: means over sequences that hide the same leaf are taken out of shares and of information alike.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64, Int

from mechbp.divergence import kl_nats
from mechbp.errors import InputError
from mechbp.hooks import HookedModel
from mechbp.methods.attention.patterns import mean_pattern
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean, bootstrap_ratio
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.theory.tree.matched_patterns import Patterns
from mechbp.theory.tree.sibling_subtrees import hide, under_sibling


def told_by_leaf(tree: FilteredTree, height: int) -> Float64[np.ndarray, "leaf symbol"]:
    """Return KL(P(ancestor | leaf's symbol) || P(ancestor)), nats, of the ancestor `height` levels above every leaf.

    Raises InputError for an ancestor without symbols.
    """
    depth = tree.depth - height
    if height < 0 or depth not in tree.depths:
        raise InputError(f"told_by_leaf: the ancestors {height} levels up carry no symbols at filter level {tree.filter_level}.")
    step = np.stack([tree.grammar.left, tree.grammar.right])
    found = []
    for leaf in range(tree.n_leaves):
        path = np.eye(tree.vocab_size)
        for up in reversed(range(height)):  # the child's side, from the ancestor down
            path = path @ step[(leaf >> up) & 1]
        prior = tree.priors[depth][leaf >> height]
        joint = prior[:, None] * path
        posterior = joint / joint.sum(axis=0)
        found.append(kl_nats(posterior.T, np.broadcast_to(prior, posterior.T.shape)))
    return np.stack(found)


def sibling_shares(
    tree: FilteredTree, patterns: Patterns, hidden: Int[np.ndarray, " n"], block: int
) -> Float64[np.ndarray, "n leaf"]:
    """Return how the hidden leaf's attention in a block (from 1) is divided among the leaves of the subtree it reads.

    Mean over heads; rows sum to 1 over those leaves, which come in order. Leaves of other subtrees are left out.
    """
    row = patterns[np.arange(len(hidden)), block - 1, :, hidden].mean(axis=1, dtype=np.float64)
    inside = row[under_sibling(tree, hidden, block - 1)].reshape(len(hidden), -1)
    return inside / inside.sum(axis=1, keepdims=True)


def preference_for_information(
    tree: FilteredTree,
    tokens: Int[np.ndarray, "n leaves"],
    hidden: Int[np.ndarray, " n"],
    shares: Float64[np.ndarray, "n leaf"],
    block: int,
    rng: np.random.Generator,
) -> Interval:
    """Return the slope of a leaf's share on what its symbol tells of the subtree's top, per nat; above 0: evidence is sought."""
    told = told_by_leaf(tree, block - 1)[np.arange(tree.n_leaves), tokens]
    told = told[under_sibling(tree, hidden, block - 1)].reshape(shares.shape)
    shares, told = (_without_place(values, hidden) for values in (shares, told))
    return bootstrap_ratio((shares * told).sum(axis=1), (told**2).sum(axis=1), rng)


def _without_place(values: Float64[np.ndarray, "n leaf"], hidden: Int[np.ndarray, " n"]) -> Float64[np.ndarray, "n leaf"]:
    """Values less their mean over sequences that hide the same leaf, and less the sequence's own mean."""
    values = values.copy()
    for leaf in np.unique(hidden):
        values[hidden == leaf] -= values[hidden == leaf].mean(axis=0)
    return values - values.mean(axis=1, keepdims=True)


def avoidance_of_hidden(
    model: HookedModel,
    tree: FilteredTree,
    tokens: Int[np.ndarray, "n leaves"],
    hidden: Int[np.ndarray, " n"],
    patterns: Float[np.ndarray, "n layer head query key"],
    block: int,
    rng: np.random.Generator,
) -> Interval:
    """Return the share of a leaf of the subtree when it can be seen, minus that when it is hidden too; paired by sequence.

    One leaf of the subtree is chosen at random per sequence. Raises InputError for block 1, whose subtree is one leaf.
    """
    if block < 2:
        raise InputError("avoidance_of_hidden: the subtree that block 1 reads is one leaf; ask block 2 or later.")
    rows, width = np.arange(len(hidden)), 2 ** (block - 1)
    chosen = rng.integers(width, size=len(hidden))
    key = ((hidden >> (block - 1)) ^ 1) * width + chosen
    both = hide(tree, hide(tree, tokens, hidden), key)
    seen = sibling_shares(tree, patterns, hidden, block)[rows, chosen]
    unseen = sibling_shares(tree, mean_pattern(model, both).within, hidden, block)[rows, chosen]
    return bootstrap_mean(seen - unseen, rng)
