"""How tree_training judges: verdicts on made curves, on both sides of every threshold."""

from types import SimpleNamespace

import numpy as np
import pytest

from analyses.shared.tree_training import taken_in
from analyses.tree_training.ladder import _claim as ladder_claim
from analyses.tree_training.ranking import agreement_with, ranking_claim, ranking_of
from analyses.tree_training.rise_fall import Hits, rise_fall_claims

GOOD = {1: 10, 0: 20}


def run_of(name="own", level=0):
    start = {f"kl_model_to_bp{k}_nats": 1.0 for k in range(3)}
    config = SimpleNamespace(process=SimpleNamespace(filter_level=level))
    return SimpleNamespace(name=name, metrics=[start], config=config, process=SimpleNamespace(depth=2))


STUDY = SimpleNamespace(rng=lambda *labels: np.random.default_rng(0))


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


def hits(*levels):
    """Levels as (start, peak, end, own, next, best), the same for every sequence; the run's own level comes before them."""
    rows = np.array([(0.2, 0.5, 0.9, 0.9, 0.9, 0.9), *levels])
    tiled = np.tile(rows, (9, 1, 1))
    return Hits(tiled[..., :3], tiled[..., 3], tiled[..., 4], tiled[..., 5])


def judged(*levels):
    return {claim.criterion: claim.verdict for claim in rise_fall_claims(STUDY, run_of(), hits(*levels), 3)}


@pytest.mark.parametrize(
    ("one", "two", "verdict"),
    [
        ((0.2, 0.52, 0.5, 0.5, 0.52, 0.52), (0.2, 0.6, 0.505, 0.5, 0.52, 0.6), "holds"),
        ((0.2, 0.50, 0.5, 0.5, 0.52, 0.52), (0.2, 0.6, 0.505, 0.5, 0.52, 0.6), "partly"),  # level 1 never falls
        ((0.52, 0.52, 0.5, 0.5, 0.52, 0.52), (0.2, 0.6, 0.505, 0.5, 0.52, 0.6), "partly"),  # it never rises
        ((0.2, 0.50, 0.5, 0.5, 0.5, 0.5), (0.2, 0.6, 0.505, 0.5, 0.52, 0.6), "holds"),  # no fall is possible on level 1
        ((0.2, 0.50, 0.5, 0.5, 0.5, 0.5), (0.2, 0.6, 0.6, 0.5, 0.52, 0.6), "fails"),
        ((0.2, 0.50, 0.5, 0.5, 0.5, 0.5), (0.2, 0.5, 0.5, 0.5, 0.5, 0.5), "fails"),  # nothing is possible, so nothing is shown
    ],
)
def test_accuracy_rises_and_falls_on_every_level_above(one, two, verdict):
    assert judged(one, two)["rise-fall"] == verdict


@pytest.mark.parametrize(
    ("ends", "following", "verdict"),
    [
        ((0.505, 0.505), (0.52, 0.52), "holds"),
        ((0.505, 0.52), (0.52, 0.52), "fails"),  # on average it ends nearer to the next oracle
        ((0.5, 0.515), (0.52, 0.52), "holds"),
        ((0.5, 0.5), (0.5, 0.5), "short"),  # the two oracles cannot be told apart
    ],
)
def test_the_end_is_held_against_the_next_oracle(ends, following, verdict):
    levels = [(0.2, 0.6, end, 0.5, other, 0.6) for end, other in zip(ends, following, strict=True)]
    assert judged(*levels)["lands"] == verdict


def test_a_run_of_the_highest_level_has_no_level_above():
    assert judged() == {"rise-fall": "fails", "lands": "not run"}


def ranking(match, spearman):
    """Scores of 9 sequences, [sequence, measure, oracle, step], that name these leaders; None for a tie."""
    values = np.zeros((9, 2, 3, len(match)))
    for measure, leaders in enumerate((match, spearman)):
        for step, leader in enumerate(leaders):
            if leader is not None:
                values[:, measure, leader, step] = 1
    return ranking_of(STUDY, run_of(), values)


@pytest.mark.parametrize(
    ("match", "spearman", "verdict"),
    [
        ((0, 2, 1, 0), (0, 2, 1, 0), "holds"),  # step 0 is not asked
        ((0, 2, None, 1, 0), (0, 2, 1, 1, 0), "holds"),
        ((0, 2, 1, 0), (0, 2, 0, 0), "partly"),  # one oracle never leads by rank correlation
        ((0, 2, 1, 0), (0, 2, 1, 2), "partly"),
        ((0, 2, 1, 2, 0), (0, 2, 1, 2, 0), "fails"),  # it comes back
        ((0, 2, 2), (0, 2, 2), "fails"),
        ((0, None, None), (0, None, None), "fails"),
    ],
)
def test_oracles_lead_one_after_another_by_both_measures(match, spearman, verdict):
    assert ranking_claim(run_of(), ranking(match, spearman)).verdict == verdict


def test_agreement_is_that_of_choices_and_of_ranks():
    oracle = np.array([[[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]]])
    answers = np.array([[[0.4, 0.35, 0.25], [0.2, 0.1, 0.7]]])
    found = agreement_with([oracle, answers], answers)
    np.testing.assert_allclose(found[0, 0], [1, 1], atol=1e-12)
    np.testing.assert_allclose(found[0, 1], [(1 + 0.5) / 2, 1], atol=1e-12)
