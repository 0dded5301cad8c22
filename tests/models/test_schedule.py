"""Learning rates and the steps that are kept."""

from itertools import pairwise

import pytest

from mechbp.models.config import TrainingConfig
from mechbp.models.training import learning_rate, log_spaced_steps


def rates(**changes):
    training = TrainingConfig(**({"steps": 100, "batch_size": 1, "learning_rate": 2.0, "warmup_steps": 10} | changes))
    return [learning_rate(training, step) for step in range(training.steps + 1)]


def test_warm_up_is_linear_from_the_first_step():
    assert rates(decay="none")[:12] == pytest.approx([0.2 * (i + 1) for i in range(10)] + [2.0, 2.0])


@pytest.mark.parametrize(("decay", "middle"), [("linear", 1.0), ("cosine", 1.0), ("none", 2.0)])
def test_decay(decay, middle):
    found = rates(decay=decay)
    assert found[55] == pytest.approx(middle)
    assert found[100] == pytest.approx(2.0 if decay == "none" else 0.0)
    assert all(a >= b for a, b in pairwise(found[10:])) and max(found) <= 2.0


def test_quarter_points_tell_the_decays_apart():
    assert rates(decay="linear")[77] == pytest.approx(2.0 * 23 / 90)
    assert rates(decay="cosine")[77] == pytest.approx(0.305, abs=0.001)  # 1 - cos(pi * 23 / 90)


@pytest.mark.parametrize(("decay", "middle"), [("linear", 1.1), ("cosine", 1.1), ("none", 2.0)])
def test_decay_to_a_share_of_the_rate(decay, middle):
    found = rates(decay=decay, final_rate=0.1)
    assert found[100] == pytest.approx(2.0 if decay == "none" else 0.2) and found[55] == pytest.approx(middle)
    assert found[:10] == rates(decay=decay)[:10]


def test_no_warm_up_and_warm_up_beyond_the_end():
    assert rates(warmup_steps=0, decay="none")[0] == 2.0
    assert rates(warmup_steps=1000)[99] == pytest.approx(0.2)


@pytest.mark.parametrize("steps", [1, 5, 32, 33, 1000, 40_000])
@pytest.mark.parametrize("count", [1, 2, 16, 64])
def test_kept_steps_are_log_spaced_between_the_ends(steps, count):
    kept = sorted(log_spaced_steps(TrainingConfig(steps=steps, batch_size=1, learning_rate=1.0), count))
    assert kept[0] == 0 and kept[-1] == steps and len(kept) <= count + 2
    if steps == 40_000 and count == 16:
        assert len(kept) == 17 and kept[1] == 32
        ratios = [b / a for a, b in pairwise(kept[1:])]
        assert max(ratios) / min(ratios) < 1.05
