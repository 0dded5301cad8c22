"""The overlap of random sets, against all sets there are."""

from itertools import combinations

import numpy as np
import pytest

from mechbp.errors import InputError
from mechbp.methods.statistics.chance_overlap import chance_overlap


@pytest.mark.parametrize(("first", "second"), [(3, 4), (0, 2), (6, 5), (1, 1)])
def test_all_sets_of_six(first, second):
    one = set(range(first))
    shared = np.array([len(one & set(other)) for other in combinations(range(6), second)]) / 6
    found = chance_overlap(6, first, second)
    assert found.mean == pytest.approx(shared.mean(), abs=1e-12)
    assert np.mean(shared < found.low) <= 0.025 and np.mean(shared > found.high) <= 0.025
    assert np.mean(shared <= found.low) >= 0.025 and np.mean(shared >= found.high) >= 0.025


@pytest.mark.parametrize("sizes", [(0, 0, 0), (3, 4, 1), (3, 1, -1)])
def test_refusals(sizes):
    with pytest.raises(InputError, match="chance_overlap"):
        chance_overlap(*sizes)
