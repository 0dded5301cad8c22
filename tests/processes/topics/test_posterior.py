"""Beliefs about topics equal the plain sum over every assignment, in the closed form, by quadrature and for listed supports."""

from fractions import Fraction

import numpy as np
import pytest
from brute_topics import dirichlet_prior, posterior, random_topics, support_prior
from hypothesis import given
from hypothesis import strategies as st

import mechbp
from mechbp.errors import ImpossibleEvidence, InputError, LimitExceeded
from mechbp.processes.topics.enumeration import enumerate_counts
from mechbp.processes.topics.supports import SupportMixture
from mechbp.processes.topics.topic_model import ABSENT, TopicModel

EXACT = {"rtol": 0, "atol": 1e-12}
TWO = TopicModel(np.array([[0.4, 0.4, 0.2, 0], [0, 0.2, 0.4, 0.4]]), np.array([0.5, 0.5]))
RING = TopicModel.ring(3, 2, 1, 0.25, 0.1)
NINE = TopicModel(np.array([[1, 1, 1, 1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0, 1, 1, 1]]) / 4, 0.1)


def assert_brute(process, prior, tokens, observed):
    """One document, compared in every field."""
    words = [int(w) if seen else None for w, seen in zip(tokens, observed, strict=True)]
    expected = posterior(process.word_given_topic, prior, words)
    found = process.beliefs(tokens[None], observed[None])
    np.testing.assert_allclose(found.assignments[0], expected.assignments, **EXACT)
    np.testing.assert_allclose(found.proportions[0], expected.proportions, **EXACT)
    np.testing.assert_allclose(found.variance[0], expected.variance, **EXACT)
    np.testing.assert_allclose(found.predictive[0], expected.proportions @ process.word_given_topic, **EXACT)
    np.testing.assert_allclose(found.log_evidence[0], np.log(expected.evidence), **EXACT)


def random_documents(seed, n):
    """n random tables of words, each with a length for which all assignments can be listed, and its own generator."""
    for i in range(n):
        rng = mechbp.rng(seed, "topics", i)
        table = random_topics(rng)
        longest = {2: 7, 3: 4, 4: 3}[len(table)]
        yield table, int(rng.integers(0, longest + 1)), rng


@pytest.mark.parametrize("models", [400, pytest.param(2000, marks=pytest.mark.slow)])
def test_dirichlet_beliefs_equal_the_sum_over_all_assignments_on_random_models(models, unchecked):
    disjoint = 0
    for table, length, rng in random_documents(0, models):
        if rng.random() < 0.2:  # every word keeps the topic that uses it most
            table = table * (np.arange(len(table))[:, None] == table.argmax(axis=0))
            table = table[table.any(axis=1)]
            table = table / table.sum(axis=1, keepdims=True)
        alpha = np.exp(rng.normal(0, 1.5, size=len(table)))
        model = TopicModel(table, alpha)
        disjoint += model.are_disjoint
        tokens = model.sample(1, rng, max(length, 1)).tokens[0, :length]
        assert_brute(model, dirichlet_prior(alpha), tokens, rng.random(length) < 0.8)
    assert 0.15 * models < disjoint < 0.75 * models


def test_beliefs_about_supports_equal_the_sum_over_all_assignments():
    for table, length, rng in random_documents(1, 200):
        tau = int(rng.integers(1, len(table) + 1))
        mixture = SupportMixture(table, tau)
        tokens = mixture.sample(1, rng, max(length, 1)).tokens[0, :length]
        assert_brute(mixture, support_prior(len(table), tau), tokens, rng.random(length) < 0.8)


@pytest.mark.parametrize("length", [1, 8])
def test_the_longest_sums_that_can_be_listed(length):
    for model in (NINE, TWO):
        tokens = model.sample(1, mechbp.rng(2, "long"), length).tokens[0]
        assert_brute(model, dirichlet_prior(model.alpha), tokens, np.ones(length, bool))


