"""The slow, obvious twin of belief propagation: sum the joint of a small filtered tree over every state.

Shares no code with belief propagation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Integer

from mechbp.brief import Brief
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.processes.tree.joint import all_symbols, refuse_long_joint, state_weights


@dataclass(frozen=True, eq=False, repr=False)
class EnumeratedBeliefs(Brief):
    """What `TreeBeliefs` and `leave_one_out` hold, by summation; a law conditioned on an impossible event is all zeros."""

    upward: dict[int, Float64[np.ndarray, "n _nodes q"]]
    """upward[d][i, j, a] is proportional to P(observed leaves below node (d, j) | x_{d,j} = a)."""
    downward: dict[int, Float64[np.ndarray, "n _nodes q"]]
    """downward[d][i, j, a] = P(x_{d,j} = a | observed leaves not below node (d, j))."""
    marginals: dict[int, Float64[np.ndarray, "n _nodes q"]]
    """marginals[d][i, j, a] = P(x_{d,j} = a | observed leaves)."""
    log_evidence: Float64[np.ndarray, " n"]
    """log P(observed leaves), nats; -inf where impossible."""
    leave_one_out: Float64[np.ndarray, "n leaves q"]
    """leave_one_out[i, j, a] = P(leaf j = a | all other observed leaves)."""


@dataclass(frozen=True, eq=False, repr=False)
class TreeJoint(Brief):
    """The joint of a filtered tree, summed down to one node and all leaves; a word is a full assignment of the leaves."""

    tree: FilteredTree
    laws: dict[int, Float64[np.ndarray, "_nodes q words"]]
    """laws[d][j, a, w] = P(x_{d,j} = a, leaves = word w)."""
    likelihoods: dict[int, Float64[np.ndarray, "q _words"]]
    """likelihoods[d][a, w] = P(leaves below a depth-d node = word w | its symbol is a)."""

    @property
    def words(self) -> Float64[np.ndarray, " words"]:
        """P(leaves = word w), with word w the base-q digits of w."""
        (root,) = self.laws[0]
        return root.sum(axis=0)

    def beliefs(
        self, tokens: Integer[np.ndarray, "n leaves"], observed: Bool[np.ndarray, "n leaves"] | None = None
    ) -> EnumeratedBeliefs:
        """Return every posterior given the observed leaves (tokens equal to MASK are not observed), never an error."""
        seen = (tokens != self.tree.vocab_size) & (True if observed is None else observed)
        q, depth, n_leaves = self.tree.vocab_size, self.tree.depth, self.tree.n_leaves
        upward, downward, marginals = {}, {}, {}
        for d, laws in self.laws.items():
            width = n_leaves >> d  # leaves below one node of this depth
            blocks = [slice(j * width, (j + 1) * width) for j in range(2**d)]
            up, down, posterior = [], [], []
            for law, block in zip(laws, blocks, strict=True):
                outside = seen.copy()
                outside[:, block] = False
                up.append(_compatible(tokens[:, block], seen[:, block], q) @ self.likelihoods[d].T)
                down.append(_compatible(tokens, outside, q) @ law.T)
                posterior.append(_compatible(tokens, seen, q) @ law.T)
            upward[d], downward[d], marginals[d] = (_distributions(np.stack(rows, axis=1)) for rows in (up, down, posterior))
        with np.errstate(divide="ignore"):
            log_evidence = np.log(_compatible(tokens, seen, q) @ self.words)
        return EnumeratedBeliefs(upward, downward, marginals, log_evidence, leave_one_out=downward[depth])


def enumerate_tree(tree: FilteredTree) -> TreeJoint:
    """Sum the joint of `tree` over all its states, once for any number of questions.

    Raises LimitExceeded, with the number of states, if there are more than MAX_STATES.
    """
    q, depth, k = tree.vocab_size, tree.depth, tree.filter_level
    refuse_long_joint(q, depth, k, "enumerate_tree")
    rules = tree.grammar.rules
    free = np.ones(q)  # a root weight of 1 turns the joint into the distribution given the root's symbol
    likelihoods = {d: _sum_joint(rules, free, depth - d, 0 if d else k)[0][0] for d in tree.depths}
    return TreeJoint(tree, _sum_joint(rules, tree.grammar.root_prior, depth, k), likelihoods)


def _sum_joint(rules: np.ndarray, root_weight: np.ndarray, depth: int, filter_level: int) -> dict[int, np.ndarray]:
    """{d: [node, symbol, word]}: the weight of all states in which that node has that symbol and the leaves are that word."""
    q = len(rules)
    symbols = all_symbols(q, tuple(sorted({0, *range(filter_level, depth + 1)})))
    weight = state_weights(rules, root_weight, symbols, filter_level)
    n_words = q ** (2**depth)
    word = np.arange(len(weight)) % n_words  # leaves count fastest
    return {
        d: np.stack([np.bincount(node * n_words + word, weight, q * n_words).reshape(q, n_words) for node in nodes])
        for d, nodes in symbols.items()
    }


def _compatible(tokens: np.ndarray, observed: np.ndarray, q: int) -> Float64[np.ndarray, "n words"]:
    """1 where a word shows the token at every observed leaf, else 0."""
    n, n_leaves = tokens.shape
    words = np.indices((q,) * n_leaves).reshape(n_leaves, -1)
    agrees = np.ones((n, words.shape[1]), dtype=bool)
    for leaf in range(n_leaves):
        agrees &= (words[leaf] == tokens[:, leaf, None]) | ~observed[:, leaf, None]
    return agrees.astype(np.float64)


def _distributions(weights: np.ndarray) -> np.ndarray:
    """Rows divided by their sums; a row of zeros stays."""
    sums = weights.sum(axis=-1, keepdims=True)
    return np.divide(weights, sums, out=np.zeros_like(weights), where=sums > 0)
