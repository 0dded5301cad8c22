"""How sorting_development judges: every criterion on both sides of its threshold."""

import pytest

from analyses.sorting_development.criteria import CRITERIA

GOOD = {
    "stages": dict(overlap=[0.5, 0.9], overlap_lost=[0.01, 0.4]),
    "interior-maximum": dict(fall_low=[0.1, 0.5], loss_change=[0.05, 0.0]),
    "specialised-lower": dict(difference_high=[-0.1, -3.0]),
    "matched-loss": dict(difference_high=[-0.1]),
    "scale-free": dict(change_nats=0.001, units_ratio=1.05, absolute_ratio=1.5),
    "recheck": dict(distance=[0.0, 3.0]),
    "known-answers": dict(error=[0.05, 0.2], distance=[9.0, 3.0]),
    "boundaries": dict(spread=[1.0, 2.0]),
}
BAD = [
    ("stages", dict(overlap=[0.5, 0.49]), "partly"),
    ("stages", dict(overlap_lost=[0.1, 0.0]), "partly"),
    ("stages", dict(overlap=[None, None], overlap_lost=[None, None]), "fails"),
    ("interior-maximum", dict(fall_low=[0.1, 0.09]), "partly"),
    ("interior-maximum", dict(loss_change=[0.051, 0.049]), "partly"),
    ("interior-maximum", dict(fall_low=[0.5, -0.1], loss_change=[0.06, 0.0]), "fails"),
    ("specialised-lower", dict(difference_high=[-0.1, 0.0]), "partly"),
    ("specialised-lower", dict(difference_high=[0.1]), "fails"),
    ("matched-loss", dict(difference_high=[0.1, -0.1]), "partly"),
    ("matched-loss", dict(difference_high=[]), "fails"),
    ("scale-free", dict(change_nats=0.0011), "fails"),
    ("scale-free", dict(units_ratio=1.06), "fails"),
    ("scale-free", dict(absolute_ratio=1.49), "fails"),
    ("scale-free", dict(absolute_ratio=None), "fails"),
    ("recheck", dict(distance=[3.1, 0.0]), "fails"),
    ("known-answers", dict(error=[0.051], distance=[3.1]), "fails"),
    ("boundaries", dict(spread=[2.1, 1.0]), "partly"),
    ("boundaries", dict(spread=[None]), "fails"),
]


def test_every_criterion_is_tested():
    assert set(GOOD) == {key for key, _, _ in BAD} == set(CRITERIA)


@pytest.mark.parametrize("key", GOOD)
def test_good_numbers_hold(key):
    assert CRITERIA.grade(key, GOOD[key]) == "holds"


@pytest.mark.parametrize(("key", "bad", "verdict"), BAD)
def test_bad_numbers_do_not(key, bad, verdict):
    assert CRITERIA.grade(key, GOOD[key] | bad) == verdict
