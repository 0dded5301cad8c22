"""Grammars: the two published recipes, and every way to get the rules wrong."""

import re

import numpy as np
import pytest

from mechbp.arguments import told
from mechbp.errors import InputError, LimitExceeded
from mechbp.processes.tree.grammar import TreeGrammar

PUBLISHED = {  # seed 0, sigma 1, q = 4; parent: {(left, right): probability}
    "paper": [
        {(1, 1): 0.0447, (1, 2): 0.1043, (1, 3): 0.5434, (2, 0): 0.3077},
        {(0, 0): 0.1138, (2, 1): 0.1435, (3, 0): 0.4730, (3, 3): 0.2697},
        {(0, 1): 0.0704, (1, 0): 0.0217, (2, 2): 0.6885, (3, 1): 0.2194},
        {(0, 2): 0.5051, (0, 3): 0.1599, (2, 3): 0.2670, (3, 2): 0.0680},
    ],
    "released": [
        {(0, 1): 0.7060, (1, 2): 0.1635, (2, 0): 0.0159, (2, 1): 0.1146},
        {(0, 2): 0.0359, (1, 0): 0.3410, (3, 1): 0.0805, (3, 2): 0.5426},
        {(1, 3): 0.3256, (2, 2): 0.1013, (2, 3): 0.4525, (3, 3): 0.1206},
        {(0, 0): 0.1317, (0, 3): 0.1642, (1, 1): 0.1512, (3, 0): 0.5529},
    ],
}


@pytest.mark.parametrize("recipe", PUBLISHED)
def test_recipes_reproduce_the_published_grammars(recipe):
    grammar = TreeGrammar.random(4, sigma=1.0, seed=0, recipe=recipe)
    expected = np.zeros((4, 4, 4))
    for parent, pairs in enumerate(PUBLISHED[recipe]):
        for pair, probability in pairs.items():
            expected[parent][pair] = probability
    np.testing.assert_allclose(grammar.rules, expected, rtol=0, atol=5e-5)
    assert ((grammar.rules > 0) == (expected > 0)).all()


