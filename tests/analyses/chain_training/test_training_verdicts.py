"""Verdicts about training on chains, on made courses with a planted turn, planted noise and a planted common curve."""

from dataclasses import replace

import numpy as np
import pytest
from chain_measurements import named
from chain_runs import chain_run
from document_checks import claims_have_evidence, figures_can_be_drawn, survives_the_round_trip

from analyses.chain_training.courses import Courses, Family
from analyses.chain_training.criteria import CRITERIA
from analyses.chain_training.distance import _told, distance_claims, gaps
from analyses.chain_training.grid import grids
from analyses.chain_training.noise import alike, equal_steps, noise_claims
from analyses.chain_training.turning import turning_claims
from analyses.shared.seed_groups import Group
from mechbp import study
from mechbp.models.config import ModelConfig, ObjectiveConfig
from mechbp.report.criteria import regrade
from mechbp.study import criteria_of
from mechbp.theory.chain.theory_fit import TheoryFit

STEPS = (10, 100, 1000)
SPREAD = (0.9, 1.0, 1.1)
"""By which three seeds differ."""


def fit(law, kl, predicted=0.1, mean=0.1):
    return TheoryFit(kl, 10 * kl, mean, predicted, 0.5, law, 0.1, 0.1, 0.9, (0.25, 0.25))


def courses(law, kl, *, exact=False, batch_size=128, steps=STEPS, seeds=(0, 1, 2), training_steps=1000, **others):
    """Runs whose law and distance follow these courses, each seed a little off."""
    runs = []
    for seed in seeds:
        run = named(f"{'exact' if exact else 'own'}-b{batch_size}-s{seed}", batch_size=batch_size)
        run.config.training = replace(run.config.training, seed=seed, steps=training_steps)
        run.config.objective = ObjectiveConfig("next-token", targets="posteriors" if exact else "tokens")
        runs.append(run)
    rest = {key: np.broadcast_to(values, len(steps)) for key, values in others.items()}
    fits = [
        [
            fit(a * SPREAD[i], b, **{key: values[j] for key, values in rest.items()})
            for j, (a, b) in enumerate(zip(law, kl, strict=True))
        ]
        for i, _ in enumerate(seeds)
    ]
    return Courses(Group(tuple(runs)), tuple(steps), fits)


FALLING = (1e-2, 1e-4, 1e-6)
TURNED = courses((1.0, 0.01, 1.0), FALLING, exact=True, predicted=(0.5, 0.01, 0.2), mean=(0.5, 0.01, 0.2))
STRAIGHT = courses((1.0, 0.1, 0.01), FALLING, exact=True, predicted=(0.5, 0.1, 0.01), mean=(0.5, 0.1, 0.01))
HALF = courses((1.0, 0.01, 1.0), FALLING, exact=True, predicted=(0.5, 0.1, 0.01), mean=(0.5, 0.1, 0.01))
STAYED = courses((1.0, 0.1, 0.01), (1e-2, 1e-3, 1e-4), predicted=(0.5, 0.1, 0.01))


def verdicts(claims):
    return {claim.criterion: claim.verdict for claim in claims}


@pytest.mark.parametrize(
    ("exact", "expected"),
    [
        (TURNED, {"turn": "holds", "held": "holds", "content": "holds", "approach": "fails"}),
        (HALF, {"turn": "partly", "held": "partly", "content": "fails", "approach": "fails"}),
        (STRAIGHT, {"turn": "fails", "held": "fails", "content": "fails", "approach": "holds"}),
    ],
)
def test_a_turn_has_to_be_seen_on_seeds_that_did_not_choose_it(exact, expected):
    assert verdicts(turning_claims(Family(exact, [STAYED]))) == expected


def test_where_tokens_turn_as_well_nothing_is_held():
    turned = courses((1.0, 0.01, 1.0), FALLING, predicted=(0.5, 0.01, 0.2))
    assert verdicts(turning_claims(Family(TURNED, [turned])))["held"] == "fails"
    assert verdicts(turning_claims(Family(TURNED, [turned, STAYED])))["held"] == "partly"


def test_one_seed_decides_nothing():
    single = courses((1.0, 0.01, 1.0), FALLING, exact=True, seeds=(0,))
    assert verdicts(turning_claims(Family(single, [STAYED]))) == dict.fromkeys(("turn", "approach", "content"), "not run")
    assert distance_claims(Family(single, [STAYED])) == []
    early = courses((1.0,), (1.0,), steps=(10,))  # farther from the optimum than the other ever was
    assert set(verdicts(distance_claims(Family(TURNED, [early]))).values()) == {"not run"}
    assert turning_claims(Family(None, [STAYED])) == [] and distance_claims(Family(None, [STAYED])) == []


