"""How tree_content judges: verdicts on made measurements, one for every way to miss a claim."""

from types import SimpleNamespace

import numpy as np
import pytest

from analyses.tree_content.claims import COARSER, ENOUGH, claims_of
from analyses.tree_content.criteria import CRITERIA
from analyses.tree_content.measurements import Measured
from mechbp.methods.statistics.intervals import Interval
from mechbp.methods.statistics.shared_bootstrap import Resampling
from mechbp.theory.tree.message_losses import MessageLosses
from mechbp.theory.tree.oracle_distances import Lead

N = 60
RESAMPLING = Resampling.draw(np.arange(N), 400, np.random.default_rng(0))
NOISE = np.linspace(-0.001, 0.001, N)
CHILDREN = "query's message, keys' children"


def about(mean, half=0.001):
    return Interval(*(np.asarray(np.array(mean, dtype=float) + shift) for shift in (0.0, -half, half)), n=N)


def distances(cost):
    """KL to every oracle, both ways; the own oracle's, 0, grows by `cost` give or take a little."""
    found = np.full((N, 2, 3), 0.2)
    found[:, 0, 0] = 0.01 + cost + NOISE
    return found


def losses(*shares):
    resampled = np.array(shares) + np.linspace(-0.01, 0.01, 50)[:, None] * [1, -1, 1]
    return MessageLosses(about(shares), resampled)


def lead(nearest, high):
    return Lead(nearest, Interval(*(np.full((2, 2), end) for end in (high - 0.01, high - 0.02, high)), n=N))


def made(**changed) -> Measured:
    """A run that meets every claim but for what is changed."""
    costs = {name: 0.05 for name in COARSER} | {"nothing": 0.2, CHILDREN: 0.02, ENOUGH: 0.002}
    frozen = {"which leaf": 0.1, "which level": 0.04, "hidden row": 0.1, "other rows": 0.05, "all": 0.2}
    costs |= changed.get("costs", {})
    frozen |= changed.get("frozen", {})
    config = SimpleNamespace(model=SimpleNamespace(n_layers=3))
    carried = changed.get("carried", ((0.1, 0.4, 0), (0, 0.1, 0.4)))
    return Measured(
        run=SimpleNamespace(name="own", config=config, process=SimpleNamespace(depth=3)),  # type: ignore[arg-type]
        own=0,
        leads={"as it is": lead((0, 0), 0.2)}
        | dict(zip(("by level", "mean"), changed.get("leads", [lead((1, 2), -0.1)] * 2), strict=True)),
        unedited=distances(0),
        matched={name: distances(cost) for name, cost in costs.items()},
        frozen={name: distances(cost) for name, cost in frozen.items()},
        losses={"block 1": losses(0, 0, 0.9), "block 2": losses(*carried[0]), "block 3": losses(*carried[1])},
        preference=dict(zip((2, 3), map(about, changed.get("preference", (0.2, 0.3))), strict=True)),
        avoidance=dict(zip((2, 3), map(about, changed.get("avoidance", (0.2, 0.3))), strict=True)),
        resampling=RESAMPLING,
    )


def verdict(key, *runs):
    return {claim.criterion: claim.verdict for claim in claims_of(runs)}[key]


def test_every_claim_can_hold():
    """All but that the messages are enough, which the rest contradicts, and that one preference is its opposite."""
    found = {claim.criterion: claim.verdict for claim in claims_of([made()])}
    assert found == {key: {"messages": "partly", "untelling": "fails"}.get(key, "holds") for key in CRITERIA}
    assert verdict("untelling", made(preference=(-0.2, -0.3))) == "holds"
    assert verdict("messages", made(costs={"both messages": 0.001})) == "holds"


@pytest.mark.parametrize(
    ("key", "changed", "expected"),
    [
        ("static", {"leads": [lead((1, 2), -0.1), lead((1, 0), -0.1)]}, "partly"),  # in one direction its own stays nearest
        ("static", {"leads": [lead((1, 2), 0.001)] * 2}, "fails"),  # the lead of another is no sure one
        ("static", {"leads": [lead((1, 3), -0.1)] * 2}, "fails"),  # three levels lost are more than two
        ("matching", {"costs": {ENOUGH: 0.006}}, "partly"),  # more than a tenth of the cheapest rival
        ("matching", {"costs": {"both messages": 0.004}}, "partly"),
        ("matching", {"costs": {"keys' leaves": 0.002}}, "fails"),  # a rival that shares less does as well
        ("messages", {"costs": {"both messages": 0.2}}, "fails"),  # sharing them helps nothing
        ("children", {"costs": {CHILDREN: 0.002}}, "fails"),
        ("leaf", {"frozen": {"which leaf": 0.04}}, "fails"),
        ("row", {"frozen": {"hidden row": 0.05}}, "fails"),
        ("carries", {"carried": ((0.4, 0.4, 0), (0, 0.1, 0.4))}, "partly"),  # block 2 removes as much of another message
        ("carries", {"carried": ((0.4, 0.4, 0), (0, 0.4, 0.4))}, "fails"),
        ("informative", {"preference": (0.2, 0.0)}, "partly"),
        ("informative", {"preference": (-0.2, 0.0)}, "fails"),
        ("untelling", {"preference": (-0.2, 0.0)}, "partly"),
        ("avoids", {"avoidance": (0.0005, 0.3)}, "partly"),
        ("avoids", {"avoidance": (-0.2, -0.3)}, "fails"),
    ],
)
def test_a_claim_is_missed_where_its_rival_does_as_well(key, changed, expected):
    assert verdict(key, made(**changed)) == expected


@pytest.mark.parametrize(
    ("key", "changed"),
    [("matching", {"costs": {ENOUGH: 0.2}}), ("children", {"costs": {CHILDREN: 0.0}}), ("row", {"frozen": {"hidden row": 0}})],
)
def test_one_run_that_misses_a_claim_is_enough(key, changed):
    assert verdict(key, made(), made(**changed)) != "holds"
