"""What one leaf says about a node of a tree equals enumeration; multiplied, it is the belief of the fully filtered tree."""

import numpy as np
import pytest
from random_grammars import make_grammar

from mechbp.errors import InputError
from mechbp.processes.pooling import added, multiplied
from mechbp.processes.tree.enumeration import enumerate_tree
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.processes.tree.pairwise import leaf_influence


@pytest.mark.parametrize(("q", "depth", "level"), [(3, 2, 0), (2, 3, 0), (2, 3, 1), (2, 3, 2), (3, 2, 2), (4, 1, 0)])
def test_influence_equals_enumeration_for_every_pair(q, depth, level):
    tree = FilteredTree(make_grammar("soft", q, np.random.default_rng(depth)), depth, level)
    joint = enumerate_tree(tree)
    for d in tree.depths:
        for node in range(2**d):
            found = leaf_influence(tree, d, node)
            for leaf in range(tree.n_leaves):
                tokens = np.full((q, tree.n_leaves), tree.mask_token)
                tokens[:, leaf] = np.arange(q)
                np.testing.assert_allclose(found[leaf], joint.beliefs(tokens).marginals[d][:, node], rtol=0, atol=1e-12)


def test_product_is_the_fully_filtered_belief_and_the_sum_its_first_order():
    grammar = make_grammar("soft", 3, np.random.default_rng(1))
    filtered, whole = FilteredTree(grammar, 3, 3), FilteredTree(grammar, 3, 0)
    tokens = whole.sample(200, np.random.default_rng(0)).tokens
    tokens[::2, 5] = whole.mask_token
    table = leaf_influence(whole, 0, 0)
    np.testing.assert_allclose(
        multiplied(grammar.root_prior, table, tokens), filtered.beliefs(tokens).marginals[0][:, 0], rtol=0, atol=1e-12
    )
    np.testing.assert_allclose(added(grammar.root_prior, table, tokens).sum(axis=1), 1, rtol=0, atol=1e-12)
    gaps = []
    for share in (0.1, 0.01):  # the weaker the evidence, the closer the two
        weak = grammar.root_prior + share * (table - grammar.root_prior)
        gaps.append(np.abs(multiplied(grammar.root_prior, weak, tokens) - added(grammar.root_prior, weak, tokens)).max())
    assert gaps[1] < gaps[0] / 50


def test_a_node_without_a_symbol_is_refused():
    with pytest.raises(InputError, match="no symbol at node"):
        leaf_influence(FilteredTree(make_grammar("soft", 2, np.random.default_rng(0)), 3, 2), 1, 0)