@pytest.mark.parametrize(
    ("laws", "verdict"), [((0.01, 0.02, 0.04), "holds"), ((0.01, 0.05, 0.04), "partly"), ((0.04, 0.02, 0.01), "fails")]
)
def test_the_smaller_batch_has_to_be_the_nearer(laws, verdict):
    arms = [courses((law,), (1e-4,), batch_size=size, steps=(1000,)) for law, size in zip(laws, (32, 128, 512), strict=True)]
    (claim,) = noise_claims(Family(None, arms[::-1]))  # in whatever order they came
    assert (claim.criterion, claim.verdict) == ("noise-steps", verdict) and claim.numbers["batches"] == [32, 128, 512]


def test_batches_are_compared_at_equal_steps_or_equal_words():
    arms = [
        courses((0.1,), (1e-4,), batch_size=b, steps=(n,), training_steps=n) for b, n in ((32, 4000), (128, 1000), (512, 1000))
    ]
    found = Family(None, arms)
    assert alike(found, equal_steps) == arms[1:]
    assert alike(found, lambda item: item.words) == arms[:2]
    assert alike(Family(None, arms[:1]), equal_steps) == []


@pytest.mark.parametrize(
    ("law", "left", "expected"),
    [
        (0.01, 0.0, {"distance": "holds", "noise-left": "fails"}),  # on the path of exact answers
        (0.001, 1.0, {"distance": "holds", "noise-left": "holds"}),  # one of three decades is noise's
        (0.0001, 2.0, {"distance": "fails", "noise-left": "holds"}),  # two of four are not: half is not explained
    ],
)
def test_distance_and_noise_share_the_gap(law, left, expected):
    """Exact answers pass 1 - R² = .01 at the distance at which tokens end, and end at 1."""
    found = Family(TURNED, [courses((law,), (1e-4,), steps=(1000,))])
    measured = gaps(found)
    assert measured is not None and measured.n_runs == 3
    np.testing.assert_allclose(measured.left, left, atol=1e-9)
    noisy = replace_left(found, 1e-3)
    assert verdicts(distance_claims(noisy)) == expected | {"steps-left": "holds"}


@pytest.mark.parametrize(("law", "verdict"), [((1.0, 0.1, 0.01), "holds"), ((3.0, 2.0, 0.01), "fails")])
def test_at_equal_steps_tokens_have_to_be_nearer_too(law, verdict):
    """Exact answers end at step 1,000 with 1 - R² = 1, tokens go on to step 10,000."""
    arm = courses(law, (1e-2, 1e-3, 1e-4), steps=(100, 1000, 10_000), training_steps=10_000)
    assert verdicts(distance_claims(replace_left(Family(TURNED, [arm]), 1e-3)))["steps-left"] == verdict


def replace_left(found, by):
    """Let seeds differ a little, so that intervals have a width."""
    item = found.sampled[0]
    fits = [[replace(f, law_missed=f.law_missed * (1 + by * (i - 1))) for f in row] for i, row in enumerate(item.fits)]
    return Family(found.exact, [replace(item, fits=fits)])


def test_runs_beyond_the_path_have_no_counterpart():
    assert gaps(Family(TURNED, [courses((0.01,), (1e-7,), steps=(1000,))])) is None


@pytest.mark.parametrize(("others", "verdict"), [((0.01, 0.02), "holds"), ((0.01, 0.03), "partly"), ((0.2, 0.01), "fails")])
def test_every_other_shape_has_to_do_better(others, verdict):
    assert CRITERIA.grade("grid", {"one_head": 0.1, "others": list(others)}) == verdict


def test_a_grid_is_runs_that_differ_in_shape_alone():
    def shaped(layers, heads, d_head=16):
        run = named(f"l{layers}-h{heads}-{d_head}")
        run.config.model = ModelConfig(layers, heads, 64, 256, attention="causal", d_head=d_head)
        return run

    runs = [shaped(1, 1), shaped(1, 2), shaped(2, 1), shaped(1, 2, 0)]
    assert grids(runs) == [runs[:3]]
    assert grids(runs[1:]) == [] and grids(runs[:1]) == []


def test_the_page_is_made_of_tiny_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(study.Study, "size", lambda self, full, quick: min(quick, 64))
    names = ("two-heads", "two-heads-again", "two-heads-exact", "two-heads-exact-again", "grid", "grid-deep", "deep", "silent")
    runs = tuple(chain_run(tmp_path, name) for name in names)
    document = study.analyse("chain_training", study.Study(runs, True, lambda text: None))
    survives_the_round_trip(document)
    figures_can_be_drawn(document)
    claims_have_evidence(document)
    assert regrade(document, criteria_of("chain_training")) == []
    found = {claim.criterion: claim.verdict for claim in document.claims}
    assert set(found) == {"turn", "approach", "steps-left", "held", "content", "distance", "noise-left", "grid"}
    assert found["turn"] == "not run" and found["grid"] != "not run"  # twelve steps, of which one is stored
    (skipped,) = (section for section in document.sections if section.status == "skipped" and section.id == "skipped")
    assert "deep, silent" in skipped.reason


def test_at_equal_steps_only_seeds_that_store_steps_are_told():
    assert _told(np.array([0.1, 0.2, np.nan])).endswith("decades, 2 seeds that store steps")
    assert _told(np.array([0.1, np.nan])) == "fewer than 2 seeds store steps"
