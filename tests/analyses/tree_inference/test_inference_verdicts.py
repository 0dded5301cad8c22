"""How tree_inference judges: verdicts on made measurements, on both sides of every threshold."""

from types import SimpleNamespace

import numpy as np
import pytest

from analyses.tree_inference.along_training import order_along_training
from analyses.tree_inference.claims import claims_of
from analyses.tree_inference.criteria import CRITERIA
from mechbp.methods.statistics.intervals import Interval
from mechbp.methods.statistics.rival_oracles import OracleLeads


def about(mean, half=0.001):
    mean = np.array(mean)
    return Interval(mean, np.asarray(mean - half), np.asarray(mean + half), 9)


def run_of(nearest, depth=2, level=0):
    """A run whose training curve names these nearest oracles, one per measured step."""
    lines = [
        {"step": i + 1, **{f"kl_model_to_bp{k}_nats": float(k != found) for k in range(depth + 1)}}
        for i, found in enumerate(nearest)
    ]
    config = SimpleNamespace(process=SimpleNamespace(filter_level=level), objective=SimpleNamespace(task="masked"))
    return SimpleNamespace(name="own", metrics=lines, process=SimpleNamespace(depth=depth), config=config)


def comparison(closer=0.01, nearer=0.01, better=0.01, nearest=0, margin=0.1):
    """Numbers are those of BP_1, the next oracle; BP_2 is farther off in every way."""
    matched = SimpleNamespace(
        kl_bp_to_model_nats=about(0.01), kl_model_to_bp_nats=about(0.01), accuracy=about(0.7), best_accuracy=about(0.7)
    )
    leads = OracleLeads((1, 2), *(about([value, value + 0.1]) for value in (closer, nearer, better)))
    return SimpleNamespace(
        n=9, oracles=[matched] * 3, control=[matched] * 3, nearest_level=nearest, margin=about(margin), leads=leads
    )


def verdicts(own, uniform=None, run=None):
    claims = claims_of(run or run_of([2, 1, 0]), own, uniform or comparison(), None)
    return {claim.criterion: claim.verdict for claim in claims}


def test_every_criterion_is_used():
    assert set(verdicts(comparison())) == set(CRITERIA)


@pytest.mark.parametrize(
    ("closer", "nearer", "better", "verdict"),
    [
        (0.0011, 0.0011, 0.0011, "holds"),
        (0.0009, 0.0011, 0.0011, "partly"),  # it loses no less than the next oracle does
        (0.0011, 0.0009, 0.0011, "partly"),  # it is no nearer to its own oracle than to the next
        (0.0011, 0.0011, 0.0009, "partly"),  # it is right no more often than the next oracle
        (0.0009, 0.0009, 0.0011, "fails"),
        (0.0, -0.027, 0.0, "fails"),  # a model that computes the next oracle
    ],
)
def test_an_exact_model_excludes_the_next_oracle(closer, nearer, better, verdict):
    assert verdicts(comparison(closer, nearer, better))["exact"] == verdict


@pytest.mark.parametrize(
    ("own", "uniform", "verdict"),
    [
        ((0, 0.002), (0, 0.002), "holds"),
        ((0, 0.002), (0, 0.0009), "partly"),
        ((1, 0.1), (0, 0.1), "partly"),
        ((1, 0.1), (1, 0.1), "fails"),
    ],
)
def test_the_own_oracle_is_nearest_by_a_clear_margin_on_both_kinds_of_sequences(own, uniform, verdict):
    pair = [comparison(nearest=nearest, margin=margin) for nearest, margin in (own, uniform)]
    assert verdicts(*pair)["nearest"] == verdict


@pytest.mark.parametrize(
    ("nearest", "depth", "level", "verdict"),
    [
        ([2, 2, 1, 0, 0], 2, 0, "holds"),
        ([2, 1, 2, 1, 0], 2, 0, "partly"),  # turns back on the way
        ([2, 0], 2, 0, "partly"),  # leaves one out
        ([1, 0], 2, 0, "partly"),  # begins below the leaves
        ([2, 1], 2, 0, "fails"),
        ([2, 1, 0, 1], 2, 0, "fails"),
        ([2], 2, 2, "holds"),  # there is one oracle only to be nearest to
        ([1, 2], 2, 2, "partly"),
        ([2, 1], 2, 1, "holds"),
        ([], 2, 0, "not run"),
    ],
)
def test_the_staircase_goes_down_one_level_after_another(nearest, depth, level, verdict):
    run = run_of(nearest, depth, level)
    assert verdicts(comparison(), run=run)["staircase"] == verdict


def test_repeats_are_dropped_and_step_0_is_left_out():
    run = run_of([2, 2, 1, 1, 2])
    run.metrics[0]["step"] = 0
    assert order_along_training(run) == [2, 1, 2]