@pytest.mark.parametrize("recipe", PUBLISHED)
@pytest.mark.parametrize("q", [2, 3, 5])
def test_recipes_follow_the_legacy_generator_step_by_step(q, recipe):
    """The recipe, one draw after the other, as it is told: a discarded block, a shuffled list, one normal per pair."""
    legacy = np.random.RandomState(7)
    if recipe == "paper":
        for _ in range(q**3):
            legacy.standard_normal()
    pairs = [(b, c) for b in range(q) for c in range(q)]
    legacy.shuffle(pairs)
    expected = np.zeros((q, q, q))
    for i, (b, c) in enumerate(pairs):
        expected[i // q, b, c] = np.exp(0.8 * legacy.standard_normal())
    expected /= expected.sum(axis=(1, 2), keepdims=True)
    grammar = TreeGrammar.random(q, sigma=0.8, seed=7, recipe=recipe)
    np.testing.assert_allclose(grammar.rules, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("q", [2, 4])
def test_ambiguity_weighs_the_pairs_of_other_parents(q):
    """The first block of normals, otherwise discarded, gives their log-weights; nothing else of the grammar moves."""
    legacy = np.random.RandomState(3)
    others = np.exp(0.8 * legacy.standard_normal((q, q, q)))
    for ambiguity in (0.1, 1.0):
        grammar = TreeGrammar.random(q, sigma=0.8, seed=3, ambiguity=ambiguity)
        legacy = np.random.RandomState(3)
        legacy.standard_normal(q**3)
        pairs = legacy.permutation(q * q).reshape(q, q)
        weights = ambiguity * others.reshape(q, q * q)
        for parent in range(q):
            for pair in pairs[parent]:
                weights[parent, pair] = np.exp(0.8 * legacy.standard_normal())
        expected = (weights / weights.sum(axis=1, keepdims=True)).reshape(q, q, q)
        np.testing.assert_allclose(grammar.rules, expected, rtol=0, atol=1e-15)
        assert (grammar.rules > 0).all()


@pytest.mark.parametrize("ambiguity", [-0.1, 1.5, np.nan, "x", None])
def test_wrong_ambiguity_is_refused(ambiguity):
    with pytest.raises(InputError, match=r"ambiguity must be a finite number >= 0 and <= 1, got"):
        TreeGrammar.random(3, ambiguity=ambiguity)
    with pytest.raises(InputError, match="0 with recipe 'released'"):
        TreeGrammar.random(3, recipe="released", ambiguity=0.5)


def test_one_seed_gives_another_grammar_by_either_recipe():
    paper, released = (TreeGrammar.random(4, seed=0, recipe=recipe).rules for recipe in ("paper", "released"))
    assert round(np.abs(paper - released).max(), 2) == 0.71  # what the README says of them


def test_every_pair_has_exactly_one_parent():
    for seed in range(20):
        rules = TreeGrammar.random(5, seed=seed).rules
        assert ((rules > 0).sum(axis=0) == 1).all() and ((rules > 0).sum(axis=(1, 2)) == 5).all()


def test_rules_and_prior_are_private_read_only_float64():
    rules = np.full((2, 2, 2), 0.25, dtype=np.float32)
    grammar = TreeGrammar(rules)
    rules[:] = 7
    assert grammar.rules.dtype == np.float64 and (grammar.rules == 0.25).all()
    for array in (grammar.rules, grammar.root_prior):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_single_precision_rules_are_promoted_and_renormalised():
    rules = TreeGrammar.random(6, seed=3).rules.astype(np.float32)
    grammar = TreeGrammar(rules)
    np.testing.assert_allclose(grammar.rules.sum(axis=(1, 2)), 1, rtol=0, atol=1e-15)


GOOD = np.full((2, 2, 2), 0.25)
NAN, NEGATIVE, SUM = GOOD.copy(), GOOD.copy(), GOOD.copy()
NAN[1, 0, 1], NEGATIVE[0, 1, 1], SUM[1, 0, 0] = np.nan, -0.25, 0.35


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([NAN], "TreeGrammar: rules[1, 0, 1] = nan is not a probability; all must be finite and >= 0."),
        ([NEGATIVE], "TreeGrammar: rules[0, 1, 1] = -0.25 is not a probability; all must be finite and >= 0."),
        ([SUM], "TreeGrammar: rules of parent 1 sum to 1.1, expected 1.\nDivide each parent's block by its sum first."),
        ([GOOD[0]], "TreeGrammar: rules must have 3 axes, got shape [2, 2]."),
        ([np.ones((1, 1, 1))], "TreeGrammar: rules must have shape [q, q, q] with q >= 2, got [1, 1, 1]."),
        ([np.full((2, 2, 3), 1 / 6)], "TreeGrammar: rules must have shape [q, q, q] with q >= 2, got [2, 2, 3]."),
        (
            [GOOD.astype(complex)],
            f"TreeGrammar: rules must be real numbers, got {told(GOOD.astype(complex))} of dtype complex128.",
        ),
        ([GOOD.astype(object)], f"TreeGrammar: rules must be real numbers, got {told(GOOD.astype(object))} of dtype object."),
        ([GOOD, [0.5, 0.6]], "TreeGrammar: root_prior sums to 1.1, expected 1. Divide it by its sum first."),
        ([GOOD, [0.2, 0.3, 0.5]], "TreeGrammar: root_prior must have shape [2] like the rules, got [3]."),
        ([GOOD, [np.inf, 0]], "TreeGrammar: root_prior[0] = inf is not a probability; all must be finite and >= 0."),
    ],
)
def test_wrong_rules_are_refused(arguments, message):
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        TreeGrammar(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(vocab_size=1), "TreeGrammar.random: vocab_size must be an integer >= 2, got 1."),
        (dict(vocab_size=4.0), "TreeGrammar.random: vocab_size must be an integer >= 2, got 4.0."),
        (dict(vocab_size=4, seed=-1), "TreeGrammar.random: seed must be an integer in 0..4294967295, got -1."),
        (
            dict(vocab_size=4, sigma=float("nan")),
            "TreeGrammar.random: sigma must be a finite number >= 0 and <= 1e+300, got nan.",
        ),
        (dict(vocab_size=4, sigma="1"), "TreeGrammar.random: sigma must be a finite number >= 0 and <= 1e+300, got '1'."),
        (dict(vocab_size=4, sigma=None), "TreeGrammar.random: sigma must be a finite number >= 0 and <= 1e+300, got None."),
        (dict(vocab_size=4, recipe="poster"), "TreeGrammar.random: recipe must be one of paper, released, got 'poster'."),
    ],
)
def test_wrong_recipes_are_refused(arguments, message):
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        TreeGrammar.random(**arguments)


def test_more_symbols_than_fit_in_memory_are_refused_before_allocating():
    message = "vocab_size 20,000 means rules of 59,604.6 GiB; at most 512 symbols are allowed"
    with pytest.raises(LimitExceeded, match=message):
        TreeGrammar.random(20_000)


@pytest.mark.parametrize("kind", [np.int8, np.int64, np.uint32])
def test_integers_and_numbers_of_numpy_are_taken(kind, unchecked):
    grammar = TreeGrammar.random(kind(100), np.float32(0.5), kind(3))  # 100^3 would overflow an int8
    np.testing.assert_array_equal(grammar.rules, TreeGrammar.random(100, 0.5, 3).rules)