def test_two_overlapping_topics_as_exact_fractions():
    found = TWO.beliefs(np.array([[0, 2, 2, 1, 3]]))
    np.testing.assert_allclose(np.exp(found.log_evidence), [float(Fraction(21, 40_000))], **EXACT)
    np.testing.assert_allclose(found.proportions[0] * 6 - 0.5, [79 / 35, 96 / 35], **EXACT)
    np.testing.assert_allclose(found.predictive[0], [193 / 1050, 613 / 2100, 647 / 2100, 227 / 1050], **EXACT)
    np.testing.assert_allclose(found.assignments[0, :, 0], [1, 1 / 3, 1 / 3, 0.590476190476, 0], **EXACT)
    np.testing.assert_allclose(enumerate_counts(TWO, [0, 2, 2, 1, 3]).counts, [79 / 35, 96 / 35], **EXACT)


@pytest.mark.parametrize(
    ("words", "proportions"),
    [
        ([0, 1, 3, 3, 6], [0.6605044152, 0.2177117083, 0.1217838765]),
        ([0, 3, 6], [1 / 3, 1 / 3, 1 / 3]),
        ([0, 3, 6, 0, 3, 6, 0, 4], [0.2664494522, 0.4671010957, 0.2664494522]),
    ],
)
def test_three_topics_in_a_ring(words, proportions):
    found = NINE.beliefs(np.array([words]))
    np.testing.assert_allclose(found.proportions[0], proportions, rtol=0, atol=6e-11)
    np.testing.assert_allclose(enumerate_counts(NINE, words).proportions, proportions, rtol=0, atol=6e-11)
    if len(words) == 5:
        assert np.exp(found.log_evidence[0]) == pytest.approx(2.0052306137e-05, rel=3e-11)


def test_supports_of_two_topics_by_hand():
    mixture = SupportMixture.disjoint(5, 2, 2)
    unseen, one, both = (mixture.beliefs(np.array([words])).proportions[0] for words in ([10], [0, 1], [0, 4]))
    np.testing.assert_allclose(unseen, np.full(5, 1 / 5), **EXACT)
    np.testing.assert_allclose(one, [1 / 2, *(1 / 8,) * 4], **EXACT)  # (tau - m) / ((T - m) tau) of each topic not seen
    np.testing.assert_allclose(both, [1 / 2, 0, 1 / 2, 0, 0], **EXACT)
    evidence = mixture.beliefs(np.array([[0, 4], [0, 1]])).log_evidence
    np.testing.assert_allclose(np.exp(evidence), [1 / 10 / 16, 4 / 10 / 16], **EXACT)


@pytest.mark.parametrize("alpha", [0.1, 1.0, np.array([0.05, 3.0, 0.7]), 1e-6])
@pytest.mark.parametrize("length", [1, 12, 125])
def test_quadrature_equals_the_closed_form_and_the_dynamic_programme_on_disjoint_topics(alpha, length):
    """Topics that share all words with a probability of 1e-200 do overlap, so that they are summed over the simplex."""
    disjoint = TopicModel(np.array([[0.3, 0.7, 0, 0, 0], [0, 0, 0.5, 0.5, 0], [0, 0, 0, 0, 1.0]]), alpha)
    touching = TopicModel(disjoint.word_given_topic + 1e-200, alpha)
    assert disjoint.are_disjoint and not touching.are_disjoint
    tokens = disjoint.sample(5, mechbp.rng(3, "disjoint"), length).tokens
    closed, summed = disjoint.beliefs(tokens), touching.beliefs(tokens)
    for name in ("proportions", "variance", "predictive", "log_evidence", "assignments"):
        np.testing.assert_allclose(getattr(summed, name), getattr(closed, name), **EXACT, err_msg=name)
    for i, document in enumerate(tokens):
        slow = enumerate_counts(disjoint, document)
        np.testing.assert_allclose(slow.proportions, closed.proportions[i], **EXACT)
        np.testing.assert_allclose(slow.log_evidence, closed.log_evidence[i], **EXACT)


