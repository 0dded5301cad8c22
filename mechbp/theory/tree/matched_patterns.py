"""What attention must know: patterns taken from other sequences that share some of what the tree tells, and no more.

Where a pattern depends on nothing but what two sequences share, taking it from one into the other leaves the answer as it was.
Donors are drawn from the exact distribution of trees given what is shared, hide the same leaf, and give each block the row of
that leaf, the query that is asked; all other rows stay the sequence's own. Nothing is fitted, and nothing downstream adapts:
patterns that are not exchanged are kept as in the unedited run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from mechbp.errors import InputError
from mechbp.hooks import HookedModel
from mechbp.methods.attention.patterns import mean_pattern
from mechbp.processes.tree.filtered_tree import FilteredTree, TreeSample
from mechbp.theory.tree.redraw import redraw
from mechbp.theory.tree.sibling_subtrees import MATCHINGS, Shared, hide, kept_nodes

Patterns = Float[np.ndarray, "n layer head query key"]
"""One pattern per sequence and block, over the leaves."""


def static_given_leaf(
    model: HookedModel, tree: FilteredTree, each: int, rng: np.random.Generator
) -> Float[np.ndarray, "hidden layer head query key"]:
    """Return the mean pattern over `each` sequences for every leaf that may be hidden: static but for where MASK stands."""
    hidden = np.repeat(np.arange(tree.n_leaves), each)
    patterns = mean_pattern(model, hide(tree, tree.sample(len(hidden), rng).tokens, hidden)).within
    return patterns.reshape(tree.n_leaves, each, *patterns.shape[1:]).mean(axis=1)


def matched_rows(
    model: HookedModel,
    tree: FilteredTree,
    sample: TreeSample,
    hidden: Int[np.ndarray, " n"],
    own: Patterns,
    rng: np.random.Generator,
    matchings: Mapping[str, Callable[[int], Shared]] = MATCHINGS,
) -> dict[str, Patterns]:
    """Return, for each matching, the patterns with the hidden leaf's row of every block from a donor matched for that block.

    What two matchings share alike comes from the same donors. Raises InputError for a model of more blocks than levels.
    """
    n_blocks = own.shape[1]
    if n_blocks > tree.depth:
        raise InputError(f"matched_rows: a tree of {tree.depth} levels has no subtree for block {n_blocks} to read.")
    donors: dict[Shared, np.ndarray] = {}
    for shared in dict.fromkeys(matching(block) for matching in matchings.values() for block in range(1, n_blocks + 1)):
        drawn = redraw(tree, sample, kept_nodes(tree, hidden, shared), rng).tokens
        donors[shared] = mean_pattern(model, hide(tree, drawn, hidden)).within[np.arange(len(hidden)), :, :, hidden]
    found = {}
    for name, matching in matchings.items():
        rows = np.stack([donors[matching(block)][:, block - 1] for block in range(1, n_blocks + 1)], axis=1)
        found[name] = with_rows(own, hidden, rows)
    return found


def with_rows(own: Patterns, hidden: Int[np.ndarray, " n"], rows: Float[np.ndarray, "n layer head key"]) -> Patterns:
    """Return the patterns with the row of the hidden leaf replaced."""
    edited = own.copy()
    edited[np.arange(len(hidden)), :, :, hidden] = rows
    return edited


def frozen_parts(
    own: Patterns, static: Patterns, hidden: Int[np.ndarray, " n"], levels: Int[np.ndarray, "leaf leaf"]
) -> dict[str, Patterns]:
    """Return patterns of which one part is static and the rest the sequence's own, by the name of the part.

    "block m": one block. "hidden row", "other rows": the query that is asked, or all others, in all blocks. "which leaf": how the
    mass of each level is divided among its leaves. "which level": how much mass each level gets. The last two share all of a
    pattern between them. "all": everything.
    """
    rows = np.arange(len(hidden))
    static = np.broadcast_to(static, own.shape).copy()
    only_hidden = with_rows(own, hidden, static[rows, :, :, hidden])
    own_mass, static_mass = (_mass_at_level(patterns, levels) for patterns in (own, static))
    parts = {f"block {block + 1}": _blocks(own, static, [block]) for block in range(own.shape[1])}
    return {
        "all": static,
        **parts,
        "hidden row": only_hidden,
        "other rows": with_rows(static, hidden, own[rows, :, :, hidden]),
        "which leaf": static / static_mass * own_mass,
        "which level": own / own_mass * static_mass,
    }


def _blocks(own: Patterns, static: Patterns, blocks: Sequence[int]) -> Patterns:
    edited = own.copy()
    edited[:, blocks] = static[:, blocks]
    return edited


def _mass_at_level(patterns: Patterns, levels: Int[np.ndarray, "leaf leaf"]) -> Patterns:
    """At every (query, key) the mass on all keys of the same level; never 0, as a softmax is not."""
    found = np.empty(patterns.shape)
    for level in range(levels.max() + 1):
        there = levels == level
        mass = (patterns * there).sum(axis=-1, keepdims=True)
        np.copyto(found, mass, where=there)
    return np.maximum(found, np.finfo(np.float64).tiny)
