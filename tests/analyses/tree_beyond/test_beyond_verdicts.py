"""How tree_beyond judges: by every run, a part by the runs beyond the first, on both sides of every threshold."""

from types import SimpleNamespace

import numpy as np
import pytest

from analyses.tree_beyond.account import gain_per_doubling, rule_entropy_nats
from analyses.tree_beyond.claims import _claim
from analyses.tree_beyond.criteria import CRITERIA
from mechbp.processes.tree.grammar import TreeGrammar

GOOD = {
    "exact": dict(closer_low=0.001, nearer_low=0.001, better_low=0.001),
    "order": dict(levels=3, missed=0, shortest_wait=8),
    "looking": dict(blocks=2, smallest_rise=0.2501),
    "needed": dict(averaged_high=0.0099, uniform_low=0.1001),
    "writing": dict(farthest_off=0),
}
BAD = [
    ("exact", dict(closer_low=0.0)),
    ("exact", dict(nearer_low=-0.001)),
    ("exact", dict(better_low=0.0)),
    ("order", dict(missed=1)),
    ("order", dict(shortest_wait=0)),
    ("order", dict(shortest_wait=-8)),
    ("looking", dict(smallest_rise=0.2499)),
    ("writing", dict(farthest_off=1)),
    ("writing", dict(farthest_off=None)),  # too few sequences for probes
]
LEFT_OUT = [("order", dict(levels=1, shortest_wait=None)), ("order", dict(levels=0, shortest_wait=None)),
            ("looking", dict(blocks=1, smallest_rise=None))]  # fmt: skip
"""Runs too small to miss a claim."""


def claim(key, *runs):
    parts = {name: "x" for name in ("statement", "reference", "measured", "control")}
    return _claim(key, [{**GOOD[key], **run} for run in runs], **parts)


def test_every_criterion_is_tested():
    assert set(GOOD) == {key for key, _ in BAD} | {"needed"} == set(CRITERIA) - {"wide"}


@pytest.mark.parametrize(("key", "bad"), BAD)
def test_a_claim_on_several_runs_is_about_those_beyond_the_first(key, bad):
    cases = {
        "holds": [({}, {}, {}), ({},)],
        "partly": [(bad, {}, {}), ({}, bad, {})],
        "fails": [({}, bad, bad), (bad, bad), (bad,)],  # the first is what the others are held against
    }
    for verdict, rows in cases.items():
        for runs in rows:
            found = claim(key, *runs)
            assert found.verdict == verdict and found.id == f"beyond-{key}"
            assert found.measured == f"holds in {runs.count({})} of {len(runs)} runs that are graded\nx"


@pytest.mark.parametrize(("key", "small"), LEFT_OUT)
def test_runs_too_small_to_miss_a_claim_do_not(key, small):
    assert claim(key, small).verdict == claim(key, {}, small).verdict == "holds"


@pytest.mark.parametrize(
    ("averaged", "uniform", "verdict"),
    [
        (0.009, 0.2, "holds"),
        (0.011, 0.2, "fails"),  # the interval of the loss reaches beyond a hundredth of a nat
        (0.009, 0.09, "fails"),  # that of uniform attention reaches below a tenth
    ],
)
def test_levels_are_needed_where_averages_cost_nothing_and_uniform_attention_much(averaged, uniform, verdict):
    found = dict(averaged_high=averaged, uniform_low=uniform)
    assert claim("needed", found).verdict == claim("needed", found, found).verdict == verdict
    assert claim("needed", found, dict(averaged_high=1)).verdict == "fails"
    assert f"holds in {int(verdict == 'holds')} of 1 runs that are graded" in claim("needed", found).measured


@pytest.mark.parametrize(
    ("closer", "nearer", "better", "verdict"),
    [(0.1, 0.1, 0.1, "holds"), (0.1, 0.1, 0.0, "partly"), (0.1, -0.1, -0.1, "partly"), (-0.1, -0.1, 0.1, "fails")],
)
def test_a_wider_model_must_leave_the_next_oracle_in_every_way(closer, nearer, better, verdict):
    numbers = {"closer_low": closer, "nearer_low": nearer, "better_low": better}
    assert CRITERIA.grade("wide", numbers) == verdict


def test_the_account_counts_entropy_and_the_last_doubling():
    grammar = TreeGrammar(np.full((2, 2, 2), 0.25))
    assert rule_entropy_nats(grammar) == pytest.approx(2 * np.log(2))
    lines = [{"step": n, "sequences": n, "kl_bp0_to_model_nats": value} for n, value in ((1, 0.9), (4, 0.5), (8, 0.2))]
    run = SimpleNamespace(metrics=lines, config=SimpleNamespace(process=SimpleNamespace(filter_level=0)))
    assert gain_per_doubling(run) == pytest.approx(0.3)
    assert gain_per_doubling(run, 2) == pytest.approx((0.7 - 0.2) / 2)
