"""Attention by class of pair, against loops over positions; patterns made from class weights."""

import numpy as np
import pytest

from mechbp.randomness import rng
from mechbp.theory.topics.document_attention import N_CLASSES, TokenPairs, attention_by_class, pattern_of_classes

TOPIC = np.array([0, 0, 1, 1])
SHARES = TOPIC[:, None] == TOPIC
SHOWN = np.array([[0, 1, 2, 4, 0, 5], [3, 3, 4, 1, 5, 5]])
SEEN = np.array([[1, 1, 1, 1, 1, 0], [1, 0, 1, 1, 0, 0]], bool)


def the_class(query, key):
    if query >= 4:
        return 4 if key < 4 else 5
    if key >= 4:
        return 3
    return 0 if query == key else 1 if TOPIC[query] == TOPIC[key] else 2


def test_classes_and_means_equal_loops():
    pairs = TokenPairs.of(SHOWN, SHARES, SEEN)
    pattern = rng(0).dirichlet(np.ones(6), size=(2, 3, 6))
    queries = SEEN & (SHOWN < 4)
    found = attention_by_class(pattern, pairs, queries)
    everything = attention_by_class(pattern, pairs)
    for row in range(2):
        for head in range(3):
            for code in range(N_CLASSES):
                for asked, result in ((queries, found), (SEEN, everything)):
                    values = [
                        pattern[row, head, q, k]
                        for q in range(6)
                        for k in range(6)
                        if asked[row, q] and SEEN[row, k] and the_class(SHOWN[row, q], SHOWN[row, k]) == code
                    ]
                    expected = np.mean(values) * SEEN[row].sum() if values else np.nan
                    np.testing.assert_allclose(result[row, head, code], expected, rtol=1e-12)


def test_uniform_attention_is_one_in_every_class():
    pairs = TokenPairs.of(SHOWN, SHARES, SEEN)
    uniform = pattern_of_classes(np.ones((1, N_CLASSES)), pairs)
    found = attention_by_class(uniform, pairs)
    np.testing.assert_allclose(found[~np.isnan(found)], 1, rtol=1e-12)
    assert (uniform[:, 0][:, :, :][np.broadcast_to(~SEEN[:, None], (2, 6, 6))] == 0).all()


def test_patterns_keep_the_ratios_of_their_weights():
    pairs = TokenPairs.of(SHOWN, SHARES, SEEN)
    weights = np.array([[5.0, 3.0, 1.0, 2.0, np.nan, 1.0]])
    pattern = pattern_of_classes(weights, pairs)
    np.testing.assert_allclose(pattern.sum(axis=-1), 1, rtol=1e-12)
    first = pattern[0, 0, 0]
    assert first[1] / first[2] == pytest.approx(3)
    assert first[0] == first[4] == pytest.approx(5 * first[2])
    assert first[3] / first[2] == pytest.approx(2)
    assert pattern[0, 0, 3, 0] == pytest.approx(pattern[0, 0, 3, 3])
