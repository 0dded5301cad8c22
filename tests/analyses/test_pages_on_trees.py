"""Every analysis, end to end on tiny runs of every kind: a document that validates, with a control beside every claim."""

import pytest
from document_checks import claims_have_evidence, figures_can_be_drawn, survives_the_round_trip
from small_runs import write_run

from mechbp import study
from mechbp.models.runs import load
from mechbp.models.training import train
from mechbp.report.criteria import regrade
from mechbp.study import criteria_of, page_file

pytestmark = pytest.mark.early

KINDS = {
    "masked": {},
    "filtered": {"process__filter_level": 1, "model__n_layers": 2},
    "root": {"objective__task": "root", "model__n_layers": 2, "model__n_heads": 1},
    "next-token": {"objective__task": "next-token", "model__attention": "causal"},
}
"""Two heads but for "root", filter level 0 but for "filtered"; "filtered" and "root" have as many blocks as levels."""
CLAIMS = {
    "tree_inference": {"exact", "nearest", "staircase"},
    "tree_mechanism": {
        *("message-used", "message-idle", "message-means", "probe-order", "patch-order", "attribution-agrees"),
        *("integrated-agrees", "attention-levels", "attention-causal", "attention-theory"),
    },
}
MASKED_ONLY = {"tree_inference": set(), "tree_mechanism": {"message-side", "message-downward"}}
FIGURES = {"tree_inference": 6, "tree_mechanism": 19}
"""Per masked or root run; a masked one has as many more in the mechanism as claims: side effects and downward messages."""


UNASKED = {"tree_mechanism": {"patch-order", "seeds-used", "seeds-idle", "objective-matters"}}
"""Criteria of claims that these runs need not raise: at depth 2 one subtree alone has no order; no run repeats another."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("analyses")
    changes = {"process__vocab_size": 3, "training__steps": 12, "training__warmup_steps": 2, "training__stored_steps": 2}
    folders = [write_run(root / name, **{**changes, **kind}) for name, kind in KINDS.items()]
    for folder in folders:
        train(folder)
    return tuple(load(folder) for folder in folders)


@pytest.fixture(
    scope="module",
    params=[
        *(pytest.param(name, marks=[pytest.mark.slow] * (name == "tree_mechanism")) for name in sorted(CLAIMS)),
        "tree_levels",
        "tree_training",
        "tree_beyond",
        "tree_content",
    ],
)
def document(request, runs):
    """The analysis's document; samples a quarter of `--quick` or less, at most 150: enough for the probes of 8 dimensions."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(study.Study, "size", lambda self, full, quick: min(quick, max(24, min(150, quick // 4))))
        return study.analyse(request.param, study.Study(runs, True, lambda text: None))


def test_documents_survive_the_round_trip(document):
    survives_the_round_trip(document)


def test_every_claim_has_numbers_a_control_and_a_figure(document):
    claims_have_evidence(document)


def test_every_figure_can_be_drawn(document):
    figures_can_be_drawn(document)


def test_documents_are_graded_by_their_criteria(document):
    if not page_file(document.slug).with_name("criteria.toml").is_file():
        pytest.skip("decides its claims itself")
    criteria = criteria_of(document.slug)
    assert regrade(document, criteria) == []
    asked = {key for key in criteria if not criteria[key].withdrawn}
    assert {claim.criterion for claim in document.claims} | UNASKED.get(document.slug, set()) == asked


def test_every_kind_of_run_is_studied(document):
    if document.slug not in CLAIMS:
        pytest.skip("studies runs side by side, in the tests below")
    for name in ("masked", "filtered", "root"):
        claims = {claim.id.removeprefix(f"{name}-") for claim in document.claims if claim.id.startswith(f"{name}-")}
        # At depth 2 the tree often leaves a single leaf no other symbol that fits: one subtree alone has no order.
        expected = CLAIMS[document.slug] | (MASKED_ONLY[document.slug] if name != "root" else set())
        assert claims | {"patch-order"} == expected | {"patch-order"}
        figures = sum(figure.id.startswith(f"fig-{name}-") for figure in document.figures)
        assert figures == FIGURES[document.slug] + (len(MASKED_ONLY[document.slug]) if name != "root" else 0)
    assert any(claim.id == "root-patch-order" for claim in document.claims) == (document.slug == "tree_mechanism")
    skipped = {section.id for section in document.sections if section.status != "done"}
    assert skipped == ({"run-next-token"} if document.slug == "tree_mechanism" else set())
    assert set(document.provenance.runs) == set(KINDS)


def test_filter_levels_stand_side_by_side(document):
    if document.slug != "tree_levels":
        pytest.skip("the other analyses study run by run")
    families = {"masked": ["k = 0", "k = 1"], "root": ["k = 0"]}
    ids = {f"{name}-{claim}" for name in families for claim in ("exact", "mismatched", "follows", "merging", "ancestors")}
    assert {claim.id for claim in document.claims} == ids | {"masked-ends"}
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
    claims = {f"{name}-ladder" for name in ladders} | {f"{name}-{part}" for name in watched for part in ("rise-fall", "lands")}
    claims |= {f"{name}-ranking" for name in ("masked", "filtered")}
    assert {claim.id for claim in document.claims} == claims
    figures = {figure.id: figure.data for figure in document.figures}
    for name in watched:  # one slider for all
        frames = [[f["name"] for f in figures[f"fig-{name}-{kind}"]["frames"]] for kind in ("staircase", "mass", "readable")]
        assert frames == [["step 0", "step 12"]] * 3
    assert {"fig-masked-maps", "fig-masked-match"} <= set(figures) and not {"fig-root-maps", "fig-root-match"} & set(figures)


def test_runs_beyond_the_paper_stand_side_by_side(document):
    if document.slug != "tree_beyond":
        pytest.skip("the other analyses study one process")
    assert {claim.id for claim in document.claims} == {
        f"beyond-{part}" for part in ("exact", "order", "looking", "needed", "writing", "wide")
    }
    figures = {figure.id: figure.data for figure in document.figures}
    assert len(figures["fig-beyond-oracles"]["rows"]) == 2  # the masked runs
    assert {section.id for section in document.sections if section.status != "done"} == {"skipped"}


def test_content_is_asked_of_models_with_one_block_per_level(document):
    if document.slug != "tree_content":
        pytest.skip("the other analyses study other runs")
    assert {claim.id for claim in document.claims} == {f"content-{key}" for key in criteria_of("tree_content")}
    figures = {figure.id: figure.data for figure in document.figures}
    assert [series["name"] for series in figures["fig-content-matching"]["series"]] == ["filtered"]
    assert figures["fig-content-messages"]["rows"] == ["block 1", "block 2", "all"]
    (skipped,) = [section for section in document.sections if section.status != "done"]
    assert "masked, root, next-token" in skipped.reason
