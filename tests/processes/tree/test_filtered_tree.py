"""The filtered tree: published numbers, the sampler against the joint, calibration, and bad input."""

import hashlib
import itertools
import re

import numpy as np
import pytest
from scipy.stats import chi2

from mechbp.errors import InputError, LimitExceeded
from mechbp.processes.tree.enumeration import enumerate_tree
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.processes.tree.grammar import TreeGrammar
from mechbp.randomness import rng

LEAVES = np.array([[3, 2, 1, 0, 2, 2, 0, 2, 3, 0, 1, 3, 2, 2, 0, 1]])
WORKED_EXAMPLE = [  # filter level: root posterior, P(leaf 5 | the other leaves), log evidence in nats
    ([1, 0, 0, 0], [0.0650, 0.1808, 0.2430, 0.5112], -25.5038),
    ([0.8285, 0, 0.1715, 0], [0.0605, 0.1682, 0.2261, 0.5451], -25.6833),
    ([0.4713, 0.0601, 0.2051, 0.2635], [0.1250, 0.2503, 0.4670, 0.1577], -25.0516),
    ([0.4199, 0.1053, 0.0147, 0.4601], [0.1731, 0.0714, 0.6350, 0.1205], -21.4956),
    ([0.0513, 0.5187, 0.0181, 0.4120], [0.1581, 0.1535, 0.4302, 0.2582], -21.6859),
]


@pytest.mark.parametrize("k", range(5))
def test_worked_example(paper, k):
    tree = FilteredTree(paper, 4, k)
    root, leaf_5, log_evidence = WORKED_EXAMPLE[k]
    beliefs = tree.beliefs(LEAVES)
    np.testing.assert_allclose(beliefs.marginals[0][0, 0], root, rtol=0, atol=5e-5)
    np.testing.assert_allclose(tree.leave_one_out(LEAVES)[0, 5], leaf_5, rtol=0, atol=5e-5)
    np.testing.assert_allclose(beliefs.log_evidence, log_evidence, rtol=0, atol=5e-5)


def test_worked_example_parses_at_level_0(paper):
    marginals = FilteredTree(paper, 4).beliefs(LEAVES).marginals
    assert [marginals[d][0].argmax(axis=-1).tolist() for d in range(4)] == [[0], [1, 2], [3, 3, 2, 2], [3, 2, 2, 3, 1, 0, 2, 2]]
    assert all((marginals[d].max(axis=-1) == 1).all() for d in range(5))


def test_worked_example_with_two_masks(paper):
    observed = np.ones(LEAVES.shape, dtype=bool)
    observed[0, [5, 6]] = False
    beliefs = FilteredTree(paper, 4).beliefs(LEAVES, observed)
    np.testing.assert_allclose(beliefs.marginals[0][0, 0], [0.5150, 0, 0.4139, 0.0711], rtol=0, atol=5e-5)
    expected = [[0.2053, 0.1280, 0.2622, 0.4044], [0.5070, 0.1713, 0.2535, 0.0682]]
    np.testing.assert_allclose(beliefs.marginals[4][0, 5:7], expected, rtol=0, atol=5e-5)
    np.testing.assert_allclose(beliefs.log_evidence, -23.4097, rtol=0, atol=5e-5)


EXACT_ROOT = {
    2: [[1, 0.66846, 0.43440], [0.82009, 0.81840, 0.48200], [0.68360, 0.67464, 0.68476]],
    3: [
        [1, 0.66846, 0.43440, 0.33340],
        [0.82009, 0.81840, 0.48200, 0.36329],
        [0.68360, 0.67464, 0.68476, 0.43915],
        [0.53932, 0.54326, 0.55965, 0.59784],
    ],
}
EXACT_LEAF = {2: [[0.62480, 0.55878, 0.35310], [0.59434, 0.59307, 0.36894], [0.48219, 0.47787, 0.43116]]}


