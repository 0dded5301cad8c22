"""Every analysis, end to end on tiny runs of every kind: a document that validates, with a control beside every claim."""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from small_runs import write_run

from analyses.beyond.claims import _claim
from analyses.mechanism.attention import _match_figure, climbs, needs_levels
from analyses.mechanism.patching import _patch_claim
from analyses.samples import transfer
from analyses.samples.blocks import study_blocks
from analyses.samples.curves import Curve
from analyses.samples.levels import study_levels
from analyses.training.ladder import inclusions
from mechbp import study
from mechbp.errors import InputError
from mechbp.methods.attention import AttentionMatch, LevelMass
from mechbp.methods.intervals import Interval
from mechbp.methods.patching import PatchCell
from mechbp.models.runs import load
from mechbp.models.training import train
from mechbp.report.document import dumps, loads
from mechbp.report.figures import draw

KINDS = {
    "masked": {},
    "filtered": {"process__filter_level": 1, "model__n_layers": 2},
    "root": {"objective__task": "root", "model__n_layers": 2, "model__n_heads": 1},
    "next-token": {"objective__task": "next-token", "model__attention": "causal"},
}
"""Two heads but for "root", filter level 0 but for "filtered"; "filtered" and "root" have as many blocks as levels."""
CLAIMS = {
    "tree_inference": {"exact", "nearest", "staircase"},
    "tree_mechanism": {"probe-order", "patch-order", "attention-levels", "attention-causal", "attention-theory"},
}
FIGURES = {"tree_inference": 6, "tree_mechanism": 16}
"""Per masked or root run."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("analyses")
    changes = {"process__vocab_size": 3, "training__steps": 12, "training__warmup_steps": 2, "training__stored_steps": 2}
    folders = [write_run(root / name, **{**changes, **kind}) for name, kind in KINDS.items()]
    for folder in folders:
        train(folder)
    return tuple(load(folder) for folder in folders)


@pytest.fixture(scope="module", params=[*sorted(CLAIMS), "tree_levels", "tree_training", "tree_beyond"])
def document(request, runs):
    """The analysis's document; samples a quarter of `--quick` or less, at most 150: enough for the probes of 8 dimensions."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(study.Study, "size", lambda self, full, quick: min(quick, max(24, min(150, quick // 4))))
        return study.analyse(study.load_analysis(request.param), study.Study(runs, True, lambda text: None))


def test_documents_survive_the_round_trip(document):
    text = dumps(document)
    assert dumps(loads(text)) == text and loads(text).claims == document.claims


def test_every_kind_of_run_is_studied(document):
    if document.slug not in CLAIMS:
        pytest.skip("studies runs side by side, in the tests below")
    for name in ("masked", "filtered", "root"):
        claims = {claim.id.removeprefix(f"{name}-") for claim in document.claims if claim.id.startswith(f"{name}-")}
        # At depth 2 the tree often leaves a single leaf no other symbol that fits: one subtree alone has no order.
        assert claims | {"patch-order"} == CLAIMS[document.slug] | {"patch-order"}
        assert sum(figure.id.startswith(f"fig-{name}-") for figure in document.figures) == FIGURES[document.slug]
    assert any(claim.id == "root-patch-order" for claim in document.claims) == (document.slug == "tree_mechanism")
    skipped = {section.id for section in document.sections if section.status != "done"}
    assert skipped == ({"run-next-token"} if document.slug == "tree_mechanism" else set())
    assert set(document.provenance.runs) == set(KINDS)


def test_filter_levels_stand_side_by_side(document):
    if document.slug != "tree_levels":
        pytest.skip("the other analyses study run by run")
    families = {"masked": ["k = 0", "k = 1"], "root": ["k = 0"]}
    ids = {f"{name}-{claim}" for name in families for claim in ("exact", "mismatched", "follows", "ancestors")}
    assert {claim.id for claim in document.claims} == ids | {"masked-merging", "masked-ends"}
    figures = {figure.id: figure for figure in document.figures}
    for name, rows in families.items():
        assert figures[f"fig-{name}-accuracy"].data["rows"] == rows
        assert figures[f"fig-{name}-divergence"].data["columns"] == ["k = 0", "k = 1", "k = 2", "uniform"]
        *trained, random = figures[f"fig-{name}-messages"].data["panels"]
        assert [panel["title"] for panel in trained] == [f"trained at {row}" for row in rows]
        assert trained[0]["control"] == random["values"] != trained[0]["values"]
    assert figures["fig-masked-maps"].status == "skipped"  # these two runs differ in their number of blocks
    assert [frame["name"] for frame in figures["fig-root-maps"].data["frames"]] == ["k = 0"]
    assert {section.id for section in document.sections if section.status != "done"} == {"skipped"}


