"""The value matrix of the first stage: closed form, pseudo-inverse and finite documents agree, and the printed constants hold."""

import numpy as np
import pytest

import mechbp
from mechbp.errors import InputError, LimitExceeded
from mechbp.theory.topics.setting import TopicSetting
from mechbp.theory.topics.values import (
    block_values,
    finite_length_values,
    least_squares_values,
    optimal_values,
    setting_values,
)

DEFAULT = TopicSetting(10, 10, 2)


def classes(matrix, setting):
    """Means over the diagonal, other words of a topic, words of others, and MASK; and the gap of whole blocks."""
    topic = np.arange(setting.n_words) // setting.words_per_topic
    same = topic[:, None] == topic
    own = np.eye(setting.n_words, dtype=bool)
    words = matrix[:, :-1]
    means = [words[own].mean(), words[same & ~own].mean(), words[~same].mean(), matrix[:, -1].mean()]
    return [*means, words[same].mean() - words[~same].mean()]


def test_printed_constants():
    found = optimal_values(10, 10)
    assert found.same == pytest.approx(0.108020, abs=5e-7)
    assert found.different == pytest.approx(-0.007587, abs=5e-7)
    assert found.mask == pytest.approx(0.054191, abs=5e-7)
    assert found.contrast == pytest.approx(0.115607, abs=5e-7)
    assert (DEFAULT.genuine, DEFAULT.masked) == pytest.approx((0.865, 0.12), abs=1e-15)
    assert DEFAULT.genuine + DEFAULT.noise == pytest.approx(0.88, abs=1e-15)


@pytest.mark.parametrize("tau", [2, 4])
def test_the_pseudo_inverse_over_all_supports_is_the_closed_form_whatever_tau(tau):
    found = least_squares_values(TopicSetting(10, 10, tau))
    np.testing.assert_allclose(found, optimal_values(10, 10).matrix(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "setting",
    [
        TopicSetting(4, 3, 2, 0.4, 0.3, 0.25),
        TopicSetting(5, 1, 1, 0.9, 0.05, 0.6),
        TopicSetting(3, 7, 2, 0.15, 0.5, 0.5),
        TopicSetting(6, 2, 3, keys="unselected"),
    ],
)
def test_other_sizes_and_rates(setting):
    expected = setting_values(setting).matrix()
    np.testing.assert_allclose(least_squares_values(setting), expected, rtol=0, atol=1e-12)


def test_hidden_positions_make_plain_blocks():
    setting = TopicSetting(6, 4, 3, keys="unselected")
    np.testing.assert_allclose(setting_values(setting).matrix(), block_values(setting).matrix(), rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("length", "penalty", "printed"),
    [
        (125, 0.0, (0.2164, 0.1021, -0.0015, 0.0100, 0.1150)),
        (1_000, 0.0, (0.2163, 0.1026, -0.0016, 0.0100, 0.1155)),
        (10_000, 0.0, (0.2163, 0.1027, -0.0016, 0.0100, 0.1156)),
        (10_000, 1e-5, (0.1179, 0.1087, -0.0056, 0.0399)),
        (10_000, 1e-4, (0.1061, 0.1051, -0.0070, 0.0519)),
    ],
)
def test_printed_table_of_the_order_of_limits(length, penalty, printed):
    found = classes(finite_length_values(DEFAULT, length, penalty), DEFAULT)
    np.testing.assert_allclose(found[: len(printed)], printed, rtol=0, atol=0.51e-4)


def test_long_documents_with_a_penalty_reach_the_closed_form():
    found = finite_length_values(DEFAULT, 10**10, 1e-7)
    np.testing.assert_allclose(found, optimal_values(10, 10).matrix(), rtol=0, atol=1e-5)


def test_finite_documents_against_least_squares_on_all_documents_of_three_positions():
    setting = TopicSetting(2, 1, 1, 0.4, 0.3, 0.5)
    penalty = 0.02
    second = penalty * np.eye(3)
    crossed = np.zeros((2, 3))
    for topic in range(2):  # one word per topic and one topic per document: every word is this one
        drawn = np.eye(3)[topic]
        random = np.array([0.5, 0.5, 0.0])
        selected = 0.3 * drawn + 0.5 * random + 0.2 * np.eye(3)[2]
        anywhere = 0.6 * drawn + 0.4 * selected
        for own in range(3):
            for other in range(3):
                for third in range(3):
                    chance = selected[own] * anywhere[other] * anywhere[third] / 2
                    seen = np.bincount([own, other, third], minlength=3) / 3
                    second += chance * np.outer(seen, seen)
                    crossed += chance * np.outer(drawn[:2], seen)
    np.testing.assert_allclose(finite_length_values(setting, 3, penalty), crossed @ np.linalg.inv(second), rtol=0, atol=1e-12)


def test_finite_documents_of_several_words_per_topic_against_sampled_ones():
    setting = TopicSetting(3, 2, 2, 0.5, 0.3, 0.3)
    rng = mechbp.rng(0, "finite documents")
    n, length = 200_000, 4
    support = np.array([[0, 1], [0, 2], [1, 2]])[rng.integers(3, size=n)]
    topic = np.take_along_axis(support, rng.integers(2, size=(n, length)), axis=1)
    words = 2 * topic + rng.integers(2, size=(n, length))
    selected = rng.random((n, length)) < 0.5
    selected[:, 0] = True  # the query
    fate = rng.random((n, length))
    shown = np.where(fate < 0.3, words, np.where(fate < 0.6, rng.integers(6, size=(n, length)), 6))
    shown = np.where(selected, shown, words)
    seen = np.eye(7)[shown].mean(axis=1)
    target = np.eye(6)[words[:, 0]]
    fitted = np.linalg.solve(seen.T @ seen / n + 0.01 * np.eye(7), seen.T @ target / n).T
    np.testing.assert_allclose(finite_length_values(setting, length, 0.01), fitted, rtol=0, atol=0.02)
    assert np.abs(fitted).max() > 0.3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TopicSetting(0, 3), "need topics and words"),
        (lambda: TopicSetting(3, 3, 4), "need 1 to 3 topics per document, got 4"),
        (lambda: TopicSetting(3, 3, 1, 0.15, 0.6, 0.5), "keep \\+ random <= 1"),
        (lambda: TopicSetting(3, 3, 1, 1.0, 0.0, 0.5), "no genuine word"),
        (lambda: TopicSetting(3, 3, keys="some"), "keys must be one of all, unselected"),
        (lambda: TopicSetting(3, 3, n_ids=8), "at least the 9 words"),
        (lambda: finite_length_values(DEFAULT, 1), "length >= 2"),
        (lambda: optimal_values(3, 3, keep=-0.1), "rates must be shares"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_too_many_supports_are_refused_before_they_are_listed():
    with pytest.raises(LimitExceeded, match="155,117,520 sets of 15 out of 30"):
        TopicSetting(30, 2, 15).supports()


def test_topic_products_are_moments_of_the_supports():
    for setting in (TopicSetting(5, 2, 3), TopicSetting(4, 2, 1), TopicSetting(3, 1, 3), TopicSetting(1, 2, 1)):
        theta = setting.supports() / setting.topics_per_document
        np.testing.assert_allclose(setting.topic_products(), theta.T @ theta / len(theta), rtol=0, atol=1e-15)
