"""Streams named by a seed and labels: stable, distinct, independent of the process."""

import numpy as np
import pytest

from mechbp.errors import InputError
from mechbp.randomness import rng


def first(*arguments):
    return int(rng(*arguments).integers(2**63))


def test_equal_names_give_equal_streams_and_distinct_names_distinct_ones():
    names = [
        (0,),
        (1,),
        (0, "a"),
        (0, "b"),
        (0, "a", "b"),
        (0, "b", "a"),
        (0, "ab"),
        (0, 1),
        (0, "1"),
        (0, "a", 1),
        (0, "a,1"),
        (2**70,),
    ]
    assert len({first(*name) for name in names}) == len(names)
    assert [first(*name) for name in names] == [first(*name) for name in names]
    assert first(np.int64(3), np.int32(4)) == first(3, 4)


def test_the_streams_are_golden():
    """They decide every batch: a change here orphans each trained run. PCG64's stream itself is NumPy's promise."""
    assert [first(0), first(0, "batch", 7), first(5, "weights")] == GOLDEN


GOLDEN = [9141346432881824318, 6012137823523302038, 7830179834060659902]


def test_streams_are_uncorrelated():
    draws = np.stack([rng(0, "batch", step).random(2000) for step in range(20)])
    correlations = np.corrcoef(draws)[np.triu_indices(20, 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(2000)


@pytest.mark.parametrize("seed", [-1, 1.5, True, "0", None])
def test_bad_seeds(seed):
    with pytest.raises(InputError, match="rng: seed must be an integer >= 0"):
        rng(seed)


@pytest.mark.parametrize("label", [1.5, None, ("a",), b"a", True, np.bool_(False)])
def test_bad_labels(label):
    with pytest.raises(InputError, match="rng: labels must be strings or integers"):
        rng(0, label)
