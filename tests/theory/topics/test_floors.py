"""Floors of finite documents: printed constants, enumeration of counts, and sampled documents."""

from itertools import product
from math import comb, factorial

import numpy as np
import pytest
from scipy.special import gamma

import mechbp
from mechbp.errors import InputError
from mechbp.theory.topics.document_floors import document_floors, shown_word_ce
from mechbp.theory.topics.floors import LdaCorpus, context_ce, corpus_floors, limit_ce, squared_contrast

RELEASED = LdaCorpus(n_ids=104)
SMALL = LdaCorpus(3, 2, 0.7, 2, 4, 0.4, 0.3, 0.25, n_ids=8)


def test_printed_floors():
    found = corpus_floors(RELEASED)
    assert found.ce_nats == pytest.approx(3.173489, abs=1e-6)
    assert found.squared / 104 == pytest.approx(9.090611e-3, abs=1e-9)
    assert found.squared == pytest.approx(0.945424, abs=1e-6)
    assert found.uniform_ce_nats == pytest.approx(4.605170, abs=1e-6)
    assert found.uniform_squared / 104 == pytest.approx(9.519231e-3, abs=1e-9)


def test_printed_floors_with_the_shown_word():
    found = corpus_floors(RELEASED)
    assert found.shown_ce_nats == pytest.approx(2.918358, abs=1e-6)
    parts = (found.masked_ce_nats, found.kept_ce_nats, found.random_ce_nats)
    assert parts == pytest.approx((3.173489, 0.278887, 3.516781), abs=1e-6)
    assert corpus_floors(LdaCorpus()).shown_ce_nats == pytest.approx(2.919715, abs=1e-6)


def test_printed_floors_by_length():
    found = [context_ce(RELEASED, n) for n in (10, 50, 100, 125)]
    assert found == pytest.approx((3.34051, 3.19707, 3.17468, 3.16994), abs=5e-6)
    assert limit_ce(RELEASED) == pytest.approx(3.149124, abs=1e-6)
    assert context_ce(RELEASED, 10**6) == pytest.approx(limit_ce(RELEASED), abs=1e-5)


def test_printed_contrasts():
    assert squared_contrast(RELEASED) == pytest.approx(1.00941, abs=5e-6)
    assert squared_contrast(RELEASED, markers=0) == pytest.approx(0.99059, abs=5e-6)


def test_attained_information_runs_from_guessing_to_the_floor():
    found = corpus_floors(RELEASED)
    assert found.attained(np.log(100)) == pytest.approx(0, abs=1e-12)
    assert found.attained(found.ce_nats) == pytest.approx(1, abs=1e-12)
    assert found.attainable_nats == pytest.approx(4.605170 - 3.173489, abs=2e-6)


def enumerated(corpus):
    """All floors by summing over lengths, numbers of selected words, counts of topics, targets and shown ids."""
    topics, size, alpha = corpus.n_topics, corpus.words_per_topic, corpus.alpha
    u = corpus.random / corpus.n_ids
    totals = np.zeros(5)  # weight, ce, squared, kept, random
    for length in range(corpus.shortest, corpus.longest + 1):
        for selected in range(1, length + 1):
            n = length - selected
            weight = selected * comb(length, selected) * corpus.mask_rate**selected * (1 - corpus.mask_rate) ** n
            for counts in product(range(n + 1), repeat=topics):
                if sum(counts) != n:
                    continue
                a = topics * alpha
                chance = factorial(n) * gamma(a) / gamma(a + n)
                chance *= np.prod([gamma(alpha + k) / gamma(alpha) / factorial(k) for k in counts])
                p = np.repeat((alpha + np.array(counts)) / (a + n) / size, size)
                ce = -(p * np.log(p)).sum()
                kept = -(p * np.log((corpus.keep * p + u * p) / (corpus.keep * p + u))).sum()
                answer = (corpus.keep * np.diag(p) + u * p) / (corpus.keep * p + u)[:, None]  # [shown word, word]
                random = -(p * np.log(answer)).sum() / corpus.n_ids + ce * (1 - len(p) / corpus.n_ids)
                totals += weight * chance * np.array([1, ce, 1 - np.square(p).sum(), kept, random])
    return totals[1:] / totals[0]


def test_floors_of_a_small_corpus_by_enumeration():
    found = corpus_floors(SMALL)
    parts = (found.ce_nats, found.squared, found.kept_ce_nats, found.random_ce_nats)
    np.testing.assert_allclose(parts, enumerated(SMALL), rtol=0, atol=1e-12)
    mean = 0.45 * found.ce_nats + 0.3 * found.kept_ce_nats + 0.25 * found.random_ce_nats
    assert found.shown_ce_nats == pytest.approx(mean, abs=1e-12)


def sampled(corpus, n, rng):
    """Documents as counts of visible words and of targets per topic."""
    lengths = rng.integers(corpus.shortest, corpus.longest + 1, size=n)
    selected = rng.binomial(lengths, corpus.mask_rate)
    theta = rng.dirichlet(np.full(corpus.n_topics, corpus.alpha), size=n)
    return rng.multinomial(lengths - selected, theta), rng.multinomial(selected, theta)