@pytest.mark.parametrize("depth", [2, 3])
def test_exact_averages_over_all_sequences(paper, depth):
    """Rows BP_k, columns the data's level, every sequence weighted by its probability: no sampling error."""
    words = np.indices((4,) * 2**depth).reshape(2**depth, -1).T
    trees = [FilteredTree(paper, depth, k) for k in range(depth + 1)]
    answers = [tree.posteriors(words) for tree in trees]
    for column, tree in enumerate(trees):
        probability = np.exp(tree.beliefs(words).log_evidence)
        assert abs(probability.sum() - 1) < 1e-12
        for row, answer in enumerate(answers):
            truth = answers[column]
            root_hits = np.take_along_axis(truth.root, answer.root.argmax(-1)[:, None], axis=-1)[:, 0]
            assert probability @ root_hits == pytest.approx(EXACT_ROOT[depth][row][column], abs=5e-6)
            if depth in EXACT_LEAF:
                leaf_hits = np.take_along_axis(truth.leaves, answer.leaves.argmax(-1)[..., None], axis=-1)[..., 0]
                assert probability @ leaf_hits.mean(axis=1) == pytest.approx(EXACT_LEAF[depth][row][column], abs=5e-6)


def test_entropy_and_token_frequencies_in_closed_form(paper):
    """Log evidence averaged over samples = minus the entropy of the sequence; leaf laws = the priors, at every level."""
    tree = FilteredTree(paper, 4)
    np.testing.assert_allclose(tree.priors[4].mean(axis=0), [0.177, 0.146, 0.448, 0.230], rtol=0, atol=5e-4)
    per_parent = -(paper.rules * np.log(paper.rules, where=paper.rules > 0, out=np.zeros_like(paper.rules))).sum(axis=(1, 2))
    entropy = np.log(4) + sum((tree.priors[d] @ per_parent).sum() for d in range(4))
    assert entropy == pytest.approx(16.905, abs=5e-4)
    log_evidence = tree.beliefs(tree.sample(20_000, rng(1)).tokens).log_evidence
    assert abs(log_evidence.mean() + entropy) < 4 * log_evidence.std() / np.sqrt(len(log_evidence))


# --- the sampler --------------------------------------------------------------------------------------------------------


def g_test(counts: np.ndarray, law: np.ndarray) -> float:
    """Return the p-value of `counts` under `law`; an outcome of probability 0 must not occur."""
    assert (counts[law == 0] == 0).all()
    counts, law = counts[law > 0], law[law > 0]
    expected = law / law.sum() * counts.sum()
    seen = counts > 0
    return float(chi2.sf(2 * (counts[seen] * np.log(counts[seen] / expected[seen])).sum(), len(law) - 1))


def node_and_word_counts(tree: FilteredTree, sampler: FilteredTree, n: int) -> dict[tuple[int, int], np.ndarray]:
    """How often each (symbol of a node, leaf word) was drawn, as in TreeJoint.laws."""
    sample, q = sampler.sample(n, rng(2, "sampler")), tree.vocab_size
    word = sample.tokens @ (q ** np.arange(tree.n_leaves)[::-1])
    shape = (q, q**tree.n_leaves)
    return {
        (d, j): np.bincount(sample.nodes[d][:, j] * shape[1] + word, minlength=shape[0] * shape[1])
        for d in tree.depths
        for j in range(2**d)
    }


@pytest.mark.parametrize("k", range(3))
def test_sampler_follows_the_joint_and_the_test_would_notice(random_grammar, k):
    tree = FilteredTree(random_grammar("overlapping", 3, rng(3)), 2, k)
    laws = enumerate_tree(tree).laws
    for (d, j), counts in node_and_word_counts(tree, tree, 300_000).items():
        assert g_test(counts, laws[d][j].ravel()) > 1e-6
    rules = tree.grammar.rules.copy()
    pairs = np.argwhere(rules[0] > 0.02)
    rules[0][tuple(pairs[0])] -= 0.01
    rules[0][tuple(pairs[1])] += 0.01
    wrong = FilteredTree(TreeGrammar(rules, tree.grammar.root_prior), 2, k)
    assert g_test(node_and_word_counts(tree, wrong, 1_000_000)[0, 0], laws[0][0].ravel()) < 1e-6


def test_sample_fields_belong_together(paper):
    for k in range(5):
        tree = FilteredTree(paper, 4, k)
        sample = tree.sample(500, rng(4))
        assert set(sample.nodes) == set(tree.depths)
        assert (sample.nodes[4] == sample.tokens).all() and (sample.nodes[0][:, 0] == sample.root).all()
        for d in range(k, 4):
            assert (paper.rules[sample.nodes[d], sample.nodes[d + 1][:, 0::2], sample.nodes[d + 1][:, 1::2]] > 0).all()
    assert tree.sample(0, rng(4)).tokens.shape == (0, 16)


