"""No list is in two splits, in whatever order it stands, and the split knows nothing of a list but its name."""

import hashlib
from itertools import combinations

import numpy as np
import pytest

from mechbp.errors import InputError
from mechbp.processes.sorting.sorted_lists import SortedLists
from mechbp.processes.sorting.splits import EIGHTHS, in_split
from mechbp.randomness import rng

TESTED_OF_EIGHT = [[0, 2, 6], [0, 3, 5], [0, 3, 6], [3, 5, 6], [4, 5, 6]]


def digests(tokens, length):
    """SHA-256 of every list in ascending order: another hash than the one that decides."""
    return {hashlib.sha256(bytes(sorted(row[:length]))).hexdigest() for row in tokens.tolist()}


@pytest.mark.parametrize("design", [{}, {"vocab_size": 12, "length": 5}, {"window": 21}, {"gap": 4}, {"repeats": True}])
def test_splits_share_no_list(design):
    """Of 12 values nearly all lists of 5 come up, so that any overlap would."""
    lists = SortedLists(**design)
    drawn = [digests(lists.sample(4000, rng(0, split), split).tokens, lists.length) for split in EIGHTHS]
    for one, other in combinations(drawn, 2):
        assert one and other and not one & other
    if lists.vocab_size == 12:
        assert sum(map(len, drawn)) > 0.99 * 792


def test_every_list_is_in_one_split_whatever_its_order():
    values = SortedLists(51, 10).sample(5000, rng(0, "orders")).tokens[:, :10]
    shuffled = rng(1, "orders").permuted(values, axis=1)
    assert (shuffled != values).any(axis=1).mean() > 0.99
    inside = np.stack([in_split(values, split) for split in EIGHTHS])
    assert (inside.sum(axis=0) == 1).all()
    assert (inside == [in_split(shuffled, split) for split in EIGHTHS]).all()


def test_splits_have_their_shares_and_tell_nothing_of_the_values():
    values = np.sort(SortedLists(51, 10).sample(80_000, rng(0, "shares")).tokens[:, :10])
    for split, eighths in EIGHTHS.items():
        inside = in_split(values, split)
        assert abs(inside.mean() - eighths / 8) < 4 * np.sqrt(7 / 64 / 80_000) * np.sqrt(eighths)
        difference = values[inside].mean(axis=0) - values.mean(axis=0)
        assert (np.abs(difference) < 5 * values.std(axis=0) / np.sqrt(inside.sum())).all()
        held = np.bincount(values[inside].ravel(), minlength=51) / inside.sum()
        assert np.abs(held - 10 / 51).max() < 5 * np.sqrt(10 / 51 * 41 / 51 / inside.sum())


def test_neighbouring_lists_are_not_in_one_split_together():
    """A list and the same with one value moved by 1 agree on the test split no more often than strangers."""
    values = SortedLists(50, 10).sample(40_000, rng(0, "neighbours")).tokens[:, :10]
    moved = values.copy()
    moved[:, 0] += 1
    one, other = in_split(values, "test"), in_split(moved, "test")
    assert abs((one & other).mean() - 1 / 64) < 5 * np.sqrt(1 / 64 / 40_000)


def test_the_split_is_the_same_for_ever():
    """Shipped models were trained by it: a change would show them their tests."""
    values = np.array(list(combinations(range(8), 3)))
    tested = values[in_split(values, "test")]
    assert tested.tolist() == TESTED_OF_EIGHT


def test_a_design_with_too_few_lists_says_so():
    with pytest.raises(InputError, match=r"none of [\d,]+ lists is in the split 'test'; this design has too few lists"):
        SortedLists(4, 4).sample(1, rng(0), "test")
