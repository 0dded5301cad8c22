"""The filtered tree process: a binary tree grown by a grammar, its top k levels replaced by independence given the root."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float64, Int, Integer

from mechbp.arguments import check_memory, checked_count, checked_label, told
from mechbp.brief import Brief
from mechbp.errors import ImpossibleEvidence, InputError, LimitExceeded
from mechbp.processes.drawing import draw
from mechbp.processes.evidence import checked_evidence
from mechbp.processes.process import Joint
from mechbp.processes.read_only import read_only
from mechbp.processes.tree.belief_propagation import TreeBeliefs, beliefs_from, run_passes
from mechbp.processes.tree.grammar import TreeGrammar
from mechbp.processes.tree.joint import small_shape, tree_joint
from mechbp.processes.tree.leave_one_out import BlockTable, LeafAndRoot, best_height, block_table, leaf_and_root_posteriors
from mechbp.randomness import checked_generator

MAX_DEPTH = 12
"""2^12 leaves; deeper trees are refused before anything is allocated."""


@dataclass(frozen=True, eq=False, repr=False)
class TreeSample(Brief):
    """Trees drawn from a FilteredTree, with every symbol that exists at its filter level."""

    tokens: Int[np.ndarray, "n leaves"]
    """Leaf symbols, left to right."""
    root: Int[np.ndarray, " n"]
    """Root symbols."""
    nodes: dict[int, Int[np.ndarray, "n _nodes"]]
    """nodes[d][i, j] is the symbol of node (d, j), for d = 0 and filter_level..depth."""


@dataclass(frozen=True, eq=False, repr=False)
class FilteredTree(Brief):
    """Binary tree of `depth` levels below the root; its 2^k nodes at depth k = filter_level are independent given the root.

    Depths 1..k-1 carry no symbols. k = 0 is the unfiltered grammar; k = depth makes the leaves independent given the root.
    (Source: Garnier-Brun et al. 2025, section 2, Eq. 1.)

    >>> import mechbp
    >>> tree = mechbp.FilteredTree(mechbp.TreeGrammar.random(vocab_size=4, seed=0), depth=3)
    >>> sample = tree.sample(5, mechbp.rng(0, "trees"))
    >>> beliefs = tree.beliefs(sample.tokens)
    >>> sample.tokens.shape, beliefs.upward[2].shape, bool(abs(beliefs.marginals[0].sum(axis=-1) - 1).max() < 1e-12)
    ((5, 8), (5, 4, 4), True)
    """

    grammar: TreeGrammar
    depth: int
    filter_level: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.grammar, TreeGrammar):
            raise InputError(f"FilteredTree: grammar must be a TreeGrammar, got {type(self.grammar).__name__}.")
        depth = checked_count(self.depth, "FilteredTree", "depth")
        if depth > MAX_DEPTH:
            raise LimitExceeded(
                f"FilteredTree: depth {told(depth)} means 2^{told(depth)} leaves; at most {2**MAX_DEPTH:,} are allowed."
            )
        object.__setattr__(self, "depth", depth)
        level = checked_count(self.filter_level, "FilteredTree", "filter_level", least=0, most=depth, why="at most the depth")
        object.__setattr__(self, "filter_level", level)

    @property
    def vocab_size(self) -> int:
        """Number of symbols q; symbols are 0..q-1."""
        return self.grammar.vocab_size

    @property
    def n_leaves(self) -> int:
        """Sequence length, 2^depth."""
        return 2**self.depth

    @property
    def mask_token(self) -> int:
        """Token id q: a leaf that is not observed."""
        return self.vocab_size

    @property
    def root_token(self) -> int:
        """Token id q + 1: the query position where a model answers for the root."""
        return self.vocab_size + 1

    @property
    def depths(self) -> tuple[int, ...]:
        """Depths that carry symbols: 0 and filter_level..depth."""
        return tuple(sorted({0, *range(self.filter_level, self.depth + 1)}))

    @cached_property
    def transitions(self) -> Float64[np.ndarray, "top q q"]:
        """transitions[j, a, b] = P(x_{k,j} = b | x_0 = a), the product of left/right child laws along the path to (k, j)."""
        step = np.stack([self.grammar.left, self.grammar.right])
        product = np.eye(self.vocab_size)[None]
        for _ in range(self.filter_level):  # node j's children are 2j (left) and 2j + 1 (right)
            product = np.einsum("jab,sbc->jsac", product, step).reshape(-1, self.vocab_size, self.vocab_size)
        return read_only(product)

    @cached_property
    def priors(self) -> dict[int, Float64[np.ndarray, "_nodes q"]]:
        """priors[d][j, a] = P(x_{d,j} = a), the same at every filter level, for the depths that carry symbols."""
        step = np.stack([self.grammar.left, self.grammar.right])
        law, laws = self.grammar.root_prior[None], {0: self.grammar.root_prior[None]}
        for d in range(1, self.depth + 1):
            law = np.einsum("ja,sab->jsb", law, step).reshape(-1, self.vocab_size)
            laws[d] = law
        return {d: read_only(laws[d]) for d in self.depths}

    def small(self) -> FilteredTree:
        """Return a tree of the same grammar and kind of filter, of a depth at which its joint can be listed."""
        depth, filter_level = small_shape(self.vocab_size, self.depth, self.filter_level)
        return self if depth == self.depth else replace(self, depth=depth, filter_level=filter_level)

    def joint(self) -> Joint:
        """List P(all symbols). Raises LimitExceeded where there are too many states."""
        return tree_joint(self.grammar, self.depth, self.filter_level)

    def sample(self, n: int, rng: np.random.Generator) -> TreeSample:
        """Draw n independent trees."""
        n = checked_count(n, "FilteredTree.sample", "n", least=0)
        checked_generator(rng, "FilteredTree.sample")
        check_memory(40.0 * n * self.n_leaves, "FilteredTree.sample", f"{n:,} trees of {self.n_leaves:,} leaves", "Draw fewer.")
        q = self.vocab_size
        root = draw(self.grammar.root_prior[None], np.zeros((n, 1), np.int64), rng)
        tops = np.arange(2**self.filter_level)
        nodes = {0: root}
        if self.filter_level:
            nodes[self.filter_level] = draw(self.transitions.reshape(-1, q), tops * q + root, rng)
        for d in range(self.filter_level, self.depth):
            pair = draw(self.grammar.rules.reshape(q, q * q), nodes[d], rng)
            nodes[d + 1] = np.stack([pair // q, pair % q], axis=-1).reshape(n, 2 ** (d + 1))
        return TreeSample(tokens=nodes[self.depth], root=root[:, 0], nodes=nodes)

    def beliefs(
        self, tokens: Integer[np.ndarray, "n leaves"], observed: Bool[np.ndarray, "n leaves"] | None = None
    ) -> TreeBeliefs:
        """Return all messages, marginals and the log evidence given the observed leaves, by belief propagation.

        A leaf is evidence unless its token is MASK or `observed` is False there (then its token is ignored).
        Raises ImpossibleEvidence, naming the first example, where the observed leaves have probability 0.
        """
        evidence = self.check_tokens(tokens, "FilteredTree.beliefs", observed)
        return beliefs_from(run_passes(self.grammar, self.transitions, evidence, self.depth, self.filter_level))

    def leave_one_out(self, tokens: Integer[np.ndarray, "n leaves"]) -> Float64[np.ndarray, "n leaves q"]:
        """Return P(x_i | all observed leaves but i) for every leaf i, in one upward and one downward pass.

        Evidence that is impossible only because of leaf i still has a posterior at i.
        Raises ImpossibleEvidence, naming the first example, where the other leaves alone have probability 0.
        """
        return self._leaf_and_root(tokens, "leave_one_out").leaves

    def posteriors(self, tokens: Integer[np.ndarray, "n leaves"]) -> LeafAndRoot:
        """Return the exact answers to both tasks, single masked leaf and root, several times faster than `beliefs`.

        Raises ImpossibleEvidence, naming the first example, where one of the answers does not exist.
        """
        answers = self._leaf_and_root(tokens, "posteriors")
        impossible = np.flatnonzero(~answers.root.any(axis=-1))
        if impossible.size:
            raise ImpossibleEvidence(
                f"posteriors: the observed leaves of example {impossible[0]} have probability 0 under this grammar.\n"
                f"Remove this example, or mask the offending leaves; leave_one_out may still have an answer.",
                example=int(impossible[0]),
            )
        return answers

    def check_tokens(
        self, tokens: object, where: str, observed: Bool[np.ndarray, "n leaves"] | None = None
    ) -> Int[np.ndarray, "n leaves"]:
        """Return `tokens` as int64 [n, leaves], MASK where not observed, or raise InputError in the name of `where`."""
        return checked_evidence(
            tokens,
            checked_label(where, "FilteredTree.check_tokens", "where"),
            vocab_size=self.vocab_size,
            length=self.n_leaves,
            place="leaf",
            observed=observed,
            hint=f" at depth {self.depth}",
        )

    @cached_property
    def _block_table(self) -> BlockTable:
        return block_table(self.grammar, best_height(self.vocab_size, self.depth - self.filter_level))

    def _leaf_and_root(self, tokens: object, method: str) -> LeafAndRoot:
        evidence = self.check_tokens(tokens, f"FilteredTree.{method}")
        answers = leaf_and_root_posteriors(
            self.grammar, self.transitions, self._block_table, evidence, self.depth, self.filter_level
        )
        if not answers.leaf_defined.all():
            example, leaf = (int(i) for i in np.argwhere(~answers.leaf_defined)[0])
            raise ImpossibleEvidence(
                f"{method}: the leaves of example {example} other than leaf {leaf} have probability 0 under this grammar.\n"
                f"Remove this example, or mask the offending leaves.",
                example=example,
            )
        return answers
