"""One factor on the logits, for another cross-entropy."""

import numpy as np
import pytest

from mechbp.errors import InputError
from mechbp.methods.statistics.temperature import matching_factor, scaled_cross_entropy
from mechbp.randomness import rng

TWO = np.array([[3.0, 0.0], [1.0, 2.0]])
ANSWERS = np.array([0, 0])


def test_cross_entropy_by_hand():
    expected = (np.log(1 + np.exp(-6)) + np.log(1 + np.exp(2))) / 2
    assert scaled_cross_entropy(TWO, ANSWERS, 2.0) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("factor", [0.05, 0.3, 0.9, 1.0])
def test_a_factor_is_found_again(factor):
    logits = rng(0).standard_normal((200, 5)) + 6 * np.eye(5)[rng(1).integers(5, size=200)]
    answers = logits.argmax(axis=1)
    target = scaled_cross_entropy(logits, answers, factor)
    assert matching_factor(logits, answers, target) == pytest.approx(factor, rel=1e-6)


def test_less_than_the_least_is_none_and_more_confidence_is_found():
    logits = 0.1 * np.array([[2.0, 0.0]] * 9 + [[2.0, 0.0]])
    answers = np.array([0] * 9 + [1])
    least = -(0.9 * np.log(0.9) + 0.1 * np.log(0.1))  # the share of right answers as probability
    assert matching_factor(logits, answers, least - 0.01) is None
    target = least + 0.02
    found = matching_factor(logits, answers, target)
    assert 1 < found < np.log(9) / 0.2 and scaled_cross_entropy(logits, answers, found) == pytest.approx(target)
    assert matching_factor(logits, answers, np.log(2) + 0.01) is None  # beyond no confidence at all


def test_refusals(unchecked):
    for logits, answers in ((TWO, ANSWERS[:1]), (TWO[0], ANSWERS), (TWO + np.inf, ANSWERS)):
        with pytest.raises(InputError, match="matching_factor"):
            matching_factor(logits, answers, 1.0)
