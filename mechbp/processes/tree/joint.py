"""The joint of a filtered tree, stated once and state by state; shares no code with belief propagation.

    P(x) = p_0(x_0)  prod_j T_j(x_0, x_{k,j})  prod_{d >= k, j} M(x_{d,j}; x_{d+1,2j}, x_{d+1,2j+1})

where T_j is the distribution of node (k, j) given the root in the unfiltered grammar.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Integer

from mechbp.errors import LimitExceeded
from mechbp.processes.process import Joint, Query
from mechbp.processes.tree.grammar import TreeGrammar

LISTED_STATES = 2**16
"""A small tree has at most this many states, where its grammar allows."""

MAX_STATES = 20_000_000
"""Assignments of a symbol to every node; a longer joint is refused before anything is allocated."""

Symbols = dict[int, Integer[np.ndarray, "_nodes state"]]
"""symbols[d][j] is the symbol of node (d, j) in every state of the joint."""


def all_symbols(q: int, depths: tuple[int, ...]) -> Symbols:
    """Return every assignment of a symbol to every node; the leaves, read in base q, count fastest."""
    n_nodes = sum(2**d for d in depths)
    state = np.arange(q**n_nodes, dtype=np.int32)
    symbols: Symbols = {}
    before = 0
    for d in depths:
        symbols[d] = np.stack([state // q ** (n_nodes - 1 - i) % q for i in range(before, before + 2**d)])
        before += 2**d
    return symbols


def state_weights(
    rules: Float64[np.ndarray, "q q q"], root_weight: Float64[np.ndarray, " q"], symbols: Symbols, filter_level: int
) -> Float64[np.ndarray, " state"]:
    """Return the product of the factors of every state, `root_weight` in place of p_0."""
    (root,) = symbols[0]
    weight = root_weight[root]
    if filter_level:
        for j, node in enumerate(symbols[filter_level]):
            weight = weight * _given_root(rules, filter_level, j)[root, node]
    for d in range(filter_level, max(symbols)):
        for j, node in enumerate(symbols[d]):
            weight = weight * rules[node, symbols[d + 1][2 * j], symbols[d + 1][2 * j + 1]]
    return weight


def small_shape(q: int, depth: int, filter_level: int) -> tuple[int, int]:
    """Return the depth and filter level of the deepest tree of the same kind that has at most LISTED_STATES states.

    It is unfiltered, or filtered at the leaves, or neither, as the whole tree is.
    """
    while depth > 1 and _n_nodes(depth, filter_level) * np.log(q) > np.log(LISTED_STATES):
        depth -= 1
        filter_level = min(filter_level, depth if filter_level > depth else max(1, depth - 1))
    return depth, filter_level


def _n_nodes(depth: int, filter_level: int) -> int:
    return sum(2**d for d in {0, *range(filter_level, depth + 1)})


def refuse_long_joint(q: int, depth: int, filter_level: int, where: str) -> None:
    """Raise LimitExceeded, with the number of states, if there are more than MAX_STATES."""
    n_nodes = _n_nodes(depth, filter_level)
    if n_nodes * np.log(q) > np.log(MAX_STATES):
        raise LimitExceeded(
            f"{where}: {n_nodes} nodes of {q} symbols have {float(q) ** min(n_nodes, 500):.1e} joint states"
            f"{' or more' if n_nodes > 500 else ''}; at most {MAX_STATES:.0e} are summed.\n"
            f"Use FilteredTree.beliefs (belief propagation), or a smaller depth or vocabulary."
        )


def tree_joint(grammar: TreeGrammar, depth: int, filter_level: int) -> Joint:
    """List the joint of a tree, with all its messages and marginals as queries."""
    refuse_long_joint(grammar.vocab_size, depth, filter_level, "FilteredTree.joint")
    depths = tuple(sorted({0, *range(filter_level, depth + 1)}))
    symbols = all_symbols(grammar.vocab_size, depths)
    queries = {}
    for d in depths:
        below = np.repeat(np.eye(2**d, dtype=bool), 2 ** (depth - d), axis=1)  # [node, leaf]
        nodes = symbols[d].T
        queries |= {
            f"upward[{d}]": Query(lambda tree, tokens, d=d: tree.beliefs(tokens).upward[d], nodes, below, likelihood=True),
            f"downward[{d}]": Query(lambda tree, tokens, d=d: tree.beliefs(tokens).downward[d], nodes, ~below),
            f"marginals[{d}]": Query(lambda tree, tokens, d=d: tree.beliefs(tokens).marginals[d], nodes, np.ones_like(below)),
        }
    leaves = symbols[depth].T
    others = ~np.eye(2**depth, dtype=bool)
    queries["leave_one_out"] = Query(lambda tree, tokens: tree.leave_one_out(tokens), leaves, others)
    queries["posteriors.leaves"] = Query(lambda tree, tokens: tree.posteriors(tokens).leaves, leaves, others)
    everything = np.ones((1, 2**depth), dtype=bool)
    queries["posteriors.root"] = Query(lambda tree, tokens: tree.posteriors(tokens).root[:, None], symbols[0].T, everything)
    probability = state_weights(grammar.rules, grammar.root_prior, symbols, filter_level)
    return Joint(leaves, probability, queries, lambda tree, tokens: tree.beliefs(tokens).log_evidence)


def _given_root(rules: np.ndarray, depth: int, j: int) -> np.ndarray:
    """P(x_{depth,j} = b | x_0 = a), following the binary digits of j: 0 turns left, 1 turns right."""
    law = np.eye(len(rules))
    for turn in np.binary_repr(j, depth):
        law = law @ rules.sum(axis=2 if turn == "0" else 1)
    return law
