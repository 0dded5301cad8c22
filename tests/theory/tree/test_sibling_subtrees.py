"""What is shared, checked by exact inference: the messages and answers that must be equal are, and no others."""

import numpy as np
import pytest

from mechbp.errors import InputError
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.processes.tree.grammar import TreeGrammar
from mechbp.randomness import rng
from mechbp.theory.tree.redraw import redraw
from mechbp.theory.tree.sibling_subtrees import (
    MATCHINGS,
    hide,
    kept_nodes,
    key_children,
    key_leaves,
    key_message,
    own_message,
    under_sibling,
)

TREE = FilteredTree(TreeGrammar.random(vocab_size=4, sigma=1.0, seed=0, recipe="paper"), depth=4)
N = 96
SAMPLE = TREE.sample(N, rng(0, "siblings"))
HIDDEN = np.arange(N) % 16


def donors(shared) -> np.ndarray:
    return redraw(TREE, SAMPLE, kept_nodes(TREE, HIDDEN, shared), rng(1, "donors")).tokens


def test_nodes_of_the_sibling_subtree_are_kept() -> None:
    kept = kept_nodes(TREE, np.array([0, 13]), [(2, 2), (2, 0), (0, 0)])
    np.testing.assert_array_equal(kept[2], [[False, True, False, False], [False, False, True, False]])
    np.testing.assert_array_equal(np.flatnonzero(kept[4][0]), [1, 4, 5, 6, 7])
    np.testing.assert_array_equal(np.flatnonzero(kept[4][1]), [8, 9, 10, 11, 12])
    np.testing.assert_array_equal(under_sibling(TREE, np.array([0, 13]), 3)[1], np.arange(16) < 8)


def test_what_is_shared_of_the_sibling_subtree() -> None:
    """As (height of the subtree, height of its nodes): its top, the two below it or the leaf that it is, and all leaves."""
    assert [key_message(block) for block in (1, 2, 4)] == [{(0, 0)}, {(1, 1)}, {(3, 3)}]
    assert [key_children(block) for block in (1, 2, 4)] == [{(0, 0)}, {(1, 0)}, {(3, 2)}]
    assert [key_leaves(block) for block in (1, 2, 4)] == [{(0, 0)}, {(1, 0)}, {(3, 0)}]


@pytest.mark.parametrize("block", [1, 2, 3, 4])
def test_the_query_has_the_message_that_it_is_said_to_share(block: int) -> None:
    shown, other = hide(TREE, SAMPLE.tokens, HIDDEN), hide(TREE, donors(own_message(block)), HIDDEN)
    depth = 4 - (block - 1)
    messages = [TREE.beliefs(tokens).upward[depth][np.arange(N), HIDDEN >> (block - 1)] for tokens in (shown, other)]
    np.testing.assert_allclose(*messages, rtol=0, atol=1e-12)
    if block < 4:  # and not the next one
        above = [TREE.beliefs(tokens).upward[depth - 1][np.arange(N), HIDDEN >> block] for tokens in (shown, other)]
        assert np.abs(above[0] - above[1]).max() > 0.1


def test_the_tops_of_all_siblings_decide_the_exact_answer() -> None:
    shared = {(height, height) for height in range(4)}
    exact = TREE.leave_one_out(SAMPLE.tokens)[np.arange(N), HIDDEN]
    alike = TREE.leave_one_out(donors(shared))[np.arange(N), HIDDEN]
    np.testing.assert_allclose(alike, exact, rtol=0, atol=1e-12)
    for missing in shared:
        other = TREE.leave_one_out(donors(shared - {missing}))[np.arange(N), HIDDEN]
        assert np.abs(other - exact).max() > 0.05, missing


@pytest.mark.parametrize("name", MATCHINGS)
def test_matchings_share_what_they_say_and_redraw_the_rest(name: str) -> None:
    changed = np.zeros(16, bool)
    for block in range(1, 5):
        other, kept = donors(MATCHINGS[name](block)), kept_nodes(TREE, HIDDEN, MATCHINGS[name](block))
        nodes = {4: other}
        for d in (3, 2, 1):  # one parse: the parent of every pair
            pairs = nodes[d + 1].reshape(N, -1, 2)
            nodes[d] = (TREE.grammar.rules[:, pairs[..., 0], pairs[..., 1]] > 0).argmax(axis=0)
        for depth, chosen in kept.items():
            np.testing.assert_array_equal(nodes[depth][chosen], SAMPLE.nodes[depth][chosen])
        changed |= (other != SAMPLE.tokens).any(axis=0)
    assert changed.all()


def test_subtrees_must_exist() -> None:
    for height, at in ((4, 0), (1, 2), (0, -1)):
        with pytest.raises(InputError, match="0 <= at <= height < 4"):
            kept_nodes(TREE, HIDDEN, [(height, at)])
