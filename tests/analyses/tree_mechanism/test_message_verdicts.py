"""How the claims about messages judge: made tests of one message at every stage, one for every way to miss a claim."""

from types import SimpleNamespace

import numpy as np
import pytest

from analyses.tree_mechanism.criteria import CRITERIA
from analyses.tree_mechanism.message_claims import later_shares, message_claims
from analyses.tree_mechanism.message_grid import (
    LEACE,
    MEANS,
    MISMATCHED,
    PLACEBO,
    PROBE,
    RANDOM_INIT,
    ROTATION,
    MessageGrid,
    Refit,
)
from mechbp.methods.interchange.interchange import NOTHING, WHOLE, MessageTest
from mechbp.methods.statistics.intervals import Interval
from mechbp.study import Study

STUDY = Study((), True, lambda text: None)
N, BLOCKS, DEPTHS = 200, 3, (1, 2)
DELETION = 0.5
"""Share explained by the exact answer without the message; 0.8 is then 0.6 beyond it."""
SHARES = {NOTHING: 0.0, WHOLE: 0.95, ROTATION: 0.8, MEANS: 0.8, PROBE: 0.2, ROTATION + PLACEBO: 0.1, MEANS + PLACEBO: 0.1}
ERASED = {NOTHING: 0.0, LEACE: 0.8, LEACE + PLACEBO: 0.1}
RIVALS = {"another message": 1.5, "everything forgotten": 1.0}
"""KL of what an erasure may have done instead; the unedited run is at 1 nat."""


class Pairs:
    """As many pairs as there are, with a bystander or without, and how far rivals are from the exact answers."""

    def __init__(self, n, bystander, deletion, rivals):
        self.n, self.bystander = n, bystander
        self.deletion_kl_nats = (1 - deletion) * noise(n)
        self.erasure_rivals_kl_nats = {name: kl * noise(n) for name, kl in rivals.items()}

    def __len__(self):
        return self.n


def noise(n):
    return 1 + 0.05 * np.random.default_rng(0).standard_normal(n)


def message_test(shares, n, side):
    """KL falls from about 1 nat by the given share, a little differently for every pair."""
    kl = {edit: (1 - share) * noise(n) for edit, share in shares.items()}
    bystander = {edit: 0.02 + side.get(edit, 0.0) * noise(n) for edit in shares}
    return MessageTest("hook", kl, kl, bystander)


def grid(
    message="upward",
    n=N,
    present=0.9,
    used=None,
    erased=None,
    later=0.02,
    mismatched=0.5,
    side=None,
    deletion=DELETION,
    rivals=None,
    worst=None,
):
    """Messages as the construction has them after block m, shares that the arguments change, and nothing one block later."""
    run = SimpleNamespace(
        name="run", process=SimpleNamespace(depth=2), config=SimpleNamespace(model=SimpleNamespace(n_layers=BLOCKS))
    )
    used, erased = SHARES | (used or {}), ERASED | (erased or {})
    side = {WHOLE: 0.9, ROTATION: 0.01} | (side or {})
    cells = [(stage, depth) for stage in range(BLOCKS + 1) for depth in DEPTHS]
    read = {cell: cell[0] <= 2 - cell[1] for cell in cells}

    def tests(shares):
        return {
            cell: message_test(shares if read[cell] else {edit: later * (edit != NOTHING) for edit in shares}, n, side)
            for cell in cells
        }

    readable = np.full((BLOCKS + 1, len(DEPTHS)), present)
    wrong = message_test({NOTHING: 0.0, MISMATCHED: mismatched}, n, side)
    again = [message_test(used, n, side), message_test(used | ({} if worst is None else {ROTATION: worst}), n, side)]
    judged = dict.fromkeys(DEPTHS)
    return MessageGrid(
        run=run,
        message=message,
        pairs={
            d: Pairs(n, None if (message, d) == ("upward", 2) else np.zeros(n), deletion, RIVALS | (rivals or {})) for d in DEPTHS
        },
        present=Interval(readable, readable - 0.01, readable + 0.01, n),
        present_control=Interval(readable * 0, readable * 0, readable * 0, n),
        written=tests(used),
        erased=tests(erased),
        refits={d: [Refit(test, wrong) for test in again] for d in DEPTHS} if message == "upward" else {},
        random_init=judged | {d: message_test({NOTHING: 0.0, RANDOM_INIT: 0.0}, n, side) for d in DEPTHS},
        chosen={d: 2 - d for d in DEPTHS},
    )


def verdicts(upward, downward=None):
    claims = message_claims(STUDY, upward.run, upward, downward)
    return {claim.id.removeprefix("run-message-"): claim.verdict for claim in claims}


def test_the_construction_meets_every_claim():
    assert verdicts(grid(), grid("downward")) == dict.fromkeys(("used", "idle", "means", "side", "downward"), "holds")
    assert verdicts(grid()) == dict.fromkeys(("used", "idle", "means"), "holds")


