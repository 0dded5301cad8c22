"""How the claims about messages judge: made tests of one message at every stage, one for every way to miss a claim."""

from types import SimpleNamespace

import numpy as np
import pytest

from analyses.tree_mechanism.criteria import CRITERIA
from analyses.tree_mechanism.message_claims import message_claims
from analyses.tree_mechanism.messages import (
    LEACE,
    MEANS,
    MISMATCHED,
    PLACEBO,
    PROBE,
    RANDOM_INIT,
    ROTATION,
    MessageGrid,
)
from mechbp.methods.interchange.interchange import NOTHING, WHOLE, MessageTest
from mechbp.methods.statistics.intervals import Interval
from mechbp.study import Study

STUDY = Study((), True, lambda text: None)
N, BLOCKS, DEPTHS = 200, 2, (1, 2)
SHARES = {NOTHING: 0.0, WHOLE: 0.95, ROTATION: 0.8, MEANS: 0.8, PROBE: 0.7, ROTATION + PLACEBO: 0.1, PROBE + PLACEBO: 0.1}
ERASED = {NOTHING: 0.0, LEACE: 0.8, LEACE + PLACEBO: 0.1}


class Pairs:
    """As many pairs as there are, with a bystander or without."""

    def __init__(self, n, bystander):
        self.n, self.bystander = n, bystander

    def __len__(self):
        return self.n


def message_test(shares, n, side):
    """KL falls from about 1 nat by the given share, a little differently for every pair."""
    noise = 1 + 0.05 * np.random.default_rng(0).standard_normal(n)
    kl = {edit: (1 - share) * noise for edit, share in shares.items()}
    bystander = {edit: 0.02 + side.get(edit, 0.0) * noise for edit in shares}
    return MessageTest("hook", kl, kl, bystander)


def grid(message="upward", n=N, present=0.9, used=None, erased=None, later=0.02, mismatched=0.5, side=None):
    """Messages as the construction has them after block m, shares that the arguments change, and nothing one block later."""
    run = SimpleNamespace(name="run", process=SimpleNamespace(depth=2), config=SimpleNamespace(model=SimpleNamespace(n_layers=2)))
    used, erased = SHARES | (used or {}), ERASED | (erased or {})
    side = {WHOLE: 0.9, ROTATION: 0.01} | (side or {})
    cells = [(stage, depth) for stage in range(BLOCKS + 1) for depth in DEPTHS]
    read = {cell: cell[0] <= BLOCKS - cell[1] for cell in cells}

    def tests(shares):
        return {
            cell: message_test(shares if read[cell] else {edit: later * (edit != NOTHING) for edit in shares}, n, side)
            for cell in cells
        }

    readable = np.full((BLOCKS + 1, len(DEPTHS)), present)
    shuffled = {MISMATCHED: mismatched, RANDOM_INIT: 0.0}
    controls = {d: {name: message_test({NOTHING: 0.0, name: share}, n, side) for name, share in shuffled.items()} for d in DEPTHS}
    return MessageGrid(
        run=run,
        message=message,
        pairs={1: Pairs(n, np.zeros(n)), 2: Pairs(n, np.zeros(n) if message == "downward" else None)},
        present=Interval(readable, readable - 0.01, readable + 0.01, n),
        present_control=Interval(readable * 0, readable * 0, readable * 0, n),
        written=tests(used),
        erased=tests(erased),
        controls=controls,
    )


def verdicts(upward, downward=None):
    claims = message_claims(STUDY, upward.run, upward, downward)
    return {claim.id.removeprefix("run-message-"): claim.verdict for claim in claims}


def test_the_construction_meets_every_claim():
    assert verdicts(grid(), grid("downward")) == dict.fromkeys(("used", "idle", "probe", "side", "downward"), "holds")
    assert verdicts(grid()) == dict.fromkeys(("used", "idle", "probe"), "holds")


