"""Belief propagation against enumeration of the joint, and proof that the comparison notices faults."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from mechbp.errors import ImpossibleEvidence
from mechbp.processes.tree import belief_propagation, leave_one_out
from mechbp.processes.tree.enumeration import EnumeratedBeliefs, enumerate_tree
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.processes.tree.grammar import TreeGrammar
from mechbp.randomness import rng

SIZES = [(q, depth, k) for q in (2, 3, 4) for depth in (1, 2) for k in range(depth + 1)]
SIZES += [(2, 3, k) for k in range(4)] + [(3, 3, 3)]
KINDS = ("unambiguous", "soft", "overlapping", "sparse")
CASES_PER_SIZE = 640


def random_evidence(tree: FilteredTree, n: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return n leaf sequences, half sampled, half uniform, and masks whose rate runs from 0 to 1."""
    tokens = tree.sample(n, generator).tokens
    tokens[1::2] = generator.integers(tree.vocab_size, size=tokens[1::2].shape)
    return tokens, generator.random(tokens.shape) < np.linspace(0, 1, n)[:, None]


def assert_equals_enumeration(tree: FilteredTree, tokens: np.ndarray, observed: np.ndarray, truth: EnumeratedBeliefs) -> int:
    """Compare everything belief propagation says about the possible examples; return their number."""
    masked = np.where(observed, tokens, tree.mask_token)
    exact = dict(rtol=0, atol=1e-12)
    possible = np.isfinite(truth.log_evidence)
    beliefs = tree.beliefs(tokens[possible], observed[possible])
    for d in tree.depths:
        np.testing.assert_allclose(beliefs.upward[d], truth.upward[d][possible], **exact)
        np.testing.assert_allclose(beliefs.downward[d], truth.downward[d][possible], **exact)
        np.testing.assert_allclose(beliefs.marginals[d], truth.marginals[d][possible], **exact)
    np.testing.assert_allclose(beliefs.log_evidence, truth.log_evidence[possible], **exact)
    for height in range(tree.depth - tree.filter_level + 1):
        table = leave_one_out.block_table(tree.grammar, height)
        answers = leave_one_out.leaf_and_root_posteriors(
            tree.grammar, tree.transitions, table, masked, tree.depth, tree.filter_level
        )  # impossible examples included: their undefined rows are zeros on both sides
        np.testing.assert_allclose(answers.leaves, truth.leave_one_out, **exact)
        np.testing.assert_allclose(answers.root, truth.marginals[0][:, 0], **exact)
        np.testing.assert_array_equal(answers.leaf_defined, truth.leave_one_out.any(axis=-1))
    return int(possible.sum())


@pytest.fixture(scope="module")
def compared() -> dict[tuple[int, int, int], int]:
    """How many examples were compared, by size."""
    return {}