def test_training_is_watched(document):
    if document.slug != "tree_training":
        pytest.skip("the other analyses study the last step")
    ladders, watched = {"masked-k0", "masked-k1", "root-k0"}, {"masked", "filtered", "root"}
    claims = {f"{name}-ladder" for name in ladders} | {f"{name}-rise-fall" for name in watched}
    assert {claim.id for claim in document.claims} == claims
    figures = {figure.id: figure.data for figure in document.figures}
    for name in watched:  # one slider for all
        frames = [[f["name"] for f in figures[f"fig-{name}-{kind}"]["frames"]] for kind in ("staircase", "mass", "readable")]
        assert frames == [["step 0", "step 12"]] * 3
    assert "fig-masked-maps" in figures and "fig-root-maps" not in figures


def test_runs_beyond_the_paper_stand_side_by_side(document):
    if document.slug != "tree_beyond":
        pytest.skip("the other analyses study one process")
    assert {claim.id for claim in document.claims} == {
        f"beyond-{part}" for part in ("exact", "order", "looking", "needed", "writing")
    }
    figures = {figure.id: figure.data for figure in document.figures}
    assert len(figures["fig-beyond-oracles"]["rows"]) == 2  # the masked runs
    assert {section.id for section in document.sections if section.status != "done"} == {"skipped"}


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
    page = study.analyse(study.load_analysis("tree_samples"), study.Study(sets, True, lambda text: None))
    assert {c.id for c in page.claims} == {f"samples-{part}" for part in ("optimum", "order", "blocks", "transfer")}
    test_every_claim_has_numbers_a_control_and_a_figure(page)
    test_every_figure_can_be_drawn(page)
    test_documents_survive_the_round_trip(page)
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
    page = study.analyse(study.load_analysis("tree_samples"), study.Study((*tuned, alien), True, lambda text: None))
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
        study.analyse(study.load_analysis("tree_samples"), study.Study(tuple(twins), True, lambda text: None))


def test_a_level_is_taken_in_when_its_oracle_stays_nearer():
    nearest_first = [(9, 9, 1), (9, 9, 1), (9, 1, 3), (9, 3, 1), (9, 1, 3), (2, 3, 4)]
    lines = [
        {"step": i, "sequences": 10 * i, **{f"kl_model_to_bp{k}_nats": value for k, value in enumerate(row)}}
        for i, row in enumerate(nearest_first)
    ]
    run = SimpleNamespace(
        metrics=lines, process=SimpleNamespace(depth=2), config=SimpleNamespace(process=SimpleNamespace(filter_level=0))
    )
    assert inclusions(run) == {0: 50, 1: 40}  # BP_1 led at step 2 already, but not for good
    run.metrics = lines[:4]
    assert inclusions(run) == {}


@pytest.mark.parametrize(("gap_low", "first_block", "verdict"), [(0.1, 0, "holds"), (-0.1, 0, "fails"), (0.1, 1, "fails")])
def test_the_order_at_the_root_needs_a_gap_and_a_later_block(gap_low, first_block, verdict):
    """Half of the effect arrives at the ROOT query, position 4, after block 2, or with `first_block` after block 1."""
    cells = [PatchCell(f"blocks.{layer}.{site}", 4, None) for layer in (0, 1) for site in ("hook_resid_pre", "hook_resid_post")]
    arrived = Interval(np.array([0, first_block, first_block, 1.0]), np.zeros(4), np.ones(4), 9)
    found = SimpleNamespace(cells=cells, normalized_effect=arrived, gap=SimpleNamespace(low=np.float64(gap_low)))
    config = SimpleNamespace(objective=SimpleNamespace(task="root"), model=SimpleNamespace(n_layers=2))
    run = SimpleNamespace(name="own", config=config, process=SimpleNamespace(n_leaves=4))
    assert _patch_claim(run, {"1 leaf redrawn": found, "2 leaves redrawn": found}).verdict == verdict


