"""Matched pairs: a difference that cells make is gone, one that sharing makes stays, and resamples count pairs as they should."""

import numpy as np
import pytest

from mechbp.errors import InputError
from mechbp.methods.statistics.matched_pairs import (
    CrossedResampling,
    contrasts,
    draws_interval,
    matched_weights,
    over_repetitions,
    plain_weights,
)
from mechbp.randomness import rng


@pytest.fixture
def pairs():
    """2,000 pairs of 30 words in 10 passages; those that share lie mostly in low cells."""
    draw = rng(0, "pairs")
    first, second, passage = (draw.integers(n, size=2000) for n in (30, 30, 10))
    cells = draw.integers(8, size=2000)
    same = draw.random(2000) < 0.6 / (1 + cells)
    members = ((1, passage), (0, first), (0, second))
    return same, ~same & (draw.random(2000) < 0.9), cells, members


def sample_contrast(values, weights, members):
    (found,) = contrasts([(values, weights)], CrossedResampling.draw((30, 10), 1, rng(0)), members)
    return found.same[0], found.different[0]


def test_what_cells_make_is_gone_and_what_sharing_makes_stays(pairs):
    same, different, cells, members = pairs
    values = np.stack([1.0 + cells**2, 1.0 + cells**2 + 5 * same], axis=1)
    shared, other = sample_contrast(values, matched_weights(same, different, cells), members)
    np.testing.assert_allclose(shared - other, [0, 5], rtol=0, atol=1e-5)  # columns are float32
    shared, other = sample_contrast(values, plain_weights(same, different), members)
    assert (shared - other < [-5, 0]).all()
    np.testing.assert_allclose(shared, values[same].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(other, values[different].mean(axis=0), rtol=1e-6)


def test_each_cell_weighs_alike_in_both_kinds():
    same = np.array([1, 1, 1, 0, 0, 0, 0, 1], dtype=bool)
    cells = np.array([0, 0, 1, 0, 1, 1, 2, 3])
    found = matched_weights(same, ~same, cells)
    np.testing.assert_allclose(found.same, np.array([1, 1, 1, 0, 0, 0, 0, 0]) / 3, rtol=0, atol=1e-15)
    np.testing.assert_allclose(found.different, np.array([0, 0, 0, 4, 1, 1, 0, 0]) / 6, rtol=0, atol=1e-15)
    assert found.kept == 3 / 4  # the last one has nothing beside it
    given = matched_weights(same, ~same, cells, np.array([1.0, 3.0, 5.0, 5.0]))
    np.testing.assert_allclose(np.bincount(cells, given.same), [0.25, 0.75, 0, 0], rtol=0, atol=1e-15)
    np.testing.assert_allclose(np.bincount(cells, given.different), [0.25, 0.75, 0, 0], rtol=0, atol=1e-15)


def test_where_nothing_can_be_matched_nothing_is_said():
    same = np.array([True, False])
    weights = matched_weights(same, ~same, np.array([0, 1]))
    assert weights.kept == 0 and not weights.same.any()
    members = ((0, np.array([0, 1])),)
    (found,) = contrasts([(np.ones((2, 1)), weights)], CrossedResampling.draw((2,), 5, rng(0)), members)
    interval = draws_interval(found.difference, 2)
    assert np.isnan([interval.mean, interval.low, interval.high]).all()


def test_a_pair_of_both_kinds_is_refused():
    with pytest.raises(InputError, match="1 pairs are of both kinds"):
        matched_weights(np.array([True, False]), np.array([True, True]), np.array([0, 0]))
    with pytest.raises(InputError, match="cell 2 has no share in a reference of 2 cells"):
        matched_weights(np.array([True, False]), np.array([False, True]), np.array([0, 2]), np.ones(2))


def test_a_resample_counts_a_pair_as_often_as_all_that_it_is_made_of(pairs):
    same, different, cells, members = pairs
    resampling = CrossedResampling.draw((30, 10), 3, rng(1))
    values = rng(2).normal(size=(2000, 2)) + 3
    weights = matched_weights(same, different, cells)
    plain = plain_weights(same, different)
    found = contrasts([(values, weights), (values[:, :1], plain)], resampling, members)
    words, passages = (counts.astype(int) for counts in resampling.counts)
    assert (words.sum(axis=0) == 30).all() and (passages.sum(axis=0) == 10).all() and (words[:, 0] == 1).all()
    (_, passage), (_, first), (_, second) = members
    for draw in range(4):
        occurs = words[first, draw] * words[second, draw] * passages[passage, draw]
        for kind, own in (("same", weights.same), ("different", weights.different)):
            truth = (own * occurs) @ values / (own * occurs).sum()
            np.testing.assert_allclose(getattr(found[0], kind)[draw], truth, rtol=1e-4)
        truth = (occurs * same) @ values[:, 0] / (occurs * same).sum()
        np.testing.assert_allclose(found[1].same[draw, 0], truth, rtol=1e-4)


def test_intervals_know_that_pairs_of_one_word_are_one_piece_of_evidence():
    """Each of 20 words brings 500 pairs with the same value: the interval has to be that of 20 numbers, not of 10,000."""
    draw = rng(3)
    effect = draw.normal(size=20)
    word = np.repeat(np.arange(20), 500)
    same = np.tile(np.arange(500) < 250, 20)
    values = np.where(same, effect[word], 0.0)[:, None]
    resampling = CrossedResampling.draw((20,), 1000, draw)
    (found,) = contrasts([(values, plain_weights(same, ~same))], resampling, ((0, word),))
    interval = draws_interval(found.difference[:, 0], 20)
    expected = 2 * 1.96 * effect.std() / np.sqrt(20)
    assert abs((interval.high - interval.low) / expected - 1) < 0.1


def test_repetitions_are_averaged_and_drawn_anew():
    draws = np.broadcast_to(np.array([0.0, 1.0, 5.0])[:, None], (3, 401))
    mean = over_repetitions(draws, rng(4))
    assert mean[0] == 2.0 and set(np.round(3 * mean[1:]).astype(int)) <= {0, 1, 2, 3, 5, 6, 7, 10, 11, 15}
    assert len(np.unique(np.round(mean, 6))) > 5 and abs(mean[1:].mean() - 2.0) < 0.3


def test_what_is_kept_is_a_share_of_the_pairs_that_share():
    same, different = np.array([1, 1, 1, 0, 0], bool), np.array([0, 0, 0, 1, 1], bool)
    found = matched_weights(same, different, np.array([0, 0, 1, 0, 2]))
    assert found.kept == pytest.approx(2 / 3)
    assert (found.same.tolist(), found.different.tolist()) == ([0.5, 0.5, 0, 0, 0], [0, 0, 0, 1, 0])