def test_floors_of_sampled_documents_agree_with_those_of_the_corpus():
    visible, targets = sampled(RELEASED, 40_000, mechbp.rng(0, "floors"))
    found = document_floors(visible, targets, np.full(10, 0.1), 10)
    expected = corpus_floors(RELEASED)
    for sums, mean, floor, most in (
        (found.ce_nats, found.mean_ce_nats, expected.ce_nats, 3e-3),
        (found.squared, found.mean_squared, expected.squared, 3e-4),
    ):
        spread = (sums - found.n_targets * floor).std() / np.sqrt(40_000) / found.n_targets.mean()
        assert most / 10 < spread < most
        assert abs(mean - floor) < 4 * spread


def test_the_contrast_of_squared_loss_is_a_regression_on_sampled_documents():
    corpus = LdaCorpus(4, 3, 0.5, 3, 12, 0.3)
    visible, targets = sampled(corpus, 200_000, mechbp.rng(0, "contrast"))
    n = visible.sum(axis=1)
    weight = np.repeat(targets.sum(axis=1), 4).astype(float)
    histogram = (visible / (n + 2)[:, None]).ravel()
    answer = ((visible + 0.5) / (n + 2.0)[:, None]).ravel()
    design = np.column_stack([histogram, np.ones(len(weight)), np.repeat(n / (n + 2), 4)])
    fitted = np.linalg.lstsq(design * np.sqrt(weight)[:, None], answer * np.sqrt(weight), rcond=None)[0]
    assert squared_contrast(corpus) == pytest.approx(fitted[0], abs=2e-3)


def test_document_floors_by_hand():
    found = document_floors(np.array([[3, 1], [0, 0]]), np.array([[1, 2], [0, 1]]), np.array([0.5, 1.5]), 2)
    first = np.array([3.5, 2.5]) / 6
    second = np.array([0.25, 0.75])
    assert found.ce_nats[0] == pytest.approx(-np.log(first[0] / 2) - 2 * np.log(first[1] / 2))
    assert found.ce_nats[1] == pytest.approx(-np.log(second[1] / 2))
    words = np.repeat(second / 2, 2)
    assert found.squared[1] == pytest.approx(np.square(words - [0, 0, 0, 1]).sum())
    assert found.n_targets.tolist() == [3, 1]
    words = np.repeat(first / 2, 2)
    by_topic = [np.square(words - np.eye(4)[y]).sum() for y in (0, 3)]
    assert found.squared[0] == pytest.approx(by_topic[0] + 2 * by_topic[1])


def test_shown_words_by_hand():
    probability = np.array([[0.5, 0.3, 0.2]] * 3)
    found = shown_word_ce(probability, np.array([1, 1, 1]), np.array([1, 0, 3]), 0.1, 0.02)
    expected = [(0.1 * 0.3 + 0.02 * 0.3) / (0.1 * 0.3 + 0.02), 0.02 * 0.3 / (0.1 * 0.5 + 0.02), 0.3]
    np.testing.assert_allclose(found, -np.log(expected), rtol=0, atol=1e-12)


def test_shares_of_visible_lengths_sum_to_one_and_follow_the_selected_words():
    lengths, share = SMALL.visible_lengths()
    assert share.sum() == pytest.approx(1, abs=1e-15)
    weight = {n: 0.0 for n in range(4)}
    for length in (2, 3, 4):
        for selected in range(1, length + 1):
            weight[length - selected] += selected * comb(length, selected) * 0.4**selected * 0.6 ** (length - selected)
    np.testing.assert_allclose(share, [weight[n] / sum(weight.values()) for n in lengths], rtol=0, atol=1e-14)


def test_without_kept_or_random_words_the_shown_word_is_certain_or_says_nothing():
    certain = corpus_floors(LdaCorpus(random=0.0))
    assert certain.kept_ce_nats == pytest.approx(0, abs=1e-12)
    idle = corpus_floors(LdaCorpus(keep=0.0))
    assert idle.random_ce_nats == pytest.approx(idle.ce_nats, abs=1e-12)
    assert idle.shown_ce_nats == pytest.approx(0.9 * idle.ce_nats + 0.1 * idle.random_ce_nats, abs=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_topics": 1}, ">= 2 topics"),
        ({"alpha": 0.0}, "alpha > 0"),
        ({"shortest": 200}, "shortest <= longest"),
        ({"keep": 0.7, "random": 0.7}, "keep \\+ random <= 1"),
        ({"n_ids": 50}, "at least the 100 words"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(InputError, match=message):
        LdaCorpus(**arguments)


def test_document_floors_refuse_impossible_counts():
    with pytest.raises(InputError, match="counts >= 0"):
        document_floors(np.array([[-1, 2]]), np.array([[1, 1]]), np.ones(2), 3)
    with pytest.raises(InputError, match="random_per_id > 0"):
        shown_word_ce(np.full((1, 2), 0.5), np.array([0]), np.array([0]), 0.1, 0.0)