def test_long_documents_of_overlapping_topics_equal_the_dynamic_programme():
    for i, model in enumerate((TopicModel.ring(3, 6, 2, 0.25, 0.2), TopicModel.ring(2, 4, 3, 0.5, 1.0), TWO)):
        tokens = model.sample(4, mechbp.rng(4, "ring", i), length=60).tokens
        found = model.beliefs(tokens)
        for row, document in enumerate(tokens):
            slow = enumerate_counts(model, document)
            np.testing.assert_allclose(found.proportions[row], slow.proportions, **EXACT)
            np.testing.assert_allclose(found.predictive[row], slow.predictive, **EXACT)
            np.testing.assert_allclose(found.log_evidence[row], slow.log_evidence, **EXACT)
            # Every word came from some topic, so that the assignments add up to the expected counts.
            np.testing.assert_allclose(found.assignments[row].sum(axis=0), slow.counts, rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    "process",
    [TWO, RING, TopicModel.disjoint(10, 10, 0.1), SupportMixture.disjoint(6, 3, 2), SupportMixture(TWO.word_given_topic, 1)],
)
def test_the_order_of_the_words_does_not_matter_to_the_last_bit(process):
    rng = mechbp.rng(5, "order")
    tokens = process.sample(1, rng, length=(20, 40)).tokens
    shuffled = np.concatenate([rng.permutation(tokens[0])[None] for _ in range(50)])
    found = process.beliefs(np.concatenate([tokens, shuffled]))
    for name in ("proportions", "variance", "predictive", "log_evidence"):
        values = getattr(found, name)
        assert (values == values[:1]).all(), name
    apart = process.beliefs(shuffled)
    assert (apart.proportions == process.beliefs(shuffled[:, ::-1]).proportions).all()
    assert (apart.assignments == process.beliefs(shuffled[:, ::-1]).assignments[:, ::-1]).all()


@given(st.integers(0, 2**32 - 1))
def test_relabelling_topics_and_words_permutes_beliefs(seed):
    rng = np.random.default_rng(seed)
    table = random_topics(rng)
    alpha = rng.gamma(1.0, size=len(table)) + 0.01
    model = TopicModel(table, alpha)
    tokens = model.sample(3, rng, length=6).tokens
    topics = rng.permutation(model.n_topics)
    words = rng.permutation(model.vocab_size)
    renamed = TopicModel(table[topics][:, np.argsort(words)], alpha[topics]).beliefs(words[tokens])
    original = model.beliefs(tokens)
    np.testing.assert_allclose(renamed.proportions, original.proportions[:, topics], **EXACT)
    np.testing.assert_allclose(renamed.predictive[:, words], original.predictive, **EXACT)
    np.testing.assert_allclose(renamed.assignments, original.assignments[..., topics], **EXACT)
    np.testing.assert_allclose(renamed.log_evidence, original.log_evidence, **EXACT)


@pytest.mark.parametrize("process", [TopicModel.disjoint(3, 2, 0.3), RING, SupportMixture(RING.word_given_topic, 2)])
def test_evidence_follows_the_chain_rule(process):
    """log P(words) is the sum of the logs of what was predicted from the words before."""
    tokens = process.sample(20, mechbp.rng(6, "chain rule"), length=9).tokens
    total = np.zeros(20)
    for i in range(9):
        total += np.log(process.beliefs(tokens[:, :i]).predictive[np.arange(20), tokens[:, i]])
    np.testing.assert_allclose(process.beliefs(tokens).log_evidence, total, **EXACT)


@pytest.mark.parametrize("process", [TWO, SupportMixture.disjoint(4, 1, 2)])
def test_what_is_not_observed_says_nothing(process):
    short = process.beliefs(np.array([[0, 2]]))
    shown = [[0, 3, 2], [0, ABSENT, 2], [0, process.mask_token, 2]]
    seen = np.array([[True, False, True], [True, True, True], [True, True, True]])
    found = process.beliefs(np.array(shown), seen)
    for row in range(3):
        np.testing.assert_allclose(found.proportions[row], short.proportions[0], **EXACT)
        np.testing.assert_allclose(found.log_evidence[row], short.log_evidence[0], **EXACT)
        assert (found.assignments[row, 1] == found.proportions[row]).all()
        np.testing.assert_allclose(found.assignments[row, ::2], short.assignments[0], **EXACT)
    prior = process.beliefs(np.full((2, 3), ABSENT))
    assert (prior.log_evidence == 0).all()
    np.testing.assert_allclose(prior.proportions, process.beliefs(np.empty((2, 0), int)).proportions, **EXACT)
    assert process.beliefs(np.empty((0, 3), int)).assignments.shape == (0, 3, process.n_topics)


