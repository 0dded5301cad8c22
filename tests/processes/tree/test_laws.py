"""Laws that exact inference obeys whatever the grammar, the filter level and the evidence; examples drawn by Hypothesis."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_grammars import make_grammar  # tests/support/random_grammars.py

from mechbp.processes.tree.belief_propagation import chunks
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.processes.tree.grammar import TreeGrammar
from mechbp.randomness import rng

laws = settings(derandomize=True, max_examples=40, deadline=None, database=None)
exact = dict(rtol=0, atol=1e-12)


@dataclass(frozen=True)
class Case:
    tree: FilteredTree
    tokens: np.ndarray
    observed: np.ndarray


@st.composite
def cases(draw, kinds=("unambiguous", "soft", "overlapping", "sparse"), q=(2, 5), depth=(1, 4)):
    """A tree, six sequences it can produce, and a mask."""
    q, depth = draw(st.integers(*q)), draw(st.integers(*depth))
    generator = rng(draw(st.integers(0, 10**6)), "laws")
    tree = FilteredTree(make_grammar(draw(st.sampled_from(kinds)), q, generator), depth, draw(st.integers(0, depth)))
    tokens = tree.sample(6, generator).tokens
    return Case(tree, tokens, generator.random(tokens.shape) < draw(st.sampled_from([0.1, 0.5, 0.9, 1.0])))


@laws
@given(cases())
def test_every_message_is_a_distribution(case):
    beliefs = case.tree.beliefs(case.tokens, case.observed)
    for group in (beliefs.upward, beliefs.downward, beliefs.marginals):
        assert set(group) == set(case.tree.depths)
        for d, messages in group.items():
            assert messages.shape == (6, 2**d, case.tree.vocab_size) and (messages >= 0).all()
            np.testing.assert_allclose(messages.sum(axis=-1), 1, **exact)
    assert (beliefs.log_evidence <= 1e-12).all()


@laws
@given(cases(), st.randoms(use_true_random=False))
def test_relabelling_symbols_permutes_posteriors(case, random):
    tree, q = case.tree, case.tree.vocab_size
    new = np.array(random.sample(range(q), q))  # old symbol a is called new[a]
    old = np.argsort(new)
    renamed = TreeGrammar(tree.grammar.rules[np.ix_(old, old, old)], tree.grammar.root_prior[old])
    before = tree.beliefs(case.tokens, case.observed)
    after = FilteredTree(renamed, tree.depth, tree.filter_level).beliefs(new[case.tokens], case.observed)
    np.testing.assert_allclose(after.log_evidence, before.log_evidence, **exact)
    for d in tree.depths:
        np.testing.assert_allclose(after.marginals[d][..., new], before.marginals[d], **exact)


@laws
@given(cases())
def test_mirror_image(case):
    """Exchange left and right in the rules and in the leaves: every node's posterior moves to the mirrored node."""
    tree = case.tree
    mirrored = FilteredTree(
        TreeGrammar(tree.grammar.rules.transpose(0, 2, 1), tree.grammar.root_prior), tree.depth, tree.filter_level
    )
    before = tree.beliefs(case.tokens, case.observed)
    after = mirrored.beliefs(case.tokens[:, ::-1], case.observed[:, ::-1])
    for d in tree.depths:
        np.testing.assert_allclose(after.downward[d][:, ::-1], before.downward[d], **exact)
        np.testing.assert_allclose(after.upward[d][:, ::-1], before.upward[d], **exact)


@laws
@given(cases())
def test_an_observed_leaf_is_certain_and_a_masked_one_is_predicted(case):
    beliefs = case.tree.beliefs(case.tokens, case.observed)
    leaves, predicted = beliefs.marginals[case.tree.depth], beliefs.downward[case.tree.depth]
    certain = np.eye(case.tree.vocab_size)[case.tokens]
    np.testing.assert_allclose(leaves, np.where(case.observed[..., None], certain, predicted), **exact)


@laws
@given(cases())
def test_masking_everything_returns_the_prior(case):
    beliefs = case.tree.beliefs(case.tokens, np.zeros_like(case.observed))
    np.testing.assert_allclose(beliefs.log_evidence, 0, **exact)
    for d, prior in case.tree.priors.items():
        np.testing.assert_allclose(beliefs.marginals[d], np.broadcast_to(prior, beliefs.marginals[d].shape), **exact)