@pytest.mark.parametrize(
    ("averaged", "uniform", "verdict"),
    [
        ((0.004, 0.009), (0.2, 0.3), "holds"),
        ((0.004, 0.011), (0.2, 0.3), "partly"),  # the interval of the loss reaches beyond a hundredth of a nat
        ((0.004, 0.009), (0.09, 0.3), "partly"),  # that of uniform attention reaches below a tenth
        ((0.04, 0.051), (0.2, 0.3), "fails"),  # a quarter of uniform attention's loss
    ],
)
def test_levels_are_needed_where_averages_cost_nothing_and_uniform_attention_much(averaged, uniform, verdict):
    intervals = [Interval(*map(np.array, (np.mean(ends), *ends)), n=9) for ends in (averaged, uniform)]
    assert needs_levels(*intervals) == verdict


@pytest.mark.parametrize(("second", "climbing"), [(1.3, True), (1.2, False), (0.5, False)])
def test_blocks_climb_only_in_clear_steps(second, climbing):
    """One block looks at level 1, of the next one head at level 0 and the other between levels 1 and 2."""
    mass = np.zeros((2, 2, 3))
    mass[0, :, 1], mass[1, 0, 0] = 1, 1
    mass[1, 1, 1:] = (2 - second, second - 1) if second > 1 else (second, 0)
    found = LevelMass(Interval(mass, mass, mass, 9), np.ones(3) / 3, mass[None])
    assert found.mean_level == pytest.approx([1, second]) and climbs(found) == climbing


@pytest.mark.parametrize(
    ("verdicts", "joined"),
    [
        (["holds", "holds", "holds"], "holds"),
        (["fails", "holds", "holds"], "partly"),
        (["holds", "fails", "partly"], "partly"),
        (["holds", "fails", "fails"], "fails"),  # the first is what the others are held against
        (["partly"], "partly"),
    ],
)
def test_a_claim_on_several_runs_is_about_those_beyond_the_first(verdicts, joined):
    parts = {name: "x" for name in ("id", "statement", "reference", "measured", "control")}
    claim = _claim(verdicts, **parts)
    assert claim.verdict == joined and claim.measured == f"holds in {verdicts.count('holds')} of {len(verdicts)} runs\nx"


def test_every_model_is_shown_by_its_own_nearest_head():
    trained, control = np.array([[0.1, 0.5]]), np.array([[0.6, 0.4]])
    null = np.tile([[0.05, 0.6]], (19, 1, 1))
    null[1:, :, 0] = np.linspace(0.2, 0.3, 18)[:, None]
    null[5, :, 1] = 0.08  # nearer than the trained model's nearest head, by a head that is not its nearest
    uniform, ones = np.full((1, 2), 0.3), np.ones((1, 2))
    intervals = [Interval(values, values, values, 9) for values in (trained, ones, control, ones)]
    match = AttentionMatch(
        np.ones((1, 2, 4, 4)) / 4, intervals[0], intervals[1], ones, ones, null, uniform, uniform, *intervals[2:]
    )
    figure = _match_figure(SimpleNamespace(name="own"), match, "sibling-subtree")
    shown = {series["name"]: series["x"] for series in figure.data["series"]}
    assert [shown[name] for name in ("trained", "random weights", "uniform attention")] == [[0.1], [0.4], [0.3]]
    assert shown["relabelled leaves, 5 % point"] == pytest.approx([np.quantile(null.min(axis=2), 0.05)], rel=1e-5)
    assert "Permutation p by block: 0.150." in figure.caption and "p allows for that choice" in figure.caption


def test_every_claim_has_numbers_a_control_and_a_figure(document):
    shown = {figure.id for figure in document.figures if figure.status == "done"}
    for claim in document.claims:
        assert re.search(r"\d", claim.measured), claim.id
        assert claim.control.strip() and claim.reference.strip(), claim.id
        assert claim.figure in shown, claim.id
        assert "nan" not in f"{claim.measured} {claim.control}".lower(), claim.id


def test_every_figure_can_be_drawn(document):
    for figure in document.figures:
        assert figure.caption and figure.alt
        assert figure.status != "done" or draw(figure.kind, figure.data).data
