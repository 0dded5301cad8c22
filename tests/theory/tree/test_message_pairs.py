"""Which node's message a pair tests, and where its answer is read. (That both are exact: methods/interchange.)"""

import numpy as np
import pytest

from mechbp.errors import InputError
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.processes.tree.grammar import TreeGrammar
from mechbp.randomness import rng
from mechbp.theory.tree.message_pairs import child_sides, message_pairs

TREE = FilteredTree(TreeGrammar.random(vocab_size=4, sigma=1.0, seed=0, recipe="paper"), depth=4)
UPWARD = "".join(["up", "ward"])
"""Equal to the word, and another object, as a word from a file is."""


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_sides_are_those_of_the_ancestor(depth):
    expected = [leaf // 2 ** (4 - depth) % 2 for leaf in range(16)]
    assert child_sides(TREE, depth, 16).tolist() == expected
    assert child_sides(TREE, depth, 17).tolist() == [*expected, 0]


@pytest.mark.parametrize(("task", "query"), [("root", 16), ("root-all", 0)])
def test_the_root_is_asked_where_its_task_answers(task, query):
    pairs = message_pairs(TREE, task, 2, 30, rng(0, "root"))
    assert set(np.asarray(pairs.query).tolist()) == {query}


def test_both_root_tasks_draw_the_same_pairs():
    queried, at_once = (message_pairs(TREE, task, 2, 30, rng(0, "root")) for task in ("root", "root-all"))
    np.testing.assert_array_equal(queried.base[:, :16], at_once.base)
    np.testing.assert_array_equal(queried.expected, at_once.expected)


@pytest.mark.parametrize(("depth", "bystander"), [(4, False), (2, True)])
def test_a_leaf_that_is_its_own_evidence_has_no_bystander_below_it(depth, bystander):
    """A leaf's upward message is its own symbol: were it hidden as bystander, nothing would be left to send."""
    pairs = message_pairs(TREE, "masked", depth, 30, rng(0, "leaf"), message=UPWARD, mask_rates=(0.0, 0.0))
    hidden = (pairs.base == TREE.mask_token).sum(axis=1)
    assert (hidden == 1 + bystander).all()
    with pytest.raises(InputError, match="no downward message decides it"):
        message_pairs(TREE, "root", depth, 30, rng(0, "leaf"), message="downward")
