"""Corruptions: exactly the law of the subtree given the rest of the tree, compared with enumeration."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from mechbp.errors import InputError
from mechbp.processes.tree.filtered_tree import FilteredTree, TreeSample
from mechbp.processes.tree.grammar import TreeGrammar
from mechbp.randomness import rng
from mechbp.theory.tree.corruptions import corrupt, sibling_subtree, splice

ALPHA = 1e-6  # chance of a false alarm per test; seeds are fixed


def soft_tree(filter_level, *, q=2, depth=2, seed=0):
    rules = rng(seed, "rules").dirichlet(np.full(q * q, 0.7), size=q).reshape(q, q, q)
    return FilteredTree(TreeGrammar(rules), depth, filter_level)


def enumerate_trees(tree):
    """Every assignment of symbols to the nodes that carry one, flat by depth, with its probability from the definition."""
    q, rules, depths = tree.vocab_size, tree.grammar.rules, tree.depths
    laws = {}
    for flat in product(range(q), repeat=sum(2**d for d in depths)):
        nodes, at = {}, 0
        for d in depths:
            nodes[d], at = flat[at : at + 2**d], at + 2**d
        probability = tree.grammar.root_prior[nodes[0][0]]
        if tree.filter_level:
            for j, symbol in enumerate(nodes[tree.filter_level]):
                law = np.eye(q)[nodes[0][0]]
                for bit in range(tree.filter_level - 1, -1, -1):
                    law = law @ rules.sum(axis=1 if j >> bit & 1 else 2)
                probability *= law[symbol]
        for d in range(tree.filter_level, tree.depth):
            for j, parent in enumerate(nodes[d]):
                probability *= rules[parent, nodes[d + 1][2 * j], nodes[d + 1][2 * j + 1]]
        laws[flat] = probability
    return laws


def flatten(sample, depths):
    return np.concatenate([sample.nodes[d] for d in depths], axis=1)


def inside_mask(tree, node):
    """Which flat entries belong to the subtree below `node`."""
    return np.concatenate([[d >= node[0] and j >> (d - node[0]) == node[1] for j in range(2**d)] for d in tree.depths])


def fits(corrupting_tree, tree, node, n=40_000):
    """G-test p-value of corrupted trees, all from one clean tree, against enumeration given what is outside the subtree."""
    clean = tree.sample(1, rng(1, "clean"))
    nodes = {d: np.repeat(symbols, n, axis=0) for d, symbols in clean.nodes.items()}
    many = TreeSample(nodes[tree.depth], nodes[0][:, 0], nodes)
    drawn = flatten(corrupt(corrupting_tree, many, node, rng(2, "corrupt")).corrupted, tree.depths)
    outside, one = ~inside_mask(tree, node), flatten(clean, tree.depths)[0]
    trees = enumerate_trees(tree).items()
    laws = {flat: p for flat, p in trees if p > 0 and (np.array(flat)[outside] == one[outside]).all()}
    total = sum(laws.values())
    codes = {flat: index for index, flat in enumerate(laws)}
    counts = np.bincount([codes[tuple(row)] for row in drawn.tolist()], minlength=len(laws))
    expected = n * np.array(list(laws.values())) / total
    return stats.power_divergence(counts, expected, lambda_="log-likelihood").pvalue


NODES = [(0, 0), (1, 0), (1, 1), (2, 0), (2, 3)]


@pytest.mark.parametrize("filter_level", [0, 1, 2])
@pytest.mark.parametrize("node", NODES)
def test_redrawn_subtrees_have_the_exact_conditional_law(filter_level, node):
    tree = soft_tree(filter_level)
    assert fits(tree, tree, node) > ALPHA


@pytest.mark.parametrize("filter_level", [0, 1, 2])
def test_the_same_test_rejects_a_slightly_different_law(filter_level):
    tree = soft_tree(filter_level)
    rules = tree.grammar.rules.copy()
    rules[:, 0, 0] += 0.05  # every parent, so that whichever one the clean tree shows is affected
    rules /= rules.sum(axis=(1, 2), keepdims=True)
    faulty = FilteredTree(TreeGrammar(rules), tree.depth, filter_level)
    assert min(fits(faulty, tree, node) for node in NODES) < ALPHA


def test_ignoring_the_sibling_is_rejected(monkeypatch):
    from mechbp.theory.tree import corruptions

    tree = soft_tree(0)
    marginal = tree.grammar.left  # P(b | a), the sibling's symbol forgotten
    law = lambda tree, nodes, node: marginal[nodes[node[0] - 1][:, node[1] // 2]][:, None]  # noqa: E731
    monkeypatch.setattr(corruptions, "_top_laws", law)
    assert fits(tree, tree, (2, 0)) < ALPHA


@pytest.mark.parametrize("filter_level", [0, 1, 3, 4])
def test_only_the_subtree_changes_and_flags_say_where(filter_level):
    tree = FilteredTree(TreeGrammar.random(4), 4, filter_level)
    sample = tree.sample(300, rng(0))
    kept = {d: symbols.copy() for d, symbols in sample.nodes.items()}
    for node in [(4, 5), *(sibling_subtree(tree, 5, d) for d in range(1, 5)), (0, 0)]:
        pair = corrupt(tree, sample, node, rng(1, *node))
        width = 2 ** (4 - node[0])
        assert pair.leaves == tuple(range(node[1] * width, (node[1] + 1) * width))
        outside = np.setdiff1d(np.arange(16), pair.leaves)
        assert not pair.changed_leaves[:, outside].any() and pair.changed.any()
        assert pair.only_changed().changed.all() and len(pair.only_changed().clean.tokens) == pair.changed.sum()
        np.testing.assert_array_equal(pair.changed_leaves, pair.corrupted.tokens != sample.tokens)
        np.testing.assert_array_equal(pair.corrupted.tokens, pair.corrupted.nodes[4])
        for d in tree.depths:
            for j in range(2**d):
                if node[0] and not (d >= node[0] and j >> (d - node[0]) == node[1]):
                    np.testing.assert_array_equal(pair.corrupted.nodes[d][:, j], sample.nodes[d][:, j])
        assert np.isfinite(tree.beliefs(pair.corrupted.tokens).log_evidence).all()
    for d, symbols in kept.items():
        np.testing.assert_array_equal(sample.nodes[d], symbols)


def test_sibling_subtrees_are_where_the_tree_has_them():
    tree = FilteredTree(TreeGrammar.random(4), 4)
    assert [sibling_subtree(tree, 5, d) for d in (1, 2, 3, 4)] == [(1, 1), (2, 0), (3, 3), (4, 4)]


def test_what_does_not_fit_is_refused():
    tree, filtered = FilteredTree(TreeGrammar.random(4), 3), FilteredTree(TreeGrammar.random(4), 3, 2)
    sample = tree.sample(4, rng(0))
    with pytest.raises(InputError, match=r"node must be \(d, j\) with d in 0..3 and j in 0..2\^d - 1, got \(2, 4\)"):
        corrupt(tree, sample, (2, 4), rng(0))
    with pytest.raises(InputError, match=r"symbols at depths \[0, 1, 2, 3\], the tree at \[0, 2, 3\]"):
        corrupt(filtered, sample, (2, 0), rng(0))
    with pytest.raises(InputError, match=r"need a leaf in 0..7 and a depth in 1..3, got 8 and 0"):
        sibling_subtree(tree, 8, 0)
    foreign = TreeSample(sample.tokens, sample.root, {d: np.zeros_like(a) for d, a in sample.nodes.items()})
    with pytest.raises(InputError, match="cannot occur together"):
        corrupt(tree, foreign, (3, 1), rng(0))  # the rules give symbol 0 no left child 0


@pytest.mark.parametrize("filter_level", [0, 2])
@pytest.mark.parametrize("node", [(0, 0), (1, 1), (2, 2), (3, 5)])
def test_spliced_leaves_come_from_the_donor_below_the_node_and_nowhere_else(filter_level, node):
    tree = FilteredTree(TreeGrammar.random(4), 3, filter_level)
    tokens, donors = np.arange(24).reshape(3, 8), 100 + np.arange(24).reshape(3, 8)
    width = 2 ** (3 - node[0])
    below = [node[1] * width <= leaf < (node[1] + 1) * width for leaf in range(8)]
    np.testing.assert_array_equal(splice(tree, tokens, donors, node), np.where(below, donors, tokens))
    assert tokens.max() == 23 and donors.min() == 100  # neither is written to


def test_splicing_half_a_tree_moves_the_exact_root_and_splicing_all_hands_it_over():
    tree = FilteredTree(TreeGrammar.random(4), 3)
    sample, donor = tree.sample(200, rng(0)), tree.sample(200, rng(1))
    roots = [tree.beliefs(t).marginals[0] for t in (sample.tokens, splice(tree, sample.tokens, donor.tokens, (1, 0)))]
    assert (np.abs(roots[0] - roots[1]).max(axis=(1, 2)) > 0.1).mean() > 0.2
    np.testing.assert_array_equal(splice(tree, sample.tokens, donor.tokens, (0, 0)), donor.tokens)


def test_splices_that_do_not_fit_are_refused():
    tree = FilteredTree(TreeGrammar.random(4), 3)
    tokens = tree.sample(4, rng(0)).tokens
    for node in ((4, 0), (1, 2), (-1, 0), (1, -1)):
        with pytest.raises(InputError, match="splice: node must be"):
            splice(tree, tokens, tokens, node)
    for other in (tokens[:3], tokens[:, :4]):
        with pytest.raises(InputError, match=r"splice: tokens and donors must both be \[n, 8\]"):
            splice(tree, tokens, other, (1, 0))