@pytest.mark.parametrize(
    ("change", "claim"),
    [
        ({"present": 0.7}, "used"),
        ({"used": {ROTATION: 0.7}}, "used"),  # less than half of the way from deletion
        ({"worst": 0.7}, "used"),  # one refit of two
        ({"rivals": {"everything forgotten": 0.35}}, "used"),  # a run that has forgotten everything answers nearly so
        ({"used": {ROTATION + PLACEBO: 0.85}}, "used"),
        ({"mismatched": 0.8}, "used"),  # a rotation learnt from answers of other pairs does as well
        ({"erased": {LEACE: 0.4}}, "used"),
        ({"rivals": {"another message": 0.3}}, "used"),
        ({"erased": {LEACE + PLACEBO: 0.85}}, "used"),
        ({"later": 0.3}, "idle"),
        ({"used": {PROBE: 0.6}}, "means"),  # beyond deletion
        ({"used": {MEANS: 0.4}}, "means"),
        ({"side": {ROTATION: 0.2}}, "side"),
    ],
    ids=str,
)
def test_each_claim_can_be_missed_by_itself(change, claim):
    found = verdicts(grid(**change), grid("downward"))
    assert found.pop(claim) in ("partly", "fails")
    assert set(found.values()) == {"holds"}


def test_downward_messages_need_a_subspace_above_its_placebo():
    assert verdicts(grid(), grid("downward", used={ROTATION: 0.7}))["downward"] == "fails"
    assert verdicts(grid(), grid("downward", used={ROTATION + PLACEBO: 0.81}))["downward"] == "fails"


HELD = {
    "message-used": {
        "present": [0.8, 0.8],
        "used_low": [0.501, 0.501],
        "above_controls_low": [0.001, 0.001],
        "necessary_low": [0.501, 0.501],
    },
    "message-idle": {"later_high": [0.199, 0.199]},
    "message-means": {"means_low": [0.001, 0.001], "probe_high": [-0.001, -0.001], "means_above_probe_low": [0.001, 0.001]},
    "message-side": {"learned_high_nats": [0.0899, 0.0899], "whole_low_nats": [0.9, 0.9]},
    "message-downward": {"used_low": [0.501, 0.501], "above_placebo_low": [0.001, 0.001]},
    "objective-matters": {"less_low": 0.001},
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
        ("message-used", {"used_low": [0.5, 0.501]}, "partly"),
        ("message-used", {"above_controls_low": [0.0, 0.001]}, "partly"),
        ("message-used", {"necessary_low": [0.5, 0.501]}, "partly"),
        ("message-used", {"present": [0.799, 0.799], "necessary_low": [0.0, 0.001]}, "partly"),  # three of six
        ("message-used", {"present": [0.799, 0.799], "necessary_low": [0.0, 0.0]}, "fails"),  # two of six
        ("message-used", {"present": [None, None], "necessary_low": [None, None]}, "fails"),
        ("message-idle", {"later_high": [0.2, 0.199]}, "partly"),
        ("message-idle", {"later_high": [0.2, 0.2, 0.199]}, "fails"),
        ("message-means", {"means_low": [0.0, 0.001]}, "partly"),
        ("message-means", {"probe_high": [0.0, -0.001]}, "partly"),
        ("message-means", {"means_above_probe_low": [0.0, 0.001]}, "fails"),
        ("message-side", {"learned_high_nats": [0.0901, 0.0899]}, "partly"),
        ("message-side", {"learned_high_nats": [0.0901, 0.0901]}, "fails"),
        ("message-downward", {"used_low": [0.5, 0.501]}, "partly"),
        ("message-downward", {"above_placebo_low": [0.0, 0.0]}, "fails"),
        ("objective-matters", {"less_low": 0.0}, "fails"),
    ],
    ids=str,
)
def test_a_claim_holds_in_part_where_some_of_it_does(key, change, verdict):
    assert grade(key, **change) == verdict


def test_few_pairs_give_no_verdict():
    assert set(verdicts(grid(n=99), grid("downward", n=99)).values()) == {"short"}


SEEDS = {"seeds": 3.0, "equally_trained": True}


@pytest.mark.parametrize(
    ("key", "numbers", "verdict"),
    [
        ("seeds-used", {"present": [0.8], "used_low": [0.501], "necessary_low": [0.501]}, "holds"),
        ("seeds-used", {"present": [0.8], "used_low": [0.5], "necessary_low": [0.501]}, "partly"),
        ("seeds-used", {"present": [0.8], "used_low": [0.0], "necessary_low": [0.0]}, "fails"),
        ("seeds-used", {"present": [0.8], "used_low": [0.9], "necessary_low": [0.9], "seeds": 2.0}, "short"),
        ("seeds-used", {"present": [0.8], "used_low": [0.9], "necessary_low": [0.9], "equally_trained": False}, "short"),
        ("seeds-idle", {"later_high": [0.199, 0.199]}, "holds"),
        ("seeds-idle", {"later_high": [0.199, 0.2]}, "partly"),
        ("seeds-idle", {"later_high": [0.1], "equally_trained": False}, "short"),
    ],
    ids=str,
)
def test_claims_over_seeds_need_three_equally_trained_runs(key, numbers, verdict):
    assert CRITERIA.grade(key, SEEDS | numbers) == verdict


def test_the_last_output_is_no_stage_at_which_a_message_can_be_idle():
    """Nothing reads it elsewhere, so its 0 is by construction: a message read in the last block has no stage to be idle at."""
    found = later_shares(STUDY, grid().run, grid())
    assert list(found) == list(DEPTHS)
    last = grid()
    last.chosen.update({1: 2})
    assert list(later_shares(STUDY, last.run, last)) == [2]
