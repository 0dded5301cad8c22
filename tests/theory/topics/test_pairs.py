"""Pairs of words by topic, and the test that permutes labels: against loops, and where there is nothing to find."""

import itertools

import numpy as np
import pytest

from mechbp.errors import InputError
from mechbp.randomness import rng
from mechbp.theory.topics.pairs import PairClasses, cosine_table, topic_label_test

TOPIC = np.repeat([0, 1, 2], [2, 3, 2])


def test_classes_part_all_pairs():
    classes = PairClasses.of(TOPIC)
    total = classes.own.astype(int) + classes.same + classes.different
    assert (total == 1).all()
    assert classes.own.sum() == 7 and classes.same.sum() == 2 + 6 + 2
    sets = PairClasses.of_sets((np.arange(3)[:, None] == TOPIC).astype(float))
    for part in ("own", "same", "different"):
        np.testing.assert_array_equal(getattr(sets, part), getattr(classes, part))


def test_words_of_several_topics_are_of_the_same_topic_where_their_sets_meet():
    classes = PairClasses.of_sets(np.array([[0.5, 0.5, 0.0, 0.0], [0.0, 0.3, 0.7, 0.0], [0.0, 0.0, 0.0, 1.0]]))
    assert classes.same[0, 1] and classes.same[1, 2] and classes.different[0, 2] and classes.different[3].sum() == 3


def test_means_and_difference_equal_loops():
    table = rng(0).normal(size=(7, 7))
    found = {"own": [], "same": [], "different": []}
    for i, j in itertools.product(range(7), repeat=2):
        found["own" if i == j else "same" if TOPIC[i] == TOPIC[j] else "different"].append(table[i, j])
    expected = [np.mean(found[name]) for name in ("own", "same", "different")]
    classes = PairClasses.of(TOPIC)
    np.testing.assert_allclose(classes.means(table), expected, rtol=0, atol=1e-14)
    assert classes.difference(table) == pytest.approx(expected[1] - expected[2])


def test_p_is_the_share_of_all_assignments():
    topic = np.array([0, 0, 1, 1])
    table = rng(1).normal(size=(4, 4))
    seen = PairClasses.of(topic).difference(table)
    every = [PairClasses.of(np.array(labels)).difference(table) for labels in itertools.permutations(topic)]
    share = np.mean([value >= seen - 1e-12 for value in every])
    assert topic_label_test(table, topic, rng(2), 6000) == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_p_does_not_depend_on_the_unit_of_the_table(unit):
    topic, table = np.repeat(np.arange(3), 4), rng(5).normal(size=(12, 12))
    assert topic_label_test(unit * table, topic, rng(2), 500) == topic_label_test(table, topic, rng(2), 500)


def test_p_is_small_for_blocks_and_uniform_for_noise():
    blocks = (TOPIC[:, None] == TOPIC) + 0.01 * rng(3).normal(size=(7, 7))
    assert topic_label_test(blocks, TOPIC, rng(4), 5000) < 0.02  # 210 ways to label, of which few give these blocks
    assert topic_label_test(-blocks, TOPIC, rng(4), 500) > 0.9
    wide = np.repeat(np.arange(5), 4)
    assert topic_label_test(1.0 * (wide[:, None] == wide), wide, rng(4), 99) == 1 / 100  # no shuffle finds the blocks again
    p = [topic_label_test(rng(5, seed).normal(size=(20, 20)), wide, rng(6, seed), 200) for seed in range(200)]
    assert 0.42 < np.mean(p) < 0.58 and np.mean(np.array(p) < 0.1) < 0.17


def test_the_diagonal_does_not_count():
    table = rng(7).normal(size=(7, 7))
    moved = table + 100 * np.diag(np.arange(7.0))
    assert topic_label_test(table, TOPIC, rng(8), 300) == topic_label_test(moved, TOPIC, rng(8), 300)


@pytest.mark.parametrize("topic", [np.zeros(4, int), np.arange(4)])
def test_labels_without_a_class_are_refused(topic):
    with pytest.raises(InputError, match="other labels"):
        topic_label_test(np.zeros((4, 4)), topic, rng(0))


def test_cosines():
    found = cosine_table(np.array([[3.0, 4.0], [6.0, 8.0], [-4.0, 3.0], [0.0, 0.0]]))
    np.testing.assert_allclose(found[:3, :3], [[1, 1, 0], [1, 1, 0], [0, 0, 1]], atol=1e-15)
    assert (found[3] == 0).all()