def test_samples_never_show_what_has_probability_zero(random_grammar):
    generator = rng(5)
    for k in range(4):
        tree = FilteredTree(random_grammar("sparse", 3, generator), 3, k)
        assert np.isfinite(tree.beliefs(tree.sample(2_000, generator).tokens).log_evidence).all()


class LargestDraws(np.random.Generator):
    """Draws the largest float below 1, which rounds up to the next law's interval when added to a large row number."""

    def random(self, size):
        return np.full(size, np.nextafter(1.0, 0.0))


@pytest.mark.parametrize("k", [0, 2])
def test_the_largest_draw_stays_inside_its_law(k):
    tree = FilteredTree(TreeGrammar.random(5), 2, k)
    sample = tree.sample(3, LargestDraws(np.random.PCG64(0)))
    assert (sample.root == 4).all() and (sample.tokens < 5).all()
    assert np.isfinite(tree.beliefs(sample.tokens).log_evidence).all()


def test_stream_of_samples_is_pinned(paper):
    """Stored runs regenerate their data from a seed. If this fails, NumPy's stream or the order of draws has changed:
    then every stored recipe means other data, and runs must be marked as such rather than this hash replaced."""
    tokens = [FilteredTree(paper, 4, k).sample(1_000, rng(0, "pinned")).tokens for k in range(5)]
    digest = hashlib.sha256(np.stack(tokens).astype("<i8").tobytes()).hexdigest()
    assert digest == "f2ffabad0b50c590fb413182e37d27f01c193ac8fa691784c505109a62cb7aef"


@pytest.mark.parametrize("k", [0, 2])
def test_exact_predictions_are_calibrated(paper, k):
    """Of the symbols given probability p, a share p is true: every bin within 4 binomial standard deviations."""
    tree, generator, n = FilteredTree(paper, 4, k), rng(6, k), 100_000
    sample = tree.sample(n, generator)
    answers, leaf, symbol = tree.posteriors(sample.tokens), generator.integers(16, size=n), generator.integers(4, size=n)
    each = np.arange(n)
    predictions = {
        "leaf": (answers.leaves[each, leaf, symbol], sample.tokens[each, leaf] == symbol),
        "root": (answers.root[each, symbol], sample.root == symbol),
    }
    for name, (p, hit) in predictions.items():
        bins = np.minimum((p * 20).astype(int), 19)
        expected, hits = np.bincount(bins, p, 20), np.bincount(bins, hit, 20)
        sigma = np.sqrt(np.bincount(bins, p * (1 - p), 20))
        assert (np.abs(hits - expected) <= 4 * sigma + 1e-6).all(), name
        assert not (np.abs(hits - 1.03 * expected) <= 4 * sigma + 1e-6).all(), f"{name}: 3 % too sure would pass"


# --- bad input ----------------------------------------------------------------------------------------------------------

TREE = FilteredTree(TreeGrammar.random(4), 2)
OK = np.zeros((3, 4), dtype=int)
ALL = np.ones((3, 4), dtype=bool)


def out_of_range(token: int) -> np.ndarray:
    tokens = OK.copy()
    tokens[2, 1] = token
    return tokens


@pytest.mark.parametrize(
    ("tokens", "observed", "message"),
    [
        (OK.astype(float), None, "FilteredTree.beliefs: tokens must be integers, got dtype float64."),
        (OK.astype(bool), None, "FilteredTree.beliefs: tokens must be integers, got dtype bool."),
        (OK.astype(complex), None, "FilteredTree.beliefs: tokens must be integers, got dtype complex128."),
        (OK.astype(object), None, "FilteredTree.beliefs: tokens must be integers, got dtype object."),
        (OK[0], None, "FilteredTree.beliefs: tokens must have shape [n, 4] at depth 2, got [4]."),
        (OK[:, :3], None, "FilteredTree.beliefs: tokens must have shape [n, 4] at depth 2, got [3, 3]."),
        (
            out_of_range(5),
            None,
            "FilteredTree.beliefs: token 5 of example 2, leaf 1 is out of range; symbols are 0..3, MASK is 4.",
        ),
        (
            out_of_range(-1),
            ALL,
            "FilteredTree.beliefs: token -1 of example 2, leaf 1 is out of range; symbols are 0..3, MASK is 4.",
        ),
        (OK, ALL.astype(int), "FilteredTree.beliefs: observed must be boolean, got dtype int64."),
        (OK, ALL[:, :2], "FilteredTree.beliefs: observed must have the shape of tokens, [3, 4], got [3, 2]."),
    ],
)
def test_wrong_tokens_are_refused(tokens, observed, message):
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        TREE.beliefs(tokens, observed)


