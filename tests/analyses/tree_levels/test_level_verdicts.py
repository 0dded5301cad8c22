"""How tree_levels judges: verdicts on made measurements, one for every way to miss a claim."""

from types import SimpleNamespace

import numpy as np
import pytest

from analyses.tree_levels.ancestors import _claim as ancestors_claim
from analyses.tree_levels.answers import _claims as answer_claims
from analyses.tree_levels.attention import _merging_claim
from analyses.tree_levels.criteria import CRITERIA
from analyses.tree_levels.end_probes import _claim as ends_claim
from mechbp.methods.statistics.intervals import Interval
from mechbp.randomness import rng as named_rng
from mechbp.theory.tree.static_patterns import StaticDistances


def rng_of(*labels):
    return named_rng(0, *labels)


def about(mean, half=0.001):
    return Interval(np.array(mean), np.array(mean - half), np.array(mean + half), 9)


def exactly(values):
    values = np.array(values, dtype=float)
    return Interval(values, values, values, 9)


def family_of(*levels, task="masked", depth=2):
    runs = tuple(SimpleNamespace(name=f"k{k}", config=SimpleNamespace(process=SimpleNamespace(filter_level=k))) for k in levels)
    labels = [f"k = {k}" for k in levels]
    return SimpleNamespace(
        depth=depth, labels=labels, runs=runs, slug=task, question=task, task=task, trees=[SimpleNamespace(depth=depth)]
    )


def cell(kl=0.001, gap=0.0, nearest=0, margin=0.1):
    trained = SimpleNamespace(kl_bp_to_model_nats=about(kl), accuracy=about(0.7), best_accuracy=about(0.7))
    return SimpleNamespace(
        trained=trained, untrained=trained, gap=about(gap), nearest_level=nearest, margin=about(margin), untrained_nearest=0
    )


def verdicts(task="masked", **changed):
    """Two runs, of level 0 and 1, on data of both and on uniform sequences; `changed` is the cell of the second on its own."""
    kinds = ["k = 0", "k = 1", "uniform"]
    cells = {(f"k{k}", kind): cell(nearest=k) for k in (0, 1) for kind in kinds}
    cells["k1", "k = 1"] = cell(**{"nearest": 1, **changed})
    return {claim.criterion: claim.verdict for claim in answer_claims(family_of(0, 1, task=task), cells, kinds, 9)}


@pytest.mark.parametrize(
    ("task", "kl", "gap", "verdict"),
    [
        ("masked", 0.0149, 0.0059, "holds"),
        ("masked", 0.0151, 0.0059, "partly"),
        ("masked", 0.0149, 0.0061, "partly"),
        ("root", 0.0199, 0.0069, "holds"),
        ("root", 0.0201, 0.0069, "partly"),
        ("root", 0.0199, 0.0071, "partly"),
    ],
)
def test_every_model_is_exact_on_its_own_data(task, kl, gap, verdict):
    assert verdicts(task, kl=kl, gap=gap)[f"{task}-exact"] == verdict


@pytest.mark.parametrize(("gap", "verdict"), [(0.0099, "holds"), (0.0101, "partly"), (-0.0101, "partly")])
def test_mismatched_models_are_as_right_as_their_oracle(gap, verdict):
    assert verdicts(gap=gap)["mismatched"] == verdict


@pytest.mark.parametrize(
    ("nearest", "margin", "verdict"), [(1, 0.002, "holds"), (1, 0.0009, "partly"), (0, 0.1, "partly"), (2, 0.1, "partly")]
)
def test_every_model_follows_its_own_oracle(nearest, margin, verdict):
    assert verdicts(nearest=nearest, margin=margin)["follows"] == verdict


@pytest.mark.parametrize(
    ("numbers", "verdict"),
    [(dict(gaps=[0.02, 0.001]), "partly"), (dict(gaps=[0.02, -0.02, 0.001]), "fails"), (dict(gaps=[0.01, -0.01]), "holds")],
)
def test_half_of_the_cells_make_a_part(numbers, verdict):
    assert CRITERIA.grade("mismatched", numbers) == verdict


STUDY = SimpleNamespace(rng=rng_of)


def static_of(k, depth, *nearest):
    """Distances of 9 sequences to all oracles where the one named is nearest, levels told apart from -1 up; None: a near tie."""

    def distances(best, ways=(0, 1)):
        found = np.full((9, 2, depth + 1), 0.1)
        found += np.linspace(0, 0.01, 9)[:, None, None]
        if best is None:  # the own oracle is ahead of another in half of the sequences
            found[::2, :, k] -= 0.05
            found[1::2, :, k] += 0.05
        elif isinstance(best, tuple):  # one oracle each way
            for way, oracle in enumerate(best):
                found[:, way, oracle] = 0.05
        else:
            found[:, ways, best] = 0.05
        return found

    by_level = {kept: distances(best) for kept, best in zip(range(-1, depth), nearest, strict=True)}
    return StaticDistances(distances(k), distances(k), by_level)


