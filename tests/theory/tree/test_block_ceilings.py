"""Ceilings reproduce the published table's digits and a brute force over whole trees."""

import itertools

import numpy as np
import pytest

from mechbp.errors import InputError
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.processes.tree.grammar import TreeGrammar
from mechbp.theory.tree.block_ceilings import block_ceilings, majority_baselines

PRINTED = np.array([[0.306, 0.397, 0.507, 0.660], [0.352, 0.475, 0.653, 1], [0.438, 0.621, 1, 1], [0.612, 1, 1, 1], [1, 1, 1, 1]])


def test_the_table_of_the_paper_grammar_is_reproduced() -> None:
    tree = FilteredTree(TreeGrammar.random(4, sigma=1.0, seed=0, recipe="paper"), 4)
    ceilings = block_ceilings(tree)
    np.testing.assert_allclose(ceilings[:, :4], PRINTED, rtol=0, atol=5.1e-4)
    np.testing.assert_array_equal(ceilings[:, 4], 1)
    np.testing.assert_allclose(majority_baselines(tree), [0.25, 0.347, 0.414, 0.438, 0.448], rtol=0, atol=5.1e-4)


@pytest.mark.parametrize(("q", "depth", "seed"), [(2, 1, 0), (2, 2, 1), (3, 2, 2), (2, 3, 3), (4, 2, 0)])
def test_ceilings_equal_brute_force_over_all_trees(q: int, depth: int, seed: int) -> None:
    tree = FilteredTree(TreeGrammar.random(q, seed=seed), depth)
    np.testing.assert_allclose(block_ceilings(tree), brute_force(tree), rtol=0, atol=1e-12)


def brute_force(tree: FilteredTree) -> np.ndarray:
    """E max_a P(ancestor = a, block leaves) by summing over every derivation with positive probability."""
    derivations = [({0: (a,)}, p) for a, p in enumerate(tree.grammar.root_prior)]
    for d in range(tree.depth):
        grown = []
        for nodes, p in derivations:
            options = [np.argwhere(tree.grammar.rules[a] > 0) for a in nodes[d]]
            for pairs in itertools.product(*options):
                weight = np.prod([tree.grammar.rules[a, b, c] for a, (b, c) in zip(nodes[d], pairs, strict=True)])
                grown.append(({**nodes, d + 1: tuple(int(s) for pair in pairs for s in pair)}, p * weight))
        derivations = grown
    ceilings = np.zeros((tree.depth + 1, tree.depth + 1))
    for m, d, leaf in itertools.product(range(tree.depth + 1), range(tree.depth + 1), range(tree.n_leaves)):
        joint: dict[tuple[int, ...], np.ndarray] = {}
        start = leaf >> m << m
        for nodes, p in derivations:
            block = nodes[tree.depth][start : start + 2**m]
            joint.setdefault(block, np.zeros(tree.vocab_size))[nodes[d][leaf >> (tree.depth - d)]] += p
        ceilings[m, d] += sum(law.max() for law in joint.values()) / tree.n_leaves
    return ceilings


def test_a_non_uniform_root_prior_counts() -> None:
    rules = TreeGrammar.random(3, seed=4).rules
    tree = FilteredTree(TreeGrammar(rules, np.array([0.7, 0.2, 0.1])), 2)
    np.testing.assert_allclose(block_ceilings(tree), brute_force(tree), rtol=0, atol=1e-12)
    assert majority_baselines(tree)[0] == pytest.approx(0.7)


def test_filtered_trees_and_ambiguous_grammars_are_refused() -> None:
    grammar = TreeGrammar.random(3)
    with pytest.raises(InputError, match="filter_level is 1, expected 0"):
        block_ceilings(FilteredTree(grammar, 2, 1))
    with pytest.raises(InputError, match="possible parents"):
        block_ceilings(FilteredTree(TreeGrammar(np.full((2, 2, 2), 0.25)), 2))


def test_depths_without_symbols_have_no_baseline() -> None:
    baselines = majority_baselines(FilteredTree(TreeGrammar.random(3), 3, 2))
    np.testing.assert_array_equal(np.isnan(baselines), [False, True, False, False])
