"""Trees, evidence and exact answers for the tests of compiled models."""

from __future__ import annotations

import numpy as np

from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.processes.tree.grammar import TreeGrammar
from mechbp.randomness import rng

KINDS = ("unambiguous", "ambiguous", "arbitrary")


def make_tree(kind: str, vocab_size: int, depth: int, filter_level: int = 0) -> FilteredTree:
    """A tree over a random grammar; "arbitrary" rules give pairs any number of parents, or none, and a prior that is not flat."""
    if kind == "arbitrary":
        draw = rng(0, "rules", vocab_size)
        rules = draw.gamma(0.5, size=(vocab_size,) * 3) * (draw.random((vocab_size,) * 3) < 0.6)
        rules[:, 0, 0] += 0.1
        rules /= rules.sum(axis=(1, 2), keepdims=True)
        return FilteredTree(TreeGrammar(rules, draw.dirichlet(np.ones(vocab_size))), depth, filter_level)
    ambiguity = 0.05 if kind == "ambiguous" else 0.0
    grammar = TreeGrammar.random(vocab_size, seed=vocab_size + depth, ambiguity=ambiguity)
    return FilteredTree(grammar, depth, filter_level)


def masked_data(tree: FilteredTree, n: int, *labels: str | int) -> np.ndarray:
    """Sequences of the tree: the first all masked, the second not at all, every other at a rate of its own from 0 to 100 %."""
    draw = rng(0, "masked data", *labels)
    tokens = tree.sample(n, draw).tokens
    rates = draw.random((n, 1))
    rates[:2] = [[1.0], [0.0]]
    return np.where(draw.random(tokens.shape) < rates, tree.mask_token, tokens)


def exact(tree: FilteredTree, answer: str, tokens: np.ndarray) -> np.ndarray:
    """What a compiled model should answer at every leaf."""
    if answer == "leaf":
        return tree.leave_one_out(tokens)
    return np.repeat(tree.beliefs(tokens).marginals[0], tree.n_leaves, axis=1)


def normalised(messages: np.ndarray) -> np.ndarray:
    """Messages divided by their sums over the last axis."""
    return messages / messages.sum(axis=-1, keepdims=True)