@pytest.mark.parametrize(
    ("none", "one_more", "beyond", "static", "verdict"),
    [
        (3, 3, 2, 2, "holds"),
        (3, 3, 3, 2, "fails"),  # levels outside the blocks count
        (3, 2, 2, 2, "fails"),  # the level inside does not
        (3, 3, 2, 3, "fails"),  # a static pattern answers like another oracle
        (3, 3, 2, None, "fails"),  # or no surer like its own
        (3, 3, 2, (2, 3), "fails"),  # or so in one direction only
        (3, (2, 3), 2, 2, "fails"),  # what is spent must cost the lead both ways
    ],
)
def test_merging_levels_is_judged_by_the_oracle_that_stays_nearest(none, one_more, beyond, static, verdict):
    """Depth 3, k = 2: blocks of two leaves, whose level 1 is needed and level 2 is not."""
    rows = [(str(kept), about(0.1), about(0.1)) for kept in range(-1, 3)]
    found = static_of(2, 3, none, one_more, beyond, static)
    assert _merging_claim(STUDY, family_of(2, task="root", depth=3), [rows], [found]).verdict == verdict


def test_blocks_of_one_leaf_have_no_level_to_be_needed():
    rows = [(str(kept), about(0.1), about(0.1)) for kept in range(-1, 3)]
    claim = _merging_claim(STUDY, family_of(3, depth=3), [rows], [static_of(3, 3, 3, 3, 3, 3)])
    assert claim.numbers["levels_inside"] == [0] and claim.numbers["spent_lead_high"] == [None]
    assert claim.verdict == "holds"
    assert _merging_claim(STUDY, family_of(2, depth=3), [rows], [static_of(2, 3, 2, 2, 2, 2)]).verdict == "fails"


def test_levels_that_merging_leaves_apart_count_as_no_success():
    """Level 1: the last level is alone, merging it with nothing is no measurement."""
    rows = [(str(kept), about(0.1), about(0.1)) for kept in range(-1, 3)]
    claim = _merging_claim(STUDY, family_of(1, depth=3), [rows], [static_of(1, 3, 3, 3, 2, 1)])
    assert claim.numbers["levels_outside"] == [0] and claim.numbers["free_lead_low"] == [None]
    assert claim.verdict == "holds"


class Grid:
    """Accuracies [hook, depth] of probes."""

    hooks = ("embed", "block")
    n_test = 9

    def __init__(self, *by_depth):
        self.by_depth = by_depth

    def own_mean(self, score, target, source="model"):
        return exactly([0.1, self.by_depth[int(target.removeprefix("symbol "))]])


@pytest.mark.parametrize(
    ("grids", "levels", "verdict"),
    [
        ([Grid(0.84, 0.96), Grid(0.84, 0.84)], (1, 2), "holds"),
        ([Grid(0.86, 0.96), Grid(0.84, 0.84)], (1, 2), "partly"),  # what the level does not hold can be read
        ([Grid(0.84, 0.94), Grid(0.84, 0.84)], (1, 2), "partly"),  # what it holds cannot
        ([Grid(0.96, 0.96), Grid(0.84, 0.96)], (0, 1), "holds"),  # level 0 has no ancestors above
        ([Grid(0.94, 0.96), Grid(0.84, 0.94)], (0, 1), "fails"),
        ([Grid(0.84, 0.86)], (2,), "fails"),  # level 2, the depth, holds none
    ],
)
def test_just_the_ancestors_of_the_level_are_recovered(grids, levels, verdict, monkeypatch):
    monkeypatch.setattr("analyses.tree_levels.ancestors._reference", lambda family: None)
    claim = ancestors_claim(family_of(*levels), grids)
    assert claim.verdict == verdict
    assert [value is None for value in claim.numbers["highest_above"]] == [level == 0 for level in levels]
    assert [value is None for value in claim.numbers["lowest_inside"]] == [level == 2 for level in levels]


@pytest.mark.parametrize(
    ("at_ends", "random", "verdict"),
    [
        ([[0, 0], [0.2, 0.8], [0.7, 0.9]], 0.5, "holds"),
        ([[0, 0], [0.2, 0.3], [0.7, 0.9]], 0.5, "partly"),  # the second ancestor at another block
        ([[0, 0], [0.2, 0.8], [0.7, 0.9]], 0.8, "partly"),  # the first no better than random weights
        ([[0, 0], [0.2, 0.3], [0.7, 0.9]], 0.8, "fails"),
    ],
)
def test_both_fits_read_an_ancestor_at_the_same_block(at_ends, random, verdict):
    found = [
        SimpleNamespace(accuracy=exactly(accuracy), n_test=9)
        for accuracy in ([[0, 0], [0.3, 0.9], [0.9, 0.95]], at_ends, np.full((3, 2), random))
    ]
    assert ends_claim(family_of(0), *found).verdict == verdict
