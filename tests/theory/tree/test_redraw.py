"""Redrawn trees against enumeration: the exact distribution given what is kept, at every filter level."""

import numpy as np
import pytest

from mechbp.errors import InputError
from mechbp.processes.tree.filtered_tree import FilteredTree, TreeSample
from mechbp.processes.tree.grammar import TreeGrammar
from mechbp.randomness import rng
from mechbp.theory.tree.redraw import redraw

GRAMMAR = TreeGrammar.random(vocab_size=3, sigma=1.0, seed=3, recipe="paper", ambiguity=0.3)
DRAWS = 60_000


def repeated(sample: TreeSample, n: int) -> TreeSample:
    nodes = {d: np.repeat(symbols[:1], n, axis=0) for d, symbols in sample.nodes.items()}
    return TreeSample(nodes[max(nodes)], nodes[0][:, 0], nodes)


def all_nodes(sample: TreeSample) -> np.ndarray:
    return np.concatenate([sample.nodes[d] for d in sorted(sample.nodes)], axis=1)


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("kept_at", [{}, {2: [1]}, {2: [0, 3]}, {0: [0], 2: [2]}, {1: [1]}, {1: [0], 2: [2, 3]}], ids=str)
def test_draws_follow_the_distribution_given_what_is_kept(level: int, kept_at: dict) -> None:
    """A G-test of all trees that rejection from the process itself would leave."""
    tree = FilteredTree(GRAMMAR, 2, level)
    if not set(kept_at) <= set(tree.depths):
        pytest.skip("this level has no symbols there")
    sample = repeated(tree.sample(1, rng(level, "one")), DRAWS)
    kept = {d: np.broadcast_to(np.isin(np.arange(2**d), nodes), (DRAWS, 2**d)) for d, nodes in kept_at.items()}
    found = redraw(tree, sample, kept, rng(0, "redraw"))
    for d, nodes in kept_at.items():
        np.testing.assert_array_equal(found.nodes[d][:, nodes], sample.nodes[d][:, nodes])
    many = tree.sample(1_500_000, rng(1, "rejection"))
    alike = np.logical_and.reduce(
        [np.ones(len(many.tokens), bool)]
        + [(many.nodes[d][:, nodes] == sample.nodes[d][0, nodes]).all(axis=1) for d, nodes in kept_at.items()]
    )
    base = 3 ** np.arange(all_nodes(sample).shape[1])
    bins = 3 ** len(base)
    drawn = np.bincount(all_nodes(found) @ base, minlength=bins)
    rejected = np.bincount((all_nodes(many) @ base)[alike], minlength=bins)
    share, expected = drawn / drawn.sum(), rejected / rejected.sum()
    spread = np.sqrt(expected * (1 - expected) * (1 / DRAWS + 1 / alike.sum()))
    assert alike.sum() > 1000
    assert np.abs(share - expected).max() < 5.5 * spread.max() and (np.abs(share - expected) <= 6 * spread + 3e-4).all()


def test_what_all_leaves_tell_stays() -> None:
    tree = FilteredTree(TreeGrammar.random(vocab_size=4, sigma=1.0, seed=0, recipe="paper"), 3)
    sample = tree.sample(50, rng(0))
    found = redraw(tree, sample, {3: np.ones((50, 8), bool)}, rng(1))
    for d in tree.depths:  # one parse: the leaves decide every ancestor
        np.testing.assert_array_equal(found.nodes[d], sample.nodes[d])


def test_wrong_calls_are_refused() -> None:
    tree = FilteredTree(TreeGrammar.random(vocab_size=4, sigma=1.0, seed=0, recipe="paper"), 3, 2)
    sample = tree.sample(5, rng(0))
    with pytest.raises(InputError, match="depth 1 carries no symbols; those that do are 0, 2, 3"):
        redraw(tree, sample, {1: np.ones((5, 2), bool)}, rng(0))
    with pytest.raises(InputError, match=r"must be bool \[5, 8\], got bool \[5, 4\]"):
        redraw(tree, sample, {3: np.ones((5, 4), bool)}, rng(0))
    forged = TreeSample(sample.tokens, sample.root, {**sample.nodes, 2: (sample.nodes[2] + 1) % 4})
    with pytest.raises(InputError, match="cannot occur together"):
        redraw(tree, forged, {2: np.ones((5, 4), bool), 3: np.ones((5, 8), bool)}, rng(0))
