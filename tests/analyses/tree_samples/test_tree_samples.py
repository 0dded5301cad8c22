"""The page on training sets: curves on tiny runs, and verdicts on made ones."""

from dataclasses import replace

import numpy as np
import pytest
from document_checks import claims_have_evidence, figures_can_be_drawn, survives_the_round_trip
from small_runs import write_run

from analyses.tree_samples import transfer
from analyses.tree_samples.blocks import study_blocks
from analyses.tree_samples.criteria import CRITERIA
from analyses.tree_samples.curves import Curve, Oracles, paired_lead
from analyses.tree_samples.levels import study_levels
from mechbp import study
from mechbp.errors import InputError
from mechbp.models.runs import load
from mechbp.models.training import train
from mechbp.report.criteria import regrade

SAMPLES = {
    **{f"k{k}-p{size}-s{seed}": (k, size, seed, 2) for k in (0, 1) for size in (16, 32) for seed in (0, 1)},
    **{f"k0-p{size}-l1": (0, size, 0, 1) for size in (16, 32)},
}


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Root models on fixed sets, and some fine-tuned from a masked one."""
    root = tmp_path_factory.mktemp("sets")
    common = {
        "process__vocab_size": 3, "training__steps": 8, "training__warmup_steps": 2, "training__early_stopping": 2.0,
    }  # fmt: skip
    masked = write_run(root / "masked", process__vocab_size=3, training__steps=8, model__n_layers=2)
    train(masked)
    start = {"start__run": "masked", "start__sha256": load(masked).digest}
    folders = []
    for name, (level, size, seed, blocks) in SAMPLES.items():
        changes = {
            "process__filter_level": level,
            "training__training_set": size,
            "training__seed": seed,
            "model__n_layers": blocks,
        }
        folders.append(write_run(root / name, objective__task="root", **common, **changes))
    for size in (16, 32):
        changes = {"training__training_set": size, "model__n_layers": 2} | start
        folders.append(write_run(root / f"tuned-{size}", objective__task="root", **common, **changes))
    for folder in folders:
        train(folder)
    return tuple(load(folder) for folder in (masked, *folders))


def test_training_sets_of_growing_size(sets, monkeypatch):
    monkeypatch.setattr(transfer, "FROZEN_SIZES", (32, 64))
    page = study.analyse("tree_samples", study.Study(sets, True, lambda text: None))
    parts = ("optimum", "order", "least", "early", "crossing", "blocks", "transfer", "transfer-ahead")
    assert {claim.id for claim in page.claims} == {f"samples-{part}" for part in parts}
    for check in (claims_have_evidence, figures_can_be_drawn, survives_the_round_trip):
        check(page)
    assert regrade(page, CRITERIA) == []
    assert {claim.criterion for claim in page.claims} == set(CRITERIA)
    figures = {figure.id: figure.data for figure in page.figures}
    assert [s["name"] for s in figures["fig-samples-levels"]["series"]] == ["k = 0", "k = 1"]
    assert [s["name"] for s in figures["fig-samples-blocks"]["series"]] == ["2 blocks", "1 block"]
    assert figures["fig-samples-levels"]["series"][0]["x"] == [16, 32]
    assert [s["x"] for s in figures["fig-samples-transfer"]["series"]] == [[16, 32]] * 2 + [[32]] * 3
    assert [section.id for section in page.sections if section.status == "skipped"] == ["skipped"]  # the masked run
    verdicts = {claim.id.removeprefix("samples-"): claim.verdict for claim in page.claims}
    one_seed = {verdicts[part] for part in ("blocks", "transfer", "transfer-ahead")}
    assert one_seed == {"short"}, "one seed is too few for a verdict"
    assert verdicts["least"] == "not run", "no run of the level that is the depth"
    assert "short" not in (verdicts["optimum"], verdicts["order"], verdicts["crossing"])


def test_runs_that_cannot_be_compared_are_named(sets):
    tuned = [run for run in sets if run.name.startswith("tuned")]
    alien = replace(sets[1], name="alien", config=replace(sets[1].config, process=replace(sets[1].config.process, sigma=2.0)))
    page = study.analyse("tree_samples", study.Study((*tuned, alien), True, lambda text: None))
    missing = {section.id: section.reason for section in page.sections}
    assert set(missing) == {"transfer", "skipped"} and not page.claims
    assert missing["transfer"].startswith("no run of the same size from random weights")
    assert missing["skipped"].startswith("alien: ")


def made_curve(*seeds, name="x", best=1.0, level=0, rival=0.8):
    """Accuracies of every seed at 512, 1024 and 2048 sequences, the same for each of four test sequences."""
    values = np.array(seeds, dtype=float).T
    oracles = Oracles(np.full(4, best), np.full(4, rival), 1)
    hits = np.repeat(values[..., None], 4, axis=2)
    sizes = (512, 1024, 2048)[: len(values)]
    return Curve(name, sizes, level, 2, tuple(range(len(seeds))), hits, values, values, oracles, chance=0.0)


@pytest.mark.parametrize(
    ("three", "one", "verdict"),
    [
        ([(0.90, 0.95), (0.90, 0.95)], [(0.5, 0.7), (0.5, 0.7)], "holds"),
        ([(0.96, 0.95), (0.96, 0.95)], [(0.5, 0.7), (0.5, 0.7)], "partly"),  # three blocks lead at the smaller set
        ([(0.90, 0.84), (0.90, 0.84)], [(0.5, 0.7), (0.5, 0.7)], "partly"),  # they fall behind at the larger
        ([(0.90, 0.87), (0.90, 0.91)], [(0.5, 0.7), (0.5, 0.7)], "partly"),  # by how much depends on the seed
        ([(0.96, 0.5), (0.96, 0.5)], [(0.9, 0.9), (0.9, 0.99)], "fails"),
        ([(0.9, 0.95)], [(0.5, 0.7), (0.5, 0.7)], "short"),
    ],
)
def test_numbers_of_blocks_are_judged_by_paired_seeds(three, one, verdict):
    curves = {4: made_curve((0.95, 0.97), (0.95, 0.97)), 3: made_curve(*three), 1: made_curve(*one)}
    assert study_blocks(curves)[0][0].verdict == verdict


WHOLE = ((0.2, 0.96, 1), (0.21, 0.96, 1))


def levels(filtered, **changes):
    """Verdicts on a curve beside that of the whole tree, by criterion."""
    whole = made_curve(*WHOLE, name="k = 0")
    claims = study_levels([whole, made_curve(*filtered, name="k = 1", **{"level": 1, **changes})], 100, [])[0]
    return {claim.criterion: claim.verdict for claim in claims}


@pytest.mark.parametrize(
    ("filtered", "verdict"),
    [
        ([(0.1, 0.3, 0.96), (0.1, 0.31, 0.97)], "holds"),
        ([(0.1, 0.3, 0.9), (0.1, 0.31, 0.9)], "holds"),  # more than the largest set
        ([(0.4, 0.6, 0.97), (0.4, 0.61, 0.97)], "partly"),  # later at 95 %, earlier at half of the way
        ([(0.1, 0.3, 0.96), (0.4, 0.97, 0.98)], "fails"),  # seeds differ more than levels
        ([(0.96, 0.97, 0.98), (0.97, 0.98, 0.99)], "fails"),
        ([(0.1, 0.3, 0.96)], "fails"),  # of one seed nothing is known
    ],
)
def test_the_order_of_levels_is_asked_at_every_share_of_the_way(filtered, verdict):
    found = levels(filtered)
    assert found["order"] == verdict and found["least"] == "not run"
    assert levels(filtered, level=2)["order"] == "not run", "the level that is the depth is asked the other way round"


def test_the_least_demanding_level_is_asked_the_other_way_round():
    assert levels([(0.5, 0.955, 1), (0.51, 0.965, 1)], level=2)["least"] == "partly"  # not clear at 95 %
    assert levels([(0.1, 0.3, 0.96), (0.1, 0.31, 0.97)], level=2)["least"] == "fails"
    early = [(0.955, 0.97, 1), (0.956, 0.97, 1)]
    assert levels(early, level=2)["least"] == "holds"


def test_the_first_half_of_the_way_is_asked_by_itself():
    assert levels([(0.6, 0.7, 0.97), (0.61, 0.71, 0.97)])["early"] == "holds"
    assert levels([(0.1, 0.3, 0.96), (0.1, 0.31, 0.97)])["early"] == "fails"
    assert levels([(0.1, 0.3, 0.96), (0.6, 0.7, 0.97)])["early"] == "fails", "seeds differ more than levels"


@pytest.mark.parametrize(
    ("filtered", "verdict"),
    [
        ([(0.4, 0.6, 0.97), (0.4, 0.61, 0.97)], "holds"),  # ahead at 512, behind at 1024
        ([(0.1, 0.3, 0.96), (0.1, 0.31, 0.97)], "fails"),  # behind everywhere
        ([(0.4, 0.97, 1), (0.41, 0.97, 1)], "fails"),  # ahead, then equal
        ([(0.1, 0.3, 0.9), (0.9, 0.99, 1)], "fails"),  # seeds differ more than levels
    ],
)
def test_levels_cross_where_one_is_ahead_and_later_behind(filtered, verdict):
    assert levels(filtered)["crossing"] == verdict


@pytest.mark.parametrize(
    ("last", "rival", "verdict"),
    [((0.97, 0.97), 0.9, "holds"), ((0.94, 0.94), 0.9, "partly"), ((0.96, 0.99), 0.9, "fails"), ((0.97, 0.97), 0.98, "fails")],
)
def test_the_optimum_is_held_against_the_best_other_oracle(last, rival, verdict):
    """Two seeds of .96 and .99 have an interval that reaches below .9."""
    curve = made_curve(*((0.2, 0.5, end) for end in last), name="k = 0", rival=rival)
    assert study_levels([curve], 100, [])[0][0].verdict == verdict


@pytest.mark.parametrize(
    ("key", "numbers", "verdict"),
    [
        ("optimum", {"share_low": [0.949, 1.0], "lead_low": [0.1, 0.1]}, "partly"),
        ("optimum", {"share_low": [None, 1.0], "lead_low": [None, -0.1]}, "fails"),
        ("transfer", {"factor_low": [1.01, 8.0], "beyond_low": [0.1]}, "holds"),
        ("transfer", {"factor_low": [1.01, 8.0], "beyond_low": [-0.1]}, "partly"),
        ("transfer", {"factor_low": [None, 8.0], "beyond_low": [0.1]}, "partly"),
        ("transfer", {"factor_low": [0.99, None], "beyond_low": [0.1]}, "fails"),
        ("ahead", {"lead_low": [0.01, 0.01]}, "holds"),
        ("ahead", {"lead_low": [0.01, 0.0]}, "partly"),
        ("ahead", {"lead_low": [0.0, -0.1]}, "fails"),
    ],
)
def test_the_bounds_stand_where_the_criteria_put_them(key, numbers, verdict):
    assert CRITERIA.grade(key, numbers | {"fewest_seeds": 2}) == verdict
    assert CRITERIA.grade(key, numbers | {"fewest_seeds": 1}) == "short"


def test_a_depth_that_was_not_trained_is_not_asked_for():
    """Without three blocks, and with no depth beyond three and four, two parts of the claim fall away."""
    deep, poor = (made_curve(seed, seed) for seed in ((0.95, 0.98), (0.5, 0.7)))
    near = made_curve((0.9, 0.95), (0.9, 0.95))
    assert study_blocks({4: deep, 1: poor})[0][0].verdict == "holds"
    assert study_blocks({4: deep, 3: near})[0][0].verdict == "holds"
    assert study_blocks({4: deep, 3: poor})[0][0].verdict == "partly"
    assert study_blocks({4: poor, 1: deep})[0][0].verdict == "fails"


def test_seeds_are_paired_by_number():
    one = made_curve((0.9, 0.9), (0.5, 0.5))
    other = replace(made_curve((0.4, 0.4), (0.8, 0.8)), members=(1, 0))
    assert float(paired_lead(one, other, 512).mean) == pytest.approx(0.1)


def test_how_many_sequences_a_curve_needs():
    def curve(*means):
        return made_curve(means)

    assert curve(0.5, 0.9, 1.0).needed() == pytest.approx(2**10.5)  # half way from 0.9 to 1.0 on the logarithmic axis
    assert curve(0.96, 0.97, 1.0).needed() == 512
    assert curve(0.96, 0.9, 1.0).needed() == pytest.approx(2**10.5), "a lucky small set counted"
    assert curve(0.5, 0.99, 0.9).needed() is None
    assert made_curve((0.5, 0.9, 1.0), (0.96, 0.97, 1.0)).needed_text() == "1,200 sequences (by seed at most 512 to 1,450)"
    assert curve(0.5, 0.99, 0.9).needed_text() == "more than 2,048 sequences"


def test_two_runs_of_one_size_and_seed_are_refused(sets):
    twins = [run for run in sets if run.name == "k0-p16-s0"] + [replace(sets[1], name="twin")]
    with pytest.raises(InputError, match="k0-p16-s0 and twin both have training_set 16 and seed 0"):
        study.analyse("tree_samples", study.Study(tuple(twins), True, lambda text: None))