@laws
@given(cases(kinds=("unambiguous", "soft", "overlapping"), q=(2, 4), depth=(1, 2)))
def test_mean_posterior_is_the_prior(case):
    """Weighted by their probability, which sums to 1, the posteriors of all sequences average to the prior."""
    q, n_leaves = case.tree.vocab_size, case.tree.n_leaves
    words = np.indices((q,) * n_leaves).reshape(n_leaves, -1).T
    beliefs = case.tree.beliefs(words)
    probability = np.exp(beliefs.log_evidence)
    assert abs(probability.sum() - 1) < 1e-12
    for d, prior in case.tree.priors.items():
        np.testing.assert_allclose(np.einsum("n,nja->ja", probability, beliefs.marginals[d]), prior, **exact)


@laws
@given(cases())
def test_leave_one_out_is_one_run_per_mask(case):
    tree, tokens = case.tree, np.where(case.observed, case.tokens, case.tree.mask_token)
    one_pass = tree.leave_one_out(tokens)
    for leaf in range(tree.n_leaves):
        masked = tokens.copy()
        masked[:, leaf] = tree.mask_token
        np.testing.assert_allclose(one_pass[:, leaf], tree.beliefs(masked).marginals[tree.depth][:, leaf], **exact)


@laws
@given(cases())
def test_chain_rule(case):
    """log p(x) = sum over t of log p(x_t | x_<t)."""
    tree, total = case.tree, np.zeros(6)
    for t in range(tree.n_leaves):
        past = np.broadcast_to(np.arange(tree.n_leaves) < t, case.tokens.shape)
        total += np.log(tree.beliefs(case.tokens, past).marginals[tree.depth][range(6), t, case.tokens[:, t]])
    np.testing.assert_allclose(total, tree.beliefs(case.tokens).log_evidence, rtol=0, atol=1e-11)


@laws
@given(cases())
def test_at_full_filter_level_leaves_are_independent_given_the_root(case):
    tree = FilteredTree(case.tree.grammar, case.tree.depth, case.tree.depth)
    per_leaf = tree.transitions[range(tree.n_leaves), :, case.tokens]  # [example, leaf, root]
    joint = tree.grammar.root_prior * per_leaf.prod(axis=1)
    beliefs = tree.beliefs(case.tokens)
    np.testing.assert_allclose(beliefs.log_evidence, np.log(joint.sum(axis=-1)), rtol=0, atol=1e-11)
    np.testing.assert_allclose(beliefs.marginals[0][:, 0], joint / joint.sum(axis=-1, keepdims=True), **exact)


@laws
@given(cases(depth=(2, 4)), st.data())
def test_levels_agree_inside_one_block(case, data):
    """What is seen below one node of depth k has the same law at every filter level up to k; so has every single leaf."""
    tree = case.tree
    block = data.draw(st.integers(0, 2**tree.filter_level - 1))
    inside = np.arange(tree.n_leaves) >> (tree.depth - tree.filter_level) == block
    reference = tree.beliefs(case.tokens, case.observed & inside).log_evidence
    for level in range(tree.filter_level):
        other = FilteredTree(tree.grammar, tree.depth, level).beliefs(case.tokens, case.observed & inside)
        np.testing.assert_allclose(other.log_evidence, reference, **exact)


@laws
@given(cases())
def test_a_sequence_alone_or_in_a_batch(case):
    together = case.tree.posteriors(case.tokens)
    for i in range(6):
        alone = case.tree.posteriors(case.tokens[i : i + 1])
        np.testing.assert_allclose(alone.leaves[0], together.leaves[i], rtol=0, atol=1e-14)
        np.testing.assert_allclose(alone.root[0], together.root[i], rtol=0, atol=1e-14)


@pytest.mark.parametrize("n", [0, 1, 511, 512, 513, 1100])
def test_batches_of_every_size_cross_the_chunks_unharmed(paper, n):
    tree = FilteredTree(paper, 4, 1)
    tokens = tree.sample(1100, rng(1)).tokens
    beliefs, whole = tree.beliefs(tokens[:n]), tree.beliefs(tokens)
    np.testing.assert_allclose(beliefs.log_evidence, whole.log_evidence[:n], **exact)
    np.testing.assert_allclose(beliefs.marginals[2], whole.marginals[2][:n], **exact)
    np.testing.assert_allclose(tree.leave_one_out(tokens[:n]), whole.downward[4][:n], **exact)


def test_chunks_cover_every_example_once_and_bound_the_memory():
    for n, q, depth in ((0, 4, 4), (1, 4, 4), (1100, 4, 4), (7, 64, 12), (5, 2, 1)):
        parts = [range(n)[part] for part in chunks(n, q, depth)]
        assert [i for part in parts for i in part] == list(range(n))
        assert all(len(part) == 1 or len(part) * 2**depth * q * q <= 2**17 for part in parts)
