"""How tree_training judges: verdicts on made curves, on both sides of every threshold."""

from types import SimpleNamespace

import numpy as np
import pytest

from analyses.shared.tree_training import taken_in
from analyses.tree_training.ladder import _claim as ladder_claim
from analyses.tree_training.trajectory import _rise_and_fall
from mechbp.methods.statistics.intervals import Interval

GOOD = {1: 10, 0: 20}


def run_of(name="own", level=0):
    start = {f"kl_model_to_bp{k}_nats": 1.0 for k in range(3)}
    return SimpleNamespace(name=name, metrics=[start], config=SimpleNamespace(process=SimpleNamespace(filter_level=level)))


@pytest.mark.parametrize(
    ("passed", "verdict"),
    [
        ([GOOD, GOOD], "holds"),
        ([GOOD], "short"),  # one run is no sample of runs
        ([GOOD, {1: 20, 0: 10}], "partly"),
        ([GOOD, {1: 10, 0: 10}], "partly"),  # two levels at once
        ([GOOD, {0: 10}], "partly"),
        ([{1: 20, 0: 10}, {}], "fails"),
        ([{0: 10}], "fails"),
    ],
)
def test_every_run_takes_in_the_levels_from_the_leaves_up(passed, verdict):
    runs = [run_of(f"r{i}") for i in range(len(passed))]
    assert ladder_claim("masked", runs, {f"r{i}": found for i, found in enumerate(passed)}, 2, 0).verdict == verdict


def test_a_single_level_has_no_order_to_miss():
    runs = [run_of("r0", 1), run_of("r1", 1)]
    for passed, verdict in (([{1: 10}, {1: 20}], "holds"), ([{1: 10}, {}], "partly")):
        assert ladder_claim("masked", runs, dict(zip(("r0", "r1"), passed, strict=True)), 2, 1).verdict == verdict


def test_levels_taken_in_are_told_as_numbers():
    assert taken_in({3: 5, 2: 9, 1: 7, 0: 20}, 4, 0) == {"levels": 4, "missed": 0, "shortest_wait": -2}
    assert taken_in({3: 5, 0: 9}, 4, 0) == {"levels": 4, "missed": 2, "shortest_wait": 4}
    assert taken_in({}, 2, 2) == {"levels": 0, "missed": 0, "shortest_wait": None}


@pytest.mark.parametrize(
    ("peak", "end", "verdict"),
    [
        ((0.525, 0.525), (0.5, 0.5), "holds"),
        ((0.525, 0.519), (0.5, 0.5), "partly"),  # level 2 falls by less than .02
        ((0.525, 0.545), (0.5, 0.5151), "partly"),  # and here it ends too far above the oracle
        ((0.525, 0.545), (0.5, 0.4849), "partly"),  # below
        ((0.525, 0.545), (0.5, 0.5149), "holds"),
        ((0.5, 0.5), (0.5, 0.5), "fails"),
    ],
)
def test_accuracy_rises_and_falls_to_the_oracle_on_every_level_above(peak, end, verdict):
    at_step = np.array([(0.2, 0.2), peak, end]).T  # [level, step], the same for every sequence
    at_step = np.vstack([[0.2, 0.5, 0.9], at_step])  # data of the run's own level, which is not asked
    curves = SimpleNamespace(
        accuracy=Interval(at_step, at_step, at_step, 9),
        hits=np.tile(at_step, (9, 1, 1)),
        oracle=[0.9, 0.5, 0.5],
        n=9,
        steps=(0, 1, 2),
    )
    study = SimpleNamespace(rng=lambda *labels: np.random.default_rng(0))
    assert _rise_and_fall(study, run_of(), curves).verdict == verdict


def test_a_run_of_the_highest_level_has_no_level_above():
    at_step = np.array([[0.2, 0.5]])
    curves = SimpleNamespace(accuracy=Interval(at_step, at_step, at_step, 9), hits=at_step[None], oracle=[0.5], n=9, steps=(0, 1))
    claim = _rise_and_fall(SimpleNamespace(rng=None), run_of(), curves)
    assert claim.verdict == "fails" and claim.numbers == {"fall_low": [], "end": [], "oracle": []}
