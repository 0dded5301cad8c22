"""Prefix trees: what is held out by moments is what leaving rows out and fitting anew gives; faults in the cutting show."""

import numpy as np
import pytest

import mechbp
from mechbp.errors import InputError
from mechbp.processes.chain.library import mess3, rrxor
from mechbp.processes.chain.words import enumerate_words
from mechbp.theory.chain.prefix_trees import PrefixTrees, held_out, mse_over_trees, r2_gain, r2_over_trees, residual

WORDS = enumerate_words(rrxor(), 6)
TREES = PrefixTrees.of(WORDS, 3)


def by_hand(features, target, trees):
    """Errors of every tree by least squares on all other rows, one at a time."""
    x = np.hstack([np.ones((len(features), 1)), features])
    root = np.sqrt(trees.weight)[:, None]
    errors = []
    for tree in range(len(trees)):
        out = trees.tree == tree
        weights = np.linalg.lstsq((x * root)[~out], (target * root)[~out], rcond=None)[0]
        errors.append((trees.weight[out] @ np.square(target[out] - x[out] @ weights)).sum())
    return np.array(errors)


def test_errors_are_those_of_fits_that_never_saw_the_tree():
    rng = mechbp.rng(0, "features")
    beliefs = WORDS.of_prefixes(WORDS.beliefs[:, 1:])
    features = np.hstack([beliefs[:, :2], rng.normal(size=(WORDS.n_prefixes, 3))])
    targets = {"belief": beliefs, "noise": rng.normal(size=(WORDS.n_prefixes, 2))}
    found = held_out(features, targets, TREES)
    for name, target in targets.items():
        np.testing.assert_allclose(found[name].errors, by_hand(features, target, TREES), rtol=0, atol=1e-9)
    mean = TREES.weight @ beliefs / TREES.weight.sum()
    squares = TREES.weight * np.square(beliefs - mean).sum(axis=1)
    totals = [squares[TREES.tree == tree].sum() for tree in range(len(TREES))]
    np.testing.assert_allclose(found["belief"].totals, totals, rtol=0, atol=1e-10)
    assert found["belief"].rows.sum() == TREES.weight[TREES.tree >= 0].sum() * beliefs.shape[1]
    assert found["belief"].r2 > 0.1 > found["noise"].r2


def test_trees_share_no_prefix_and_every_word_lies_in_one():
    tree_of_word = TREES.tree[WORDS.prefix[:, 2:]]
    assert (tree_of_word == tree_of_word[:, :1]).all() and (TREES.tree[WORDS.prefix[:, :2]] == -1).all()
    beginnings = {tuple(word[:3]) for word in WORDS.tokens}
    assert len(TREES) == len(beginnings)
    assert len({(tree, *word[:3]) for tree, word in zip(tree_of_word[:, 0], WORDS.tokens, strict=True)}) == len(beginnings)


def test_the_depth_is_the_least_that_gives_enough_trees():
    assert PrefixTrees.of(enumerate_words(mess3(0.1, 0.6), 5)).depth == 3  # 27 trees
    assert PrefixTrees.of(enumerate_words(mess3(0.1, 0.6), 2)).depth == 1  # never enough: not cut down to single words


def test_a_belief_is_told_from_a_rival_only_by_what_the_rival_does_not_say():
    beliefs = WORDS.of_prefixes(WORDS.beliefs[:, 1:])
    last = np.eye(2)[WORDS.tokens.ravel()[WORDS.first_of_prefix]]
    left = residual(beliefs, last, TREES)
    root = np.sqrt(TREES.weight)[:, None]
    columns = np.hstack([np.ones((len(last), 1)), last])
    expected = beliefs - columns @ np.linalg.lstsq(columns * root, beliefs * root, rcond=None)[0]
    np.testing.assert_allclose(left, expected, rtol=0, atol=1e-12)
    assert held_out(last, {"left": left}, TREES)["left"].r2 < 0.02 < 0.9 < held_out(beliefs, {"left": left}, TREES)["left"].r2


def test_intervals_are_paired_over_trees():
    rng = mechbp.rng(0, "paired")
    beliefs = WORDS.of_prefixes(WORDS.beliefs[:, 1:])
    noise = rng.normal(size=beliefs.shape)
    near, far = (held_out(beliefs + size * noise, {"b": beliefs}, TREES)["b"] for size in (0.10, 0.11))
    counts = TREES.counts(rng)
    alone = r2_over_trees(near, counts), r2_over_trees(far, counts)
    gain = r2_gain(near, far, counts)
    assert 0 < gain.low < gain.mean < gain.high and gain.mean == pytest.approx(near.r2 - far.r2)
    assert alone[0].low < alone[1].high  # apart they overlap, paired they do not
    assert mse_over_trees(near, counts).mean == pytest.approx(near.mse)
    one = PrefixTrees.of(enumerate_words(rrxor(), 3), 1).counts(rng)[:, :1]
    assert np.isnan(r2_over_trees(type(near)(near.errors[:1], near.totals[:1], near.rows[:1]), one).low)


def test_nonsense_is_refused():
    with pytest.raises(InputError, match=r"depth must be 1\.\.6"):
        PrefixTrees.of(WORDS, 7)
    with pytest.raises(InputError, match="'target' has 3 rows"):
        held_out(np.zeros((WORDS.n_prefixes, 1)), {"target": np.zeros((3, 1))}, TREES)
