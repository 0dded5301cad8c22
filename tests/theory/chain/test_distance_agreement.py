"""Agreement of distances against every pair counted one by one, trees drawn as often as the counts say."""

from itertools import combinations

import numpy as np
import pytest

import mechbp
from mechbp.errors import InputError
from mechbp.theory.chain.distance_agreement import distance_agreement

RNG = mechbp.rng(0, "distances")
READ = RNG.normal(size=(12, 3))
TARGETS = {"near": READ + 0.3 * RNG.normal(size=(12, 3)), "far": RNG.normal(size=(12, 2))}
TREE = np.arange(12) % 4
COUNTS = RNG.multinomial(4, np.full(4, 0.25), size=6).astype(float)


def one_by_one(read, target, weight):
    """Squared correlation over pairs of two different rows, each as often as both were drawn."""
    pairs = [(i, j) for i, j in combinations(range(len(read)), 2) for _ in range(int(weight[i] * weight[j]))]
    distances = [[np.linalg.norm(rows[i] - rows[j]) for i, j in pairs] for rows in (read, target)]
    return np.corrcoef(distances)[0, 1] ** 2


def test_every_resample_is_what_counting_pairs_gives():
    found = distance_agreement(READ, TARGETS, TREE, COUNTS)
    for name, target in TARGETS.items():
        assert found.value[name] == pytest.approx(one_by_one(READ, target, np.ones(12)), abs=1e-12)
        expected = [one_by_one(READ, target, counts[TREE]) for counts in COUNTS]
        np.testing.assert_allclose(found.resampled[name], expected, rtol=0, atol=1e-12)


def test_differences_are_paired():
    found = distance_agreement(READ, TARGETS, TREE, COUNTS)
    other = distance_agreement(TARGETS["far"], TARGETS, TREE, COUNTS)
    over = found.over("near", "far")
    assert over.mean == pytest.approx(found.value["near"] - found.value["far"])
    assert found.over("near", "far", other).mean == pytest.approx(found.value["near"] - 1)
    low, high = np.quantile(found.resampled["near"] - found.resampled["far"], [0.025, 0.975])
    assert (over.low, over.high) == (pytest.approx(low), pytest.approx(high))
    assert np.isnan(distance_agreement(READ, TARGETS, np.zeros(12, int), COUNTS[:, :1]).interval("near").low)  # one tree


def test_nonsense_is_refused():
    with pytest.raises(InputError, match="12 rows"):
        distance_agreement(READ, {"short": READ[:3]}, TREE, COUNTS)
    with pytest.raises(InputError, match=r"0\.\.1"):
        distance_agreement(READ, TARGETS, TREE, COUNTS[:, :2])
