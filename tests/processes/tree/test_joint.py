"""The joint of a tree: sums to 1, and the small tree of any tree is of the same kind."""

import numpy as np
import pytest

import mechbp
from mechbp.processes.tree.joint import LISTED_STATES

GRAMMAR = mechbp.TreeGrammar.random(3, seed=2)


@pytest.mark.parametrize("filter_level", range(3))
def test_the_joint_has_every_state_once(filter_level):
    joint = mechbp.FilteredTree(GRAMMAR, 2, filter_level).joint()
    n_nodes = {0: 7, 1: 7, 2: 5}[filter_level]
    states = np.hstack([joint.queries[f"marginals[{d}]"].variables for d in {0, *range(filter_level, 3)}])
    assert len(np.unique(states, axis=0)) == 3**n_nodes == len(joint.tokens)
    assert abs(joint.probability.sum() - 1) < 1e-14


@pytest.mark.parametrize("q, depth", [(2, 6), (4, 4), (6, 3), (50, 2)])
def test_small_trees_are_of_the_same_kind(q, depth):
    grammar = mechbp.TreeGrammar.random(q)
    for k in range(depth + 1):
        small = mechbp.FilteredTree(grammar, depth, k).small()
        assert small.grammar is grammar and (small.filter_level == 0) == (k == 0)
        assert (small.filter_level == small.depth) == (k == depth) or small.depth == 1
        assert q ** sum(2**d for d in small.depths) <= LISTED_STATES or small.depth == 1


def test_a_small_tree_is_its_own_small_tree():
    tree = mechbp.FilteredTree(GRAMMAR, 2, 1)
    assert tree.small() is tree


def test_long_joints_are_refused():
    with pytest.raises(mechbp.errors.LimitExceeded, match="63 nodes of 3 symbols"):
        mechbp.FilteredTree(GRAMMAR, 5).joint()