@pytest.mark.parametrize(
    ("change", "claim"),
    [
        ({"present": 0.7}, "used"),
        ({"used": {ROTATION: 0.45}}, "used"),
        ({"used": {ROTATION + PLACEBO: 0.85}}, "used"),
        ({"mismatched": 0.8}, "used"),  # a rotation learnt from answers of other pairs does as well
        ({"erased": {LEACE: 0.4}}, "used"),
        ({"erased": {LEACE + PLACEBO: 0.85}}, "used"),
        ({"later": 0.3}, "idle"),
        ({"used": {PROBE: 0.3}}, "probe"),
        ({"side": {ROTATION: 0.2}}, "side"),
    ],
    ids=str,
)
def test_each_claim_can_be_missed_by_itself(change, claim):
    found = verdicts(grid(**change), grid("downward"))
    assert found.pop(claim) in ("partly", "fails")
    assert set(found.values()) == {"holds"}


def test_downward_messages_need_a_subspace_above_its_placebo():
    assert verdicts(grid(), grid("downward", used={ROTATION: 0.3}))["downward"] == "fails"
    assert verdicts(grid(), grid("downward", used={ROTATION + PLACEBO: 0.81}))["downward"] == "fails"


HELD = {
    "message-used": {
        "present": [0.8, 0.8],
        "used_low": [0.501, 0.701],
        "used_placebo_high": [0.1, 0.7],
        "above_mismatched_low": [0.001, 0.001],
        "necessary_low": [0.501, 0.701],
        "necessary_placebo_high": [0.1, 0.7],
    },
    "message-idle": {"later_high": [0.199, 0.199]},
    "message-probe": {"probe": [0.4, 0.4], "learned": [0.8, 0.8]},
    "message-side": {"learned_high_nats": [0.0899, 0.0899], "whole_low_nats": [0.9, 0.9]},
    "message-downward": {"best_low": [0.501, 0.701], "placebo_high": [0.1, 0.7]},
}
"""Numbers of two depths that just meet each claim."""


def grade(key, n=100, **changed):
    pairs = "upward_pairs" if key == "message-downward" else "pairs"
    return CRITERIA.grade(key, {pairs: [512, n], **HELD[key], **changed})


@pytest.mark.parametrize("key", HELD)
def test_the_numbers_of_both_depths_decide_and_fewer_than_a_hundred_pairs_do_not(key):
    assert grade(key) == "holds"
    assert grade(key, n=99) == "short"


@pytest.mark.parametrize(
    ("key", "change", "verdict"),
    [
        ("message-used", {"present": [0.799, 0.8]}, "partly"),
        ("message-used", {"used_low": [0.5, 0.7]}, "partly"),
        ("message-used", {"above_mismatched_low": [0.0, 0.001]}, "partly"),
        ("message-used", {"present": [0.799, 0.799], "necessary_low": [0.5, 0.701]}, "partly"),  # three of six
        ("message-used", {"present": [0.799, 0.799], "necessary_low": [0.5, 0.7]}, "fails"),  # two of six
        ("message-used", {"present": [None, None], "necessary_low": [None, None]}, "fails"),
        ("message-idle", {"later_high": [0.2, 0.199]}, "partly"),
        ("message-idle", {"later_high": [0.2, 0.2, 0.199]}, "fails"),
        ("message-probe", {"probe": [0.399, 0.4]}, "partly"),
        ("message-probe", {"probe": [0.399, 0.399]}, "fails"),
        ("message-side", {"learned_high_nats": [0.0901, 0.0899]}, "partly"),
        ("message-side", {"learned_high_nats": [0.0901, 0.0901]}, "fails"),
        ("message-downward", {"best_low": [0.5, 0.701]}, "partly"),
        ("message-downward", {"best_low": [0.5, 0.7]}, "fails"),
    ],
    ids=str,
)
def test_a_claim_holds_in_part_where_some_of_it_does(key, change, verdict):
    assert grade(key, **change) == verdict


def test_few_pairs_give_no_verdict():
    assert set(verdicts(grid(n=99), grid("downward", n=99)).values()) == {"short"}
