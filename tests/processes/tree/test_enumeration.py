"""The oracle itself: against sums written out by hand, on trees small enough to write them out."""

import itertools

import numpy as np
import pytest

from mechbp.errors import LimitExceeded
from mechbp.processes.tree.enumeration import enumerate_tree
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.processes.tree.grammar import TreeGrammar
from mechbp.randomness import rng


def word_probability(tree: FilteredTree, word: tuple[int, ...]) -> float:
    """P(leaves = word) of a depth-2 tree, one loop per hidden variable."""
    p0, m, symbols = tree.grammar.root_prior, tree.grammar.rules, range(tree.vocab_size)
    total = 0.0
    for root in symbols:
        if tree.filter_level == 2:  # leaf j's law: sum over its parent, and over the siblings on the path
            leaf_laws = []
            for turns, symbol in zip(itertools.product("LR", repeat=2), word, strict=True):
                law = sum(
                    (m[root, x, y] * (m[x, symbol, z] if turns[1] == "L" else m[x, z, symbol]))
                    if turns[0] == "L"
                    else (m[root, y, x] * (m[x, symbol, z] if turns[1] == "L" else m[x, z, symbol]))
                    for x in symbols
                    for y in symbols
                    for z in symbols
                )
                leaf_laws.append(law)
            total += p0[root] * np.prod(leaf_laws)
            continue
        for left, right in itertools.product(symbols, repeat=2):
            joint = m[root, left, right] if tree.filter_level == 0 else m[root, left].sum() * m[root, :, right].sum()
            total += p0[root] * joint * m[left, word[0], word[1]] * m[right, word[2], word[3]]
    return float(total)


@pytest.mark.parametrize("filter_level", [0, 1, 2])
@pytest.mark.parametrize("kind", ["unambiguous", "soft", "sparse"])
def test_word_probabilities_equal_the_sums_written_out(random_grammar, kind, filter_level):
    tree = FilteredTree(random_grammar(kind, 3, rng(1, kind)), 2, filter_level)
    by_hand = [word_probability(tree, word) for word in itertools.product(range(3), repeat=4)]
    np.testing.assert_allclose(enumerate_tree(tree).words, by_hand, rtol=0, atol=1e-15)


@pytest.mark.parametrize("filter_level", range(4))
def test_the_joint_sums_to_one_and_every_node_has_its_prior(random_grammar, filter_level):
    tree = FilteredTree(random_grammar("soft", 2, rng(2)), 3, filter_level)
    joint = enumerate_tree(tree)
    assert abs(joint.words.sum() - 1) < 1e-14
    for d, prior in tree.priors.items():
        np.testing.assert_allclose(joint.laws[d].sum(axis=-1), prior, rtol=0, atol=1e-14)


def test_uniform_rules_give_every_state_the_same_weight():
    """Counting: with all rules equal, P(word) times the number of words is exactly 1."""
    q, depth = 2, 3
    tree = FilteredTree(TreeGrammar(np.full((q, q, q), 1 / q**2)), depth)
    assert (enumerate_tree(tree).words * q**2**depth == 1).all()


@pytest.mark.parametrize(("q", "depth", "k", "states"), [(4, 3, 0, "1.1e+09"), (2, 4, 0, "2.1e+09")])
def test_a_joint_too_large_is_refused_with_its_size(q, depth, k, states):
    tree = FilteredTree(TreeGrammar.random(q), depth, k)
    with pytest.raises(LimitExceeded, match=f"have {states.replace('+', '[+]')} joint states; at most 2e[+]07 are summed"):
        enumerate_tree(tree)


def test_the_largest_tree_is_refused_without_overflow():
    with pytest.raises(LimitExceeded, match="joint states or more"):
        enumerate_tree(FilteredTree(TreeGrammar.random(2), 12))
