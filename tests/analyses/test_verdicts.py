"""What pages on trees measure alike before they judge, on made measurements."""

from types import SimpleNamespace

import numpy as np
import pytest

from analyses.shared.tree_attention import smallest_rise
from analyses.shared.tree_training import inclusions
from mechbp.methods.statistics.intervals import Interval
from mechbp.theory.tree.attention import LevelMass


def test_a_level_is_taken_in_when_its_oracle_stays_nearer():
    nearest_first = [(9, 9, 1), (9, 9, 1), (9, 1, 3), (9, 3, 1), (9, 1, 3), (2, 3, 4)]
    lines = [
        {"step": i, "sequences": 10 * i, **{f"kl_model_to_bp{k}_nats": value for k, value in enumerate(row)}}
        for i, row in enumerate(nearest_first)
    ]
    run = SimpleNamespace(
        metrics=lines, process=SimpleNamespace(depth=2), config=SimpleNamespace(process=SimpleNamespace(filter_level=0))
    )
    assert inclusions(run) == {0: 50, 1: 40}  # BP_1 led at step 2 already, but not for good
    run.metrics = lines[:4]
    assert inclusions(run) == {}


@pytest.mark.parametrize("second", [1.3, 0.5])
def test_a_block_looks_as_far_up_as_its_heads_do_on_average(second):
    """One block looks at level 1, of the next one head at level 0 and the other between levels 1 and 2."""
    mass = np.zeros((2, 2, 3))
    mass[0, :, 1], mass[1, 0, 0] = 1, 1
    mass[1, 1, 1:] = (2 - second, second - 1) if second > 1 else (second, 0)
    found = LevelMass(Interval(mass, mass, mass, 9), np.ones(3) / 3, mass[None])
    assert found.mean_level == pytest.approx([1, second])
    assert smallest_rise(found) == pytest.approx(second - 1)
