"""Attention of the head that owns each answer, against a walk through every question."""

import numpy as np
import pytest

from mechbp.errors import InputError
from mechbp.processes.sorting.sorted_lists import SortedLists
from mechbp.randomness import rng
from mechbp.theory.sorting.owner_attention import owner_attention

LISTS = SortedLists(7, 3)


def random_case(heads=3, n=40, lists=LISTS):
    tokens = lists.sample(n, rng(0)).tokens
    scores = rng(1).standard_normal((n, heads, lists.n_tokens, lists.n_tokens))
    weights = np.tril(np.exp(scores))
    owner = rng(2).integers(heads, size=lists.vocab_size)
    return tokens, weights / weights.sum(axis=-1, keepdims=True), owner


@pytest.mark.parametrize("repeats", [False, True])
def test_a_walk_through_every_question_finds_the_same(repeats):
    lists = SortedLists(7, 3, repeats=repeats)
    tokens, patterns, owner = random_case(lists=lists)
    found = owner_attention(patterns, tokens, lists, owner)
    for row, sequence in enumerate(tokens):
        values = sequence[:3]
        for asked in range(3):
            answer = sequence[4 + asked]
            current = -1 if asked == 0 else sequence[3 + asked]
            weights = patterns[row, owner[answer], 3 + asked, :3]
            best, rest = weights[values == answer].max(), weights[values != answer]
            assert found.first[row, asked] == (best > rest.max(initial=-1))
            above = (values > current) | (values == answer)
            assert found.larger[row, asked] == pytest.approx(weights[above].sum() / weights.sum(), abs=1e-12)
            assert found.uniform_first[row, asked] == pytest.approx((values == answer).mean())
            assert found.uniform_larger[row, asked] == pytest.approx(above.mean())


def test_means_by_position_leave_out_lists_without_attention():
    tokens, patterns, owner = random_case()
    patterns[::3, :, :, :3] = 0
    patterns[::3, :, :, 3] = 1  # all on SEP
    found = owner_attention(patterns, tokens, LISTS, owner)
    assert np.isnan(found.larger[::3]).all() and not np.isnan(found.larger[1::3]).any()
    table = found.to_dataframe()
    np.testing.assert_allclose(table["larger"], np.nanmean(found.larger, axis=0), rtol=0, atol=1e-12)
    np.testing.assert_allclose(table["first"], found.first.mean(axis=0), rtol=0, atol=1e-12)
    assert f"attention to larger values {np.nanmean(found.larger):.3g}"[:32] in found.summary()


def test_ties_are_no_first_place_and_lists_without_attention_say_nothing():
    tokens, patterns, owner = random_case()
    patterns = np.zeros_like(patterns)
    patterns[..., 0] = patterns[..., 1] = 0.5
    assert not owner_attention(patterns, tokens, LISTS, owner).first.any()
    patterns[..., :3] = 0
    patterns[..., 3] = 1
    assert np.isnan(owner_attention(patterns, tokens, LISTS, owner).larger).all()


@pytest.mark.parametrize("owner", [np.zeros(6, int), np.full(7, 3), np.full(7, -1)])
def test_owners_that_do_not_fit_are_refused(owner):
    tokens, patterns, _ = random_case()
    with pytest.raises(InputError, match="need a head among 0..2 for each of 7 values"):
        owner_attention(patterns, tokens, LISTS, owner)