def test_every_question_checks_its_tokens_under_its_own_name():
    for name in ("leave_one_out", "posteriors"):
        with pytest.raises(InputError, match=f"^FilteredTree[.]{name}: token 9 of example 2, leaf 1"):
            getattr(TREE, name)(out_of_range(9))


def test_tokens_that_are_not_observed_may_be_anything():
    mask = np.ones((3, 4), dtype=bool)
    mask[2, 1] = False
    expected = TREE.beliefs(out_of_range(4)).log_evidence
    for token in (-7, 0, 99):
        assert (TREE.beliefs(out_of_range(token), mask).log_evidence == expected).all()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint64"])
def test_every_integer_type_is_accepted(dtype):
    assert (TREE.leave_one_out(OK.astype(dtype)) == TREE.leave_one_out(OK)).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("rules", 2), InputError, "FilteredTree: grammar must be a TreeGrammar, got str."),
        ((TREE.grammar, 0), InputError, "FilteredTree: depth must be an integer >= 1, got 0."),
        ((TREE.grammar, 2.0), InputError, "FilteredTree: depth must be an integer >= 1, got 2.0."),
        ((TREE.grammar, 13), LimitExceeded, "FilteredTree: depth 13 means 2^13 leaves; at most 4,096 are allowed."),
        ((TREE.grammar, 2, 3), InputError, "FilteredTree: filter_level must be an integer in 0..2, got 3: at most the depth."),
        ((TREE.grammar, 2, -1), InputError, "FilteredTree: filter_level must be an integer in 0..2, got -1: at most the depth."),
    ],
)
def test_wrong_trees_are_refused(arguments, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        FilteredTree(*arguments)


def test_integers_of_numpy_are_taken(unchecked):
    tree = FilteredTree(TREE.grammar, np.int8(10), np.uint8(2))
    assert type(tree.depth) is int and type(tree.filter_level) is int and tree.n_leaves == 1024 and tree.depths[:3] == (0, 2, 3)


@pytest.mark.parametrize("n", [-1, 2.0, "3"])
def test_wrong_sample_sizes_are_refused(n):
    with pytest.raises(InputError, match=f"^FilteredTree.sample: n must be an integer >= 0, got {n!r}.$"):
        TREE.sample(n, rng(0))


@pytest.mark.parametrize("k", range(TREE.depth + 1))
def test_an_empty_sample_has_every_shape_of_a_full_one(k):
    tree = FilteredTree(TREE.grammar, TREE.depth, k)
    empty = tree.sample(0, rng(0))
    assert {d: symbols.shape for d, symbols in empty.nodes.items()} == {d: (0, 2**d) for d in tree.depths}
    assert empty.tokens.shape == (0, tree.n_leaves) and tree.beliefs(empty.tokens).log_evidence.shape == (0,)


@pytest.mark.parametrize("generator", [None, 0, np.random])
def test_what_is_no_generator_is_refused(generator):
    with pytest.raises(InputError, match="^FilteredTree.sample: rng must be a numpy.random.Generator, got .*Pass mechbp.rng"):
        TREE.sample(3, generator)


def test_priors_and_transitions_agree_with_the_rules(random_grammar):
    """P(x_{k,j} | root) at every path, by multiplying child laws one by one."""
    grammar = random_grammar("soft", 3, rng(9))
    for k, tree in ((k, FilteredTree(grammar, 3, k)) for k in range(4)):
        for j, path in enumerate(itertools.product((grammar.left, grammar.right), repeat=k)):
            law = np.eye(3)
            for step in path:
                law = law @ step
            np.testing.assert_allclose(tree.transitions[j], law, rtol=0, atol=1e-15)
            np.testing.assert_allclose(tree.priors[k][j], grammar.root_prior @ law, rtol=0, atol=1e-15)
