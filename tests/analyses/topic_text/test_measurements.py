"""Topics in text: pairs, matching and controls, on text and attention made up so that the truth is known."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("gensim", reason="the page about topics in text needs pip install 'mechbp[text]'")

from analyses.topic_text import attention, checks, comparison, embeddings, material
from analyses.topic_text.comparison import OWN, SHUFFLED, TRAINED, UNMATCHED
from analyses.topic_text.corpus import NO_WORD, PASSAGE
from analyses.topic_text.topics import share_topic
from mechbp.methods.statistics.matched_pairs import CrossedResampling
from mechbp.randomness import rng

N_WORDS = 40
N_TOPICS = 5


@pytest.fixture(scope="module")
def positions(passages):
    return attention.word_positions(passages)


def pairs_of(passages, positions, known, values, resamples=20):
    return attention.position_pairs(passages, positions, known, values, rng(2), resamples)


def test_pairs_are_all_positions_of_different_words(passages, positions):
    brute = {
        (p, q, k)
        for p in range(3)
        for q in range(PASSAGE)
        for k in range(PASSAGE)
        if NO_WORD not in (passages.words[p, q], passages.words[p, k]) and passages.words[p, q] != passages.words[p, k]
    }
    found = set(zip(*(part.tolist() for part in (positions.passage, positions.query, positions.key)), strict=True))
    assert {pair for pair in found if pair[0] < 3} == brute


def test_pairs_share_a_topic_where_sets_meet(fit):
    topics = fit.topics_of(0.3)
    assert topics[0].nonzero()[0].tolist() == [0, 1] and topics[1].nonzero()[0].tolist() == [1]
    first, second = np.meshgrid(np.arange(N_WORDS), np.arange(N_WORDS))
    brute = [[bool(set(topics[a].nonzero()[0]) & set(topics[b].nonzero()[0])) for a in range(N_WORDS)] for b in range(N_WORDS)]
    assert (share_topic(topics, first, second) == brute).all()
    many = np.zeros((2, 60), dtype=bool)
    many[0, 59] = many[1, 58] = True
    assert not share_topic(many, np.array([0]), np.array([1]))[0] and share_topic(many, np.array([0]), np.array([0]))[0]


def test_words_without_topics_are_in_neither_kind(passages, positions, known, fit):
    pairs = pairs_of(passages, positions, known, np.empty((len(positions.query), 0)))
    ((same, different),) = comparison.sharing(fit, pairs, [0.7])
    twice = (pairs.first % 4 == 0) | (pairs.second % 4 == 0)
    assert not (same | different)[twice].any() and (same | different)[~twice].all()
    assert (same[~twice] == (pairs.first % 5 == pairs.second % 5)[~twice]).all()


def test_distances_are_matched_one_by_one_before_and_after():
    signed = np.array([s for s in range(-127, 128) if s])
    cells = attention.distance_cells(signed)
    near = np.abs(signed) <= attention.EXACT
    assert len(np.unique(cells[near])) == near.sum() == 2 * attention.EXACT
    assert not set(cells[near]) & set(cells[~near])
    for cell in np.unique(cells[~near]):
        members = signed[cells == cell]
        assert np.ptp(members) == len(members) - 1 <= attention.STEP - 1 and (np.sign(members) == np.sign(members[0])).all()
    names = [attention.band_of(np.array([d]))[0] for d in (1, 2, 3, 4, 7, 8, 63, 64, 127)]
    assert names == [0, 1, 1, 2, 2, 3, 5, 6, 6]


def test_a_cell_is_one_distance_and_the_frequencies_of_both_words(passages, positions, known):
    pairs = pairs_of(passages, positions, known, np.empty((len(positions.query), 0)))
    band = known.frequency_band
    signed = attention.distance_cells(positions.key - positions.query)
    told = np.stack([signed, band[pairs.first], band[pairs.second]], axis=1)
    assert (pairs.first == passages.words[positions.passage, positions.query]).all()
    assert (
        len(np.unique(told, axis=0))
        == len(np.unique(np.column_stack([told, pairs.cells]), axis=0))
        == len(np.unique(pairs.cells))
    )


def test_attention_of_position_alone_has_ratio_1_when_matched(passages, positions, known):
    """Attention that only neighbours get is far from even in pairs that share, for words of a topic stand together."""
    signed = positions.key - positions.query
    head = np.stack([np.abs(signed) == 1, signed == 3, (np.abs(signed) <= 12) / (1 + np.abs(signed))], axis=1).astype(float)
    pairs = pairs_of(passages, positions, known, head)
    heads, by_band = attention.main_ratios(
        pairs, replace(pairs, values=head[:, 2:]), attention.band_of(np.abs(signed)), known, OWN
    )  # fmt: skip
    np.testing.assert_allclose(heads[TRAINED][0, 0], 1, rtol=1e-3)
    assert (heads[UNMATCHED][0, 0] > 1.5).all()
    np.testing.assert_allclose(by_band[TRAINED][0, 0, :4], 1, rtol=1e-3)


def test_planted_ratios_are_found(passages, positions, known):
    found, empty, unmatched = checks.planted_ratios(
        pairs_of(passages, positions, known, np.empty((len(positions.query), 0)), 1), positions, known
    )  # fmt: skip
    np.testing.assert_allclose(found, checks.PLANTED, rtol=0, atol=0.03)
    np.testing.assert_allclose(empty, 1, rtol=0, atol=0.02)
    assert (unmatched > 1.2).all()


def test_shuffled_topics_are_others_among_words_as_frequent(known, passages, fit):
    band = known.frequency_band
    assert np.bincount(band).min() > 0 and len(np.unique(band)) == material.BANDS
    assert [passages.counts[band == b].max() < passages.counts[band == b + 1].min() for b in range(4)] == [True] * 4
    order = material.exchanged(band, rng(3))
    assert (band[order] == band).all() and sorted(order) == list(range(N_WORDS)) and (order != np.arange(N_WORDS)).sum() > 20
    (control,) = known.shuffled
    assert (control.topic_given_word != fit.topic_given_word).any(axis=1).sum() > 15


def test_effects_have_their_sign_and_vanish_when_topics_are_shuffled(passages, positions, known, fit):
    """Pairs that share have the value 3, others 1."""
    pairs = pairs_of(passages, positions, known, np.empty((len(positions.query), 0)))
    ((same, _),) = comparison.sharing(fit, pairs, [0.3])
    pairs = replace(pairs, values=np.where(same, 3.0, 1.0)[:, None])
    found = comparison.compare_over_fits(pairs, known, (0.3, 0.5), OWN)
    assert found.same[TRAINED].shape == (1, 21, 2, 1) and found.n_same[0, 0] == same.sum()
    np.testing.assert_allclose(found.same[TRAINED][:, :, 0], 3, rtol=1e-5)
    np.testing.assert_allclose(found.different[TRAINED][:, :, 0], 1, rtol=1e-5)
    np.testing.assert_allclose(found.steady_same[TRAINED][:, :, 0], 3, rtol=1e-5)
    apart = (found.same[SHUFFLED] - found.different[SHUFFLED])[0, 0, 0, 0]
    assert abs(apart) < 0.7


def test_thresholds_are_compared_on_the_same_cells(passages, positions, known, fit):
    """A value of the cell alone has the same mean at every threshold, and in both kinds."""
    pairs = pairs_of(passages, positions, known, np.empty((len(positions.query), 0)))
    pairs = replace(pairs, values=(pairs.coarse**1.5)[:, None])
    found = comparison.compare_over_fits(pairs, known, (0.1, 0.5, 0.7), (TRAINED,))
    steady = [found.steady_same[TRAINED][0, 0, :, 0], found.steady_different[TRAINED][0, 0, :, 0]]
    np.testing.assert_allclose(steady, steady[0][0], rtol=1e-4)
    assert np.ptp(found.same[TRAINED][0, 0, :, 0]) > 1e-2 * steady[0][0]


def test_the_topical_head_is_found(passages, positions, known, fit):
    pairs = pairs_of(passages, positions, known, np.empty((len(positions.query), 0)))
    ((same, _),) = comparison.sharing(fit, pairs, [0.5])
    even = positions.passage % 2 == 0
    values = np.stack([np.ones(len(same)), np.where(same & even, 2.0, 1.0), np.where(same & ~even, 9.0, 1.0)], axis=1)
    np.testing.assert_allclose(attention.topical_heads(replace(pairs, values=values), known, even), [1, 2, 1], rtol=1e-6)
    nobody = np.zeros(len(same), dtype=bool)
    assert attention.topical_heads(replace(pairs, values=values), known, nobody).tolist() == [1, 1, 1]


def test_similarities_are_those_of_each_pair(known, monkeypatch):
    vectors = rng(4).normal(size=(N_WORDS, 6))
    monkeypatch.setattr(embeddings, "static_embeddings", lambda encoder, passages: vectors)
    words = np.array([3, 30, 12, 7])
    pairs = embeddings.word_pairs(words, known, None, CrossedResampling.draw((4,), 2, rng(0)))
    assert list(zip(pairs.first, pairs.second, strict=True)) == [(3, 30), (3, 12), (3, 7), (30, 12), (30, 7), (12, 7)]
    for row, (a, b) in enumerate(zip(vectors[pairs.first], vectors[pairs.second], strict=True)):
        np.testing.assert_allclose(pairs.values[row], [a @ b / np.sqrt((a @ a) * (b @ b)), a @ b], rtol=1e-12)
    bands = [tuple(sorted(known.frequency_band[[a, b]])) for a, b in zip(pairs.first, pairs.second, strict=True)]
    assert all((pairs.cells[i] == pairs.cells[j]) == (bands[i] == bands[j]) for i in range(6) for j in range(6))
