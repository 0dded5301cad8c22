"""How tree_inference judges: verdicts on made measurements, on both sides of every threshold."""

from types import SimpleNamespace

import numpy as np
import pytest

from analyses.tree_inference.along_training import order_along_training
from analyses.tree_inference.claims import claims_of
from analyses.tree_inference.criteria import CRITERIA
from mechbp.methods.statistics.intervals import Interval


def about(mean, half=0.001):
    return Interval(np.array(mean), np.array(mean - half), np.array(mean + half), 9)


def run_of(nearest, depth=2, level=0):
    """A run whose training curve names these nearest oracles, one per measured step."""
    lines = [
        {"step": i + 1, **{f"kl_model_to_bp{k}_nats": float(k != found) for k in range(depth + 1)}}
        for i, found in enumerate(nearest)
    ]
    config = SimpleNamespace(process=SimpleNamespace(filter_level=level), objective=SimpleNamespace(task="masked"))
    return SimpleNamespace(name="own", metrics=lines, process=SimpleNamespace(depth=depth), config=config)


def comparison(kl=0.01, accuracy=0.7, nearest=0, margin=0.1):
    matched = SimpleNamespace(
        kl_bp_to_model_nats=about(kl), kl_model_to_bp_nats=about(kl), accuracy=about(accuracy), best_accuracy=about(0.7)
    )
    return SimpleNamespace(n=9, oracles=[matched] * 3, control=[matched] * 3, nearest_level=nearest, margin=about(margin))


def verdicts(own, uniform=None, run=None):
    claims = claims_of(run or run_of([2, 1, 0]), own, uniform or comparison(), None)
    return {claim.criterion: claim.verdict for claim in claims}


def test_every_criterion_is_used():
    assert set(verdicts(comparison())) == set(CRITERIA)


@pytest.mark.parametrize(
    ("kl", "accuracy", "verdict"),
    [
        (0.0289, 0.6901, "holds"),
        (0.0291, 0.6901, "partly"),  # the interval of the divergence reaches beyond the bound
        (0.0289, 0.6899, "partly"),
        (0.0291, 0.6899, "fails"),
    ],
)
def test_an_exact_model_is_near_in_divergence_and_in_accuracy(kl, accuracy, verdict):
    assert verdicts(comparison(kl, accuracy))["exact"] == verdict


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
