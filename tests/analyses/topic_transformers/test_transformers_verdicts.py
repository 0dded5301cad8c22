"""Verdicts about topic transformers at the bounds on record, and measurements on made-up numbers."""

from types import SimpleNamespace

import numpy as np
import pytest

import mechbp
from analyses.topic_transformers.ambiguity import group_difference, word_contrasts
from analyses.topic_transformers.answers import LinearLogits
from analyses.topic_transformers.attention import same_over_different
from analyses.topic_transformers.criteria import CRITERIA
from mechbp.divergence import kl_nats
from mechbp.processes.topics.topic_model import TopicModel
from mechbp.theory.topics.hidden_words import HiddenWords
from mechbp.theory.topics.key_classes import CLASSES, DIFF, SAME, ClassAttention
from mechbp.theory.topics.pairs import PairClasses

BELIEF = {"r2_low": [0.96, 0.96], "random_r2": [0.5, 0.9], "disjoint": [True, False], "closed_low": [-1.0, 0.6]}
USED = {"pairs": [100, 160], "means_low": [0.9, 0.95], "leace_low": [0.9, 0.99], "placebo_high": [0.5, 0.6]}
WORDS = {"pairs": [600, 100], "correlation_low": [0.95, 0.9], "slope": [0.92, 1.08]}
LIKE = {"dot_difference": [0.1, 0.2], "cosine_difference": [0.1, 0.2], "p_dot": [1e-4, 1e-4], "p_cosine": [1e-4, 1e-4]}


@pytest.mark.parametrize(
    ("key", "numbers", "verdict"),
    [
        ("answers", {"share_high": [0.05, 0.01]}, "holds"),
        ("answers", {"share_high": [0.051, 0.01]}, "partly"),
        ("answers", {"share_high": [0.051, 0.06]}, "fails"),
        ("embeddings", LIKE, "holds"),
        ("embeddings", LIKE | {"p_dot": [1e-4, 1e-3]}, "partly"),
        ("embeddings", LIKE | {"dot_difference": [-0.1, 0.2]}, "partly"),
        ("embeddings", LIKE | {"p_cosine": [0.5, 0.5]}, "fails"),
        ("attention", {"ratio_low": [1.01, 1.2], "p": [1e-4, 1e-4]}, "holds"),
        ("attention", {"ratio_low": [0.99, 1.2], "p": [1.0, 1e-4]}, "partly"),
        ("attention", {"ratio_low": [1.2], "p": [0.02]}, "fails"),
        ("ambiguity", {"embedding_high": [-0.01], "attention_high": [-0.01]}, "holds"),
        ("ambiguity", {"embedding_high": [-0.01], "attention_high": [0.01]}, "partly"),
        ("ambiguity", {"embedding_high": [0.0], "attention_high": [0.01]}, "fails"),
        ("contrast-used", {"contrast_low": [0.02, 0.5]}, "holds"),
        ("contrast-used", {"contrast_low": [0.0, 0.5]}, "partly"),
        ("contrast-used", {"contrast_low": [0.0, 0.019]}, "fails"),
        ("shown-words", {"rise_high": [0.02, 0.001]}, "holds"),
        ("shown-words", {"rise_high": [0.02, 0.4]}, "partly"),
        ("shown-words", {"rise_high": [0.021, 0.4]}, "fails"),
        ("belief-held", BELIEF, "holds"),  # a histogram is exact for disjoint topics: no gap is asked for there
        ("belief-held", BELIEF | {"closed_low": [-1.0, 0.4]}, "partly"),
        ("belief-held", BELIEF | {"random_r2": [0.97, 0.9]}, "partly"),  # random weights show it as well
        ("belief-held", BELIEF | {"r2_low": [0.94, 0.94]}, "fails"),
        ("belief-used", USED, "holds"),
        ("belief-used", USED | {"leace_low": [0.89, 0.99]}, "partly"),
        ("belief-used", USED | {"means_low": [0.5, 0.6]}, "fails"),  # no more than the placebos
        ("belief-used", USED | {"pairs": [99, 160]}, "short"),
        ("single-words", WORDS, "holds"),
        ("single-words", WORDS | {"slope": [0.89, 1.0]}, "partly"),
        ("single-words", WORDS | {"correlation_low": [0.5, 0.8]}, "fails"),
        ("single-words", WORDS | {"pairs": [600, 99]}, "short"),
    ],
)
def test_bounds(key, numbers, verdict):
    assert CRITERIA.grade(key, numbers) == verdict


def test_contrasts_are_taken_word_by_word():
    topics = np.array([[1.0, 1, 1, 0, 0], [0, 0, 1, 1, 1]])  # word 2 belongs to both
    subject = SimpleNamespace(pairs=PairClasses.of_sets(topics))
    table = np.arange(25.0).reshape(5, 5)
    found = word_contrasts(subject, table)
    assert found[0] == pytest.approx((1 + 2) / 2 - (3 + 4) / 2) and found[4] == pytest.approx((22 + 23) / 2 - (20 + 21) / 2)
    assert np.isnan(found[2])  # it shares a topic with every other word
    difference = group_difference(np.array([1.0, 2, 5, 7, np.nan]), np.array([1, 1, 0, 0, 0], bool), mechbp.rng(0, "d"))
    assert float(difference.mean) == -4.5 and difference.low >= -6 and difference.high <= -3 and difference.n == 4


def test_ratios_are_of_means_over_documents_with_both_classes():
    sums = np.zeros((3, 1, 1, len(CLASSES)))
    counts = np.zeros((3, len(CLASSES)))
    counts[:, SAME] = 2, 4, 5
    counts[:2, DIFF] = 2, 1  # the last document has one topic only
    sums[:, 0, 0, SAME] = 4, 16, 500
    sums[:2, 0, 0, DIFF] = 2, 2
    found = same_over_different(ClassAttention(sums, counts, np.zeros((2, 2)), np.zeros((2, 2))), mechbp.rng(0, "ratio"))
    assert float(found.mean) == pytest.approx((2 + 4) / (1 + 2)) and found.n == 2


def test_the_linear_rival_is_the_best_of_its_kind_and_not_exact():
    process = TopicModel.disjoint(2, 2, alpha=0.2, length=20)
    rng = mechbp.rng(0, "rival")

    def documents(n):
        tokens = process.sample(n, rng).tokens
        tokens[:, 0] = process.mask_token
        return HiddenWords.of(process, tokens)

    rival = LinearLogits.of(documents(3000))
    held_out = documents(1000)
    answers = rival.answers(held_out)
    np.testing.assert_allclose(answers.sum(axis=1), 1, rtol=0, atol=1e-9)
    exact = held_out.beliefs.predictive
    lost = kl_nats(exact, answers).mean()
    counts = held_out.histogram @ np.repeat(np.eye(2), 2, axis=0)
    contrasts = np.linspace(0.05, 1, 96)[:, None]
    topic = 1 / (1 + np.exp(-contrasts * (counts[:, 0] - counts[:, 1])))
    guesses = np.stack([topic, topic, 1 - topic, 1 - topic], axis=-1) / 2
    by_hand = min(kl_nats(exact, guess).mean() for guess in guesses)
    assert 0 < lost < 1.02 * by_hand + 1e-4 and lost > 0.9 * by_hand
