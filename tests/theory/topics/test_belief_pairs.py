"""Pairs of documents and single exchanged words: what exact inference must answer, checked against counts worked out by hand."""

import numpy as np
import pytest

import mechbp
from mechbp.divergence import kl_nats
from mechbp.errors import InputError, TooFewSequences
from mechbp.processes.topics.topic_model import TopicModel
from mechbp.theory.topics.belief_pairs import belief_pairs
from mechbp.theory.topics.exchanged_words import exchanged_words
from mechbp.theory.topics.hidden_words import HiddenWords

LENGTH = 12
DISJOINT = TopicModel.disjoint(3, 4, alpha=0.3, length=LENGTH)
RING = TopicModel.ring(3, 4, 2, 0.3, alpha=0.3, length=LENGTH)
MASK, PAD = 12, 13


def shown(process, n=400, hidden=0.25, label="shown"):
    rng = mechbp.rng(0, label)
    tokens = process.sample(n, rng).tokens
    hide = rng.random(tokens.shape) < hidden
    hide[:, 0] = True
    return np.where(hide, MASK, tokens)


def by_hand(ids):
    """P(word) of a hidden word for disjoint topics: smoothed counts of topics."""
    topic = np.where(ids < MASK, ids // 4, -1)
    counts = (topic[:, :, None] == np.arange(3)).sum(axis=1)
    return np.repeat((counts + 0.3) / (counts.sum(axis=1, keepdims=True) + 0.9), 4, axis=1) / 4


def test_hidden_words_have_the_answer_of_the_words_shown():
    ids = shown(DISJOINT)
    ids[:, -1] = PAD  # no word at all: neither evidence nor asked
    found = HiddenWords.of(DISJOINT, ids)
    np.testing.assert_allclose(found.beliefs.predictive, by_hand(ids), rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.unigram, np.full(12, 1 / 12), rtol=0, atol=1e-12)
    assert (found.histogram.sum(axis=1) == (ids < MASK).sum(axis=1)).all() and found.histogram[3, 5] == (ids[3] == 5).sum()
    np.testing.assert_allclose(found.learnable_nats, kl_nats(by_hand(ids), np.full((400, 12), 1 / 12)), rtol=0, atol=1e-12)
    answers = np.full((*ids.shape, 12), 1 / 12)
    answers[:, 0] = by_hand(ids)  # the exact answer at one hidden word, the unigram at the others
    share = (found.hidden.sum(axis=1) - 1) / found.hidden.sum(axis=1)
    np.testing.assert_allclose(found.kl_nats(answers), share * found.learnable_nats, rtol=0, atol=1e-12)
    with pytest.raises(InputError, match="document 2 hides no word"):
        HiddenWords.of(DISJOINT, np.where(np.arange(400)[:, None] == 2, 1, ids))
    with pytest.raises(InputError, match="document 2 hides no word"):  # PAD hides none: there is no word under it
        HiddenWords.of(DISJOINT, np.where((np.arange(400)[:, None] == 2) & (ids == MASK), MASK + 1, ids))


@pytest.mark.parametrize("everywhere", [False, True])
def test_pairs_ask_what_exact_inference_answers(everywhere):
    ids = shown(DISJOINT)
    pairs = belief_pairs(DISJOINT, ids, 60, everywhere=everywhere)
    assert len(pairs) == 60 and (pairs.query == 0).all()
    np.testing.assert_allclose(pairs.before, by_hand(pairs.base), rtol=0, atol=1e-12)
    np.testing.assert_allclose(pairs.expected, by_hand(pairs.source), rtol=0, atol=1e-12)
    np.testing.assert_allclose(pairs.without, np.full((60, 12), 1 / 12), rtol=0, atol=1e-12)
    assert (kl_nats(pairs.expected, pairs.before) >= 0.02).all()
    rows = {row.tobytes(): number for number, row in enumerate(ids)}
    numbers = [(rows[one.tobytes()], rows[other.tobytes()]) for one, other in zip(pairs.base, pairs.source, strict=True)]
    assert all(one < 200 <= other for one, other in numbers)  # receivers lend nothing
    assert pairs.positions.sum() == (60 * LENGTH if everywhere else 60) and pairs.positions[:, 0].all()
    if everywhere:
        assert pairs.bystander is None
    else:
        assert (pairs.base[np.arange(60), pairs.bystander] == MASK).all() and (pairs.bystander > 0).all()
        np.testing.assert_array_equal(pairs.bystander_answer, pairs.before)


def test_pairs_that_cannot_be_told_apart_are_refused():
    with pytest.raises(TooFewSequences, match="only 0 of 4 pairs"):
        belief_pairs(DISJOINT, np.full((8, LENGTH), MASK), 5)
    with pytest.raises(InputError, match="hide the word at position 0"):
        belief_pairs(DISJOINT, np.zeros((8, LENGTH), np.int64), 5)


@pytest.mark.parametrize("process", [DISJOINT, RING], ids=["disjoint", "ring"])
def test_one_word_is_exchanged_for_a_stranger(process):
    ids = shown(process)
    found = exchanged_words(process, ids, 1, mechbp.rng(0, "exchange"))
    assert ((found.before != found.after).sum(axis=1) == 1).all() and (found.before[:, 0] == MASK).all()
    np.testing.assert_array_equal(found.before[:, 1], found.old)
    np.testing.assert_array_equal(found.after[:, 1], found.new)
    topics = process.topics_of_word
    assert not (topics[found.old] & topics[found.new]).any()
    kept = (np.sort(ids, axis=1)[:, None] == np.sort(found.before, axis=1)).all(axis=2).any(axis=1)
    assert kept.mean() > 0.9  # the same words in another order
    exact = (process.beliefs(np.where(tokens < MASK, tokens, -1)).predictive for tokens in (found.before, found.after))
    (before, after), rows = exact, np.arange(len(found))
    odds = [np.log(values[rows, found.new]) - np.log(values[rows, found.old]) for values in (before, after)]
    np.testing.assert_allclose(found.exact_change, odds[1] - odds[0], rtol=0, atol=1e-12)
    assert (found.exact_change > 0).all()


def test_exchanges_of_disjoint_topics_follow_the_counts():
    found = exchanged_words(DISJOINT, shown(DISJOINT), 1, mechbp.rng(0, "exchange"))
    counts = ((np.where(found.before < MASK, found.before // 4, -1))[:, :, None] == np.arange(3)).sum(axis=1) + 0.3
    rows = np.arange(len(found))
    old, new = (counts[rows, words // 4] for words in (found.old, found.new))
    np.testing.assert_allclose(found.exact_change, np.log((new + 1) / new * old / (old - 1)), rtol=0, atol=1e-12)


def test_all_strangers_are_as_likely():
    ids = np.tile(np.array([[MASK, 0, 1]]), (6000, 1))
    new = exchanged_words(DISJOINT, ids, 2, mechbp.rng(0, "exchange")).new
    counts = np.bincount(new, minlength=12)
    assert (counts[:4] == 0).all() and np.abs(counts[4:] - 750).max() < 4 * np.sqrt(750)


def test_exchanges_need_a_word_that_may_change():
    with pytest.raises(InputError, match="no document shows a word"):
        exchanged_words(DISJOINT, np.full((3, 4), MASK), 1, mechbp.rng(0, "x"))
    with pytest.raises(InputError, match="position must be 1..3"):
        exchanged_words(DISJOINT, np.full((3, 4), MASK), 0, mechbp.rng(0, "x"))
