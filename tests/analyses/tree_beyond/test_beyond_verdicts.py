"""How tree_beyond judges: by every run, a part by the runs beyond the first, on both sides of every threshold."""

import pytest

from analyses.tree_beyond.claims import _claim
from analyses.tree_beyond.criteria import CRITERIA

GOOD = {
    "exact": dict(kl_nats=0.0299, nearest=0, own_level=0),
    "order": dict(levels=3, missed=0, shortest_wait=8),
    "looking": dict(blocks=2, smallest_rise=0.2501),
    "needed": dict(averaged_high=0.0099, uniform_low=0.1001),
    "writing": dict(farthest_off=0),
}
BAD = [
    ("exact", dict(kl_nats=0.0301)),
    ("exact", dict(nearest=1)),
    ("order", dict(missed=1)),
    ("order", dict(shortest_wait=0)),
    ("order", dict(shortest_wait=-8)),
    ("looking", dict(smallest_rise=0.2499)),
    ("needed", dict(averaged_high=0.03)),
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
    assert set(GOOD) == {key for key, _ in BAD} == set(CRITERIA)


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
            assert found.measured == f"holds in {runs.count({})} of {len(runs)} runs\nx"


@pytest.mark.parametrize(("key", "small"), LEFT_OUT)
def test_runs_too_small_to_miss_a_claim_do_not(key, small):
    assert claim(key, small).verdict == claim(key, {}, small).verdict == "holds"


@pytest.mark.parametrize(
    ("averaged", "uniform", "verdict"),
    [
        (0.009, 0.2, "holds"),
        (0.011, 0.2, "partly"),  # the interval of the loss reaches beyond a hundredth of a nat
        (0.009, 0.09, "partly"),  # that of uniform attention reaches below a tenth
        (0.051, 0.2, "fails"),  # a quarter of uniform attention's loss
    ],
)
def test_levels_are_needed_where_averages_cost_nothing_and_uniform_attention_much(averaged, uniform, verdict):
    found = dict(averaged_high=averaged, uniform_low=uniform)
    assert claim("needed", found).verdict == claim("needed", found, found).verdict == verdict
    assert claim("needed", found, dict(averaged_high=1)).verdict == "fails"
    assert f"holds in {int(verdict == 'holds')} of 1 runs" in claim("needed", found).measured