def test_assignments_asked_for_later_do_not_follow_the_callers_array():
    tokens = np.array([[0, 2, 1]])
    found = TWO.beliefs(tokens)
    tokens[:] = 3
    np.testing.assert_array_equal(found.assignments, TWO.beliefs(np.array([[0, 2, 1]])).assignments)


UNUSED = TopicModel(np.array([[0.5, 0.5, 0, 0], [0, 0.5, 0.5, 0]]), 1.0)


@pytest.mark.parametrize(
    ("process", "tokens"),
    [
        (UNUSED, [[0, 1], [1, 3], [3, 3]]),
        (TopicModel(np.array([[1.0, 0, 0], [0, 1, 0]]), 1.0), [[0, 1], [1, 2], [2, 2]]),
        (SupportMixture.disjoint(3, 1, 2), [[0, 1, 1], [0, 1, 2], [2, 1, 0]]),
        (SupportMixture(UNUSED.word_given_topic, 1), [[0, 1], [0, 2], [3, 3]]),
    ],
)
def test_impossible_evidence_names_the_first_such_document(process, tokens):
    with pytest.raises(ImpossibleEvidence, match="words of example 1 have probability 0 .* .2 of 3 examples") as caught:
        process.beliefs(np.array(tokens))
    assert caught.value.example == 1
    with pytest.raises(ImpossibleEvidence) as caught:
        process.beliefs(np.array([tokens[0], tokens[0], tokens[1]]))
    assert caught.value.example == 2
    process.beliefs(np.array(tokens), np.array([True, False, False])[:, None] & (np.array(tokens) >= 0))


def test_sums_that_are_too_long_are_refused_before_anything_is_allocated():
    with pytest.raises(LimitExceeded, match="10 topics that share words need 2.8e.15 points .* up to 100 words; at most 200,000"):
        TopicModel.ring(10, 5, 1, 0.1, 0.1).beliefs(np.zeros((1, 100), int))
    TopicModel.ring(5, 3, 1, 0.1, 0.1).beliefs(np.zeros((1, 20), int))
    with pytest.raises(LimitExceeded, match="15 of 30 topics can be chosen in 1.6e.08 ways; at most 20,000"):
        SupportMixture.disjoint(30, 1, 15).beliefs(np.zeros((1, 3), int))
    with pytest.raises(LimitExceeded, match="100 words and 10 topics have 4.3e.12 vectors"):
        enumerate_counts(TopicModel.ring(10, 5, 1, 0.1, 0.1), np.zeros(100, int))


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (np.array([[0, 4, 5]]), "TopicModel.beliefs: token 5 of example 0, position 2 is out of range; symbols are 0..3"),
        (np.array([[0, -2]]), "token -2 of example 0, position 1 is out of range"),
        (np.array([[0.0, 1.0]]), "tokens must be integers, got dtype float64"),
        (np.array([0, 1]), r"tokens must have shape \[n, length\], got \[2\]"),
    ],
)
def test_tokens_that_make_no_sense_are_refused(tokens, message):
    with pytest.raises(InputError, match=message):
        TWO.beliefs(tokens)
    with pytest.raises(InputError, match="observed must have the shape of tokens"):
        TWO.beliefs(np.array([[0, 1]]), np.array([[True]]))


def test_enumeration_of_counts_names_impossible_words_by_minus_infinity():
    slow = enumerate_counts(UNUSED, [0, 3])
    assert slow.log_evidence == -np.inf and np.isnan(slow.proportions).all()
