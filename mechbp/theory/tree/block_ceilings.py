"""What a token's own aligned block of leaves can tell about its ancestors: reference lines for probes, not bounds.

A probe above its row refutes "after layer m a token has combined its own block of 2^m leaves"; a probe below it finds the
information absent or not readable linearly. The network itself may attend anywhere from the first layer on.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from mechbp.errors import InputError
from mechbp.processes.tree.filtered_tree import FilteredTree


def block_ceilings(tree: FilteredTree) -> Float64[np.ndarray, "blocks depths"]:
    """Return A[m, d]: best accuracy in naming a leaf's depth-d ancestor from its own aligned block of 2^m leaves.

    m and d run over 0..depth; the mean is over leaves. The block's top node, at depth D = depth - m, is parsed exactly, so
    A = 1 for d >= D. Above it the leaf's path root -> D is a Markov chain, of which D is the only symbol seen:
    A[m, d] = 2^-depth sum_i sum_b max_a P(x_d = a, x_D = b) along leaf i's path.
    Raises InputError unless filter_level is 0 and no pair of children has two possible parents (else blocks parse ambiguously).
    """
    _require_parse(tree, "block_ceilings")
    depth, q = tree.depth, tree.vocab_size
    steps = np.stack([tree.grammar.left, tree.grammar.right])
    ceilings = np.ones((depth + 1, depth + 1))
    for d in range(depth):
        # joint[j, a, b] = P(x_d = a, x_D = b) for node j of depth D, starting from D = d
        joint = tree.priors[d][:, :, None] * np.eye(q)
        for top in range(d + 1, depth + 1):
            joint = np.einsum("jab,sbc->jsac", joint, steps).reshape(-1, q, q)
            ceilings[depth - top, d] = joint.max(axis=1).sum(axis=1).mean()  # all nodes of one depth head equally many leaves
    return ceilings


def majority_baselines(tree: FilteredTree) -> Float64[np.ndarray, " depths"]:
    """Return the accuracy of always naming one symbol for the depth-d ancestor, the most frequent one over all leaves.

    Depth d runs over 0..depth; NaN at depths that carry no symbols (1..filter_level-1).
    """
    accuracies = np.full(tree.depth + 1, np.nan)
    for d, prior in tree.priors.items():
        accuracies[d] = prior.mean(axis=0).max()
    return accuracies


def _require_parse(tree: FilteredTree, where: str) -> None:
    if tree.filter_level != 0:
        raise InputError(
            f"{where}: filter_level is {tree.filter_level}, expected 0: a filtered tree lacks ancestors or their exact parse.\n"
            f"Use the unfiltered twin, FilteredTree(tree.grammar, {tree.depth})."
        )
    parents = (tree.grammar.rules > 0).sum(axis=0)
    if parents.max() > 1:
        left, right = (int(i) for i in np.argwhere(parents > 1)[0])
        raise InputError(
            f"{where}: the pair of children ({left}, {right}) has {parents.max()} possible parents, expected at most 1.\n"
            f"The closed form needs an unambiguous grammar; estimate the ceiling from sampled trees instead."
        )
