"""The page on training sets: curves on tiny runs, and verdicts on made ones."""

from dataclasses import replace

import numpy as np
import pytest
from document_checks import claims_have_evidence, figures_can_be_drawn, survives_the_round_trip
from small_runs import write_run

from analyses.tree_samples import transfer
from analyses.tree_samples.blocks import study_blocks
from analyses.tree_samples.criteria import CRITERIA
from analyses.tree_samples.curves import Curve
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
    assert {c.id for c in page.claims} == {f"samples-{part}" for part in ("optimum", "order", "blocks", "transfer")}
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
    assert verdicts["blocks"] == verdicts["transfer"] == "short", "one seed is too few for a verdict"
    assert "short" not in (verdicts["optimum"], verdicts["order"]) or "more than" in page.claims[1].measured


def test_runs_that_cannot_be_compared_are_named(sets):
    tuned = [run for run in sets if run.name.startswith("tuned")]
    alien = replace(sets[1], name="alien", config=replace(sets[1].config, process=replace(sets[1].config.process, sigma=2.0)))
    page = study.analyse("tree_samples", study.Study((*tuned, alien), True, lambda text: None))
    missing = {section.id: section.reason for section in page.sections}
    assert set(missing) == {"transfer", "skipped"} and not page.claims
    assert missing["transfer"].startswith("no run of the same size from random weights")
    assert missing["skipped"].startswith("alien: ")


def made_curve(*seeds, name="x", best=1.0):
    """Accuracies of every seed at 512, 1024 and 2048 sequences."""
    values = np.array(seeds, dtype=float).T
    return Curve(name, (512, 1024, 2048)[: len(values)], values, values, values, best, chance=0.0, error=0.0)


@pytest.mark.parametrize(
    ("three", "one", "verdict"),
    [
        ([(0.9, 0.95), (0.9, 0.96)], [(0.5, 0.7), (0.5, 0.7)], "holds"),
        ([(0.9, 0.84), (0.9, 0.99)], [(0.5, 0.7), (0.5, 0.7)], "partly"),  # one seed of three blocks falls behind
        ([(0.9, 0.95), (0.9, 0.96)], [(0.5, 0.7), (0.5, 0.93)], "partly"),  # one seed of a single block does not
        ([(0.9, 0.5), (1.0, 0.5)], [(0.9, 0.9), (0.9, 0.99)], "fails"),
        ([(0.9, 0.95)], [(0.5, 0.7), (0.5, 0.7)], "short"),
    ],
)
def test_numbers_of_blocks_are_judged_by_their_worst_seeds(three, one, verdict):
    curves = {4: made_curve((0.95, 0.98), (0.95, 0.97)), 3: made_curve(*three), 1: made_curve(*one)}
    assert study_blocks(curves)[0][0].verdict == verdict


@pytest.mark.parametrize(
    ("filtered", "verdict"),
    [
        ([(0.2, 0.5, 0.96), (0.2, 0.5, 0.97)], "holds"),
        ([(0.2, 0.5, 0.9), (0.2, 0.5, 0.9)], "holds"),  # more than the largest set
        ([(0.2, 0.97, 0.98), (0.2, 0.5, 0.97)], "partly"),  # one seed needs no more than the whole tree
        ([(0.96, 0.97, 0.98), (0.97, 0.98, 0.99)], "fails"),
        ([(0.2, 0.5, 0.96)], "short"),
    ],
)
def test_the_order_of_levels_needs_every_seed(filtered, verdict):
    whole = made_curve((0.2, 0.96, 1), (0.2, 0.97, 1), name="k = 0")
    claims = study_levels([whole, made_curve(*filtered, name="k = 1")], 100, [])[0]
    assert claims[1].verdict == verdict
    assert claims[0].verdict == ("short" if verdict == "short" else "partly" if filtered[0][-1] == 0.9 else "holds")


@pytest.mark.parametrize(
    ("filtered", "sizes", "verdict"),
    [
        ([(0.2, 0.5), (0.2, 0.5)], (512, 2048), "holds"),  # more than 2,048, and the whole tree needs fewer
        ([(0.2, 0.5), (0.2, 0.5)], (512, 600), "short"),  # more than 600, which may still be fewer
    ],
)
def test_a_level_that_never_arrives_is_judged_by_its_largest_set(filtered, sizes, verdict):
    whole = made_curve((0.2, 0.96, 1), (0.2, 0.97, 1), name="k = 0")
    late = replace(made_curve(*filtered, name="k = 1"), sizes=sizes)
    assert study_levels([whole, late], 100, [])[0][1].verdict == verdict
    assert study_levels([late, whole], 100, [])[0][1].verdict == "short", "nobody knows what the first level needs"


@pytest.mark.parametrize(
    ("key", "numbers", "verdict"),
    [
        ("optimum", {"lowest_share": [0.95, 1.0]}, "holds"),
        ("optimum", {"lowest_share": [0.949, 1.0]}, "partly"),
        ("optimum", {"lowest_share": [None, 1.0]}, "partly"),
        ("optimum", {"lowest_share": [0.949, 0.2]}, "fails"),
        ("transfer", {"factor": [2.0, 8.0]}, "holds"),
        ("transfer", {"factor": [1.99, 8.0]}, "partly"),
        ("transfer", {"factor": [None, 8.0]}, "partly"),
        ("transfer", {"factor": [1.99, None]}, "fails"),
    ],
)
def test_the_bounds_stand_where_the_criteria_put_them(key, numbers, verdict):
    assert CRITERIA.grade(key, numbers | {"fewest_seeds": 2}) == verdict
    assert CRITERIA.grade(key, numbers | {"fewest_seeds": 1}) == "short"


def test_a_depth_that_was_not_trained_is_not_asked_for():
    """Without three blocks, and with no depth beyond three and four, two parts of the claim fall away."""
    deep, poor = made_curve((0.95, 0.98), (0.95, 0.97)), made_curve((0.5, 0.7), (0.5, 0.7))
    near = made_curve((0.9, 0.95), (0.9, 0.96))
    assert study_blocks({4: deep, 1: poor})[0][0].verdict == "holds"
    assert study_blocks({4: deep, 3: near})[0][0].verdict == "holds"
    assert study_blocks({4: deep, 3: poor})[0][0].verdict == "partly"
    assert study_blocks({4: poor, 1: deep})[0][0].verdict == "fails"


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