@pytest.mark.parametrize(("q", "depth", "k"), SIZES)
def test_equals_enumeration(random_grammar, compared, q, depth, k):
    generator, n_grammars = rng(0, "enumeration", q, depth, k), 12 if q**depth < 16 else 4
    n_cases = 80 if (q, depth) == (3, 3) else CASES_PER_SIZE  # 6,561 words per case are slow to sum
    count = 0
    for i in range(n_grammars):
        tree = FilteredTree(random_grammar(KINDS[i % 4], q, generator), depth, k)
        tokens, observed = random_evidence(tree, n_cases // n_grammars, generator)
        truth = enumerate_tree(tree).beliefs(tokens, observed)
        count += assert_equals_enumeration(tree, tokens, observed, truth)
    compared[q, depth, k] = count
    assert count > 0.7 * n_cases


def test_ten_thousand_cases_were_compared(compared):
    if len(compared) < len(SIZES):
        pytest.skip("counts the cases of the whole file; run it in one process, without a selection")
    assert sum(compared.values()) >= 10_000


# --- planted faults ---------------------------------------------------------------------------------------------------


def swap_children(grammar: TreeGrammar) -> TreeGrammar:
    return TreeGrammar(grammar.rules.transpose(0, 2, 1), grammar.root_prior)


def children_swapped_upward(original: Callable) -> Callable:
    return lambda grammar, *rest: original(swap_children(grammar), *rest)


def last_normaliser_dropped(original: Callable) -> Callable:
    def faulty(*args):
        messages, removed = original(*args)
        return messages, removed[:-1]

    return faulty


def one_message_dropped(original: Callable) -> Callable:
    def faulty(grammar, leaves, *rest):
        leaves = leaves.copy()
        leaves[1] = 1
        return original(grammar, leaves, *rest)

    return faulty


def uniform_prior(original: Callable) -> Callable:
    return lambda grammar, *rest: original(TreeGrammar(grammar.rules), *rest)


def cavity_keeps_its_own_message(original: Callable) -> Callable:
    def faulty(grammar, transitions, top_messages):
        root_upward, downward, removed = original(grammar, transitions, top_messages)
        top = max(downward)
        product = downward[top] * top_messages
        return root_upward, {**downward, top: product / product.sum(axis=1, keepdims=True)}, removed

    return faulty


def filtered_nodes_in_reverse(original: Callable) -> Callable:
    return lambda grammar, transitions, top_messages: original(grammar, transitions[::-1], top_messages)


def transition_transposed(original: Callable) -> Callable:
    return lambda grammar, transitions, top: original(grammar, transitions.transpose(0, 2, 1), top)


def sibling_ignored_downward(original: Callable) -> Callable:
    return lambda grammar, upward, *rest: original(grammar, {d: np.ones_like(m) for d, m in upward.items()}, *rest)


def level_stale_downward(original: Callable) -> Callable:
    def faulty(grammar, upward, messages, depth, top):
        result = original(grammar, upward, messages, depth, top)
        if depth > top:
            result[depth] = np.repeat(result[depth - 1], 2, axis=0)
        return result

    return faulty


def normalised_over_nodes(original: Callable) -> Callable:
    def faulty(messages):
        sums = messages.sum(axis=0, keepdims=True)
        sums[sums == 0] = 1
        return messages / sums, np.broadcast_to(sums[:, 0], messages[:, 0].shape)

    return faulty


def leaves_of_a_block_swapped(original: Callable) -> Callable:
    def faulty(grammar, height):
        table = original(grammar, height)
        block, q, _ = table.response.shape
        response = table.response.reshape(block, q, 2**height, q)[:, :, ::-1].reshape(table.response.shape)
        return dataclasses.replace(table, response=response)

    return faulty


FAULTS = [
    (children_swapped_upward, "upward_pass"),
    (last_normaliser_dropped, "upward_pass"),
    (one_message_dropped, "upward_pass"),
    (uniform_prior, "combine_at_root"),
    (cavity_keeps_its_own_message, "combine_at_root"),
    (filtered_nodes_in_reverse, "combine_at_root"),
    (transition_transposed, "combine_at_root"),
    (children_swapped_upward, "downward_pass"),
    (sibling_ignored_downward, "downward_pass"),
    (level_stale_downward, "downward_pass"),
    (normalised_over_nodes, "normalise"),
]
PLACES = [(fault, belief_propagation, name) for fault, name in FAULTS]
HARMLESS_THERE = (last_normaliser_dropped, normalised_over_nodes)  # leave_one_out asks for no log evidence; its rows are rescaled
PLACES += [(fault, leave_one_out, name) for fault, name in FAULTS if fault not in HARMLESS_THERE]
PLACES += [(leaves_of_a_block_swapped, leave_one_out, "block_table")]


def compare_on_small_trees(random_grammar: Callable, levels: tuple[int, ...] = (0, 1, 2)) -> None:
    for k in levels:
        generator = rng(3, "faults", k)
        tree = FilteredTree(random_grammar("soft", 3, generator), 2, k)
        tokens, observed = random_evidence(tree, 40, generator)
        assert_equals_enumeration(tree, tokens, observed, enumerate_tree(tree).beliefs(tokens, observed))


@pytest.mark.parametrize(("fault", "module", "name"), PLACES, ids=lambda value: getattr(value, "__name__", value))
def test_a_planted_fault_is_noticed(random_grammar, monkeypatch, fault, module, name):
    compare_on_small_trees(random_grammar)  # sound before
    monkeypatch.setattr(module, name, fault(getattr(module, name)))
    with pytest.raises((AssertionError, ImpossibleEvidence)):
        compare_on_small_trees(random_grammar)


@pytest.mark.parametrize("wrong", [0, 1, 2])
def test_a_wrong_filter_level_is_noticed(random_grammar, wrong):
    for k in {0, 1, 2} - {wrong}:
        generator = rng(4, "levels")
        tree = FilteredTree(random_grammar("soft", 3, generator), 2, k)
        tokens, observed = random_evidence(tree, 40, generator)
        truth = enumerate_tree(tree).beliefs(tokens, observed)
        other = FilteredTree(tree.grammar, 2, wrong)
        assert np.abs(other.beliefs(tokens, observed).log_evidence - truth.log_evidence).max() > 1e-3


# --- a third route, numerics, impossible evidence -----------------------------------------------------------------------


@pytest.mark.parametrize("k", range(5))
def test_clamping_a_leaf_gives_its_marginal(paper, k):
    """Z is linear in each leaf's evidence, so Z(leaf = a) / Z(leaf free) is its posterior: no truncation error."""
    tree, generator = FilteredTree(paper, 4, k), rng(5, k)
    tokens = tree.sample(20, generator).tokens
    observed = generator.random(tokens.shape) < 0.6
    for leaf in (0, 5, 15):
        free = observed.copy()
        free[:, leaf] = False
        given = free.copy()
        given[:, leaf] = True
        beliefs = tree.beliefs(tokens, free)
        clamped = []
        for a in range(4):
            tokens_a = tokens.copy()
            tokens_a[:, leaf] = a
            clamped.append(tree.beliefs(tokens_a, given).log_evidence)
        ratio = np.exp(np.stack(clamped, axis=-1) - beliefs.log_evidence[:, None])
        np.testing.assert_allclose(ratio, beliefs.marginals[4][:, leaf], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("q", "depth", "k"), [(16, 10, 0), (16, 10, 3), (16, 10, 10), (2, 12, 0), (2, 12, 6)])
def test_deep_trees_do_not_underflow(q, depth, k):
    tree = FilteredTree(TreeGrammar.random(q, sigma=3.0), depth, k)
    tokens = tree.sample(3, rng(6)).tokens
    tokens[2] = rng(7).integers(q, size=2**depth)
    beliefs = tree.beliefs(tokens)
    assert np.isfinite(beliefs.log_evidence).all() and (beliefs.log_evidence < -100).all()
    for d in tree.depths:
        np.testing.assert_allclose(beliefs.marginals[d].sum(axis=-1), 1, rtol=0, atol=1e-12)
    np.testing.assert_allclose(tree.leave_one_out(tokens), beliefs.downward[depth], rtol=0, atol=1e-12)


def test_extreme_rules_do_not_underflow():
    """Symbol 1 has two children 1 with probability 1e-200: possible, though P(leaves) is far below the smallest float."""
    rules = np.array([[[1.0, 0], [0, 0]], [[1.0, 0], [0, 1e-200]]])
    tree = FilteredTree(TreeGrammar(rules), 3)
    ones = np.ones((1, 8), dtype=int)
    assert tree.beliefs(ones).log_evidence[0] == pytest.approx(np.log(0.5) + 7 * np.log(1e-200), rel=1e-12)
    assert (tree.leave_one_out(ones) == [0, 1]).all()


def same_children(q: int = 2) -> TreeGrammar:
    """Both children copy the parent: any sequence of two different symbols is impossible."""
    rules = np.zeros((q, q, q))
    rules[range(q), range(q), range(q)] = 1
    return TreeGrammar(rules)


def test_impossible_evidence_names_the_first_example():
    tree = FilteredTree(same_children(), 2)
    tokens = np.array([[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 1], [1, 1, 1, 0]])
    with pytest.raises(ImpossibleEvidence, match=r"example 2 have probability 0 .*\(2 of 4 examples\)") as caught:
        tree.beliefs(tokens)
    assert caught.value.example == 2
    with pytest.raises(ImpossibleEvidence, match="posteriors: the observed leaves of example 0"):
        FilteredTree(same_children(), 1).posteriors(np.array([[0, 1]]))
    with pytest.raises(
        ImpossibleEvidence, match="leave_one_out: the leaves of example 2 other than leaf 1 have probability 0"
    ) as caught:
        tree.leave_one_out(tokens)
    assert caught.value.example == 2


@pytest.mark.parametrize("k", [0, 1])
def test_leave_one_out_answers_where_the_other_leaves_are_possible(k):
    tree = FilteredTree(same_children(), 1, k)
    disagreeing = np.array([[0, 1], [1, 0]])
    with pytest.raises(ImpossibleEvidence):
        tree.beliefs(disagreeing)
    assert (tree.leave_one_out(disagreeing) == np.eye(2)[disagreeing[:, ::-1]]).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("k", "n_refused"), [(0, 100), (1, 80), (2, 20)])
def test_impossible_evidence_never_warns_and_never_gives_nan(random_grammar, k, n_refused):
    generator, refused = rng(8, k), 0
    while refused < n_refused:
        tree = FilteredTree(random_grammar("sparse", 3, generator), 2, k)
        tokens = generator.integers(3, size=(20, 4))
        possible = np.isfinite(enumerate_tree(tree).beliefs(tokens).log_evidence)
        if possible.all():
            assert np.isfinite(tree.beliefs(tokens).marginals[0]).all()
            continue
        with pytest.raises(ImpossibleEvidence) as caught:
            tree.beliefs(tokens)
        assert caught.value.example == np.flatnonzero(~possible)[0]
        refused += 1
