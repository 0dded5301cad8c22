"""The page on development, end to end on tiny runs, and what becomes of runs that it cannot study."""

from dataclasses import replace

import pytest
from developing_sorters import developing_run
from document_checks import figures_can_be_drawn, survives_the_round_trip

from analyses.sorting_development import checks, scale
from mechbp import study
from mechbp.methods.llc import calibration
from mechbp.report.criteria import regrade
from mechbp.study import criteria_of

pytestmark = pytest.mark.slow

PAGE = "sorting_development"


@pytest.fixture(scope="module", autouse=True)
def few_draws():
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(calibration, "PRODUCTS", 4)
        patched.setattr(scale, "QUICK_ABSOLUTE", replace(scale.QUICK_ABSOLUTE, burn_in=8))
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("development")
    return developing_run(root, "decaying", settings=3), developing_run(root, "free", settings=1, decays=False)


def analysed(*runs):
    return study.analyse(PAGE, study.Study(runs, True, lambda text: None))


@pytest.fixture(scope="module")
def document(runs):
    return analysed(*runs)


def test_the_document_is_whole(document):
    survives_the_round_trip(document)
    figures_can_be_drawn(document)
    criteria = criteria_of(PAGE)
    assert regrade(document, criteria) == []
    assert sorted(claim.criterion for claim in document.claims) == sorted(criteria)
    for claim in document.claims:
        assert claim.measured.strip() and claim.control.strip() and claim.reference.strip(), claim.id
        assert "nan" not in f"{claim.measured} {claim.control}".lower(), claim.id
        assert claim.figure or claim.verdict == "not run", claim.id


def test_known_answers_are_found(document):
    assert {claim.id: claim.verdict for claim in document.claims}["known-answers"] == "holds"


def test_numbers_are_in_the_order_of_runs_and_settings(document):
    numbers = {claim.id: claim.numbers for claim in document.claims}
    assert len(numbers["stages"]["overlap"]) == 2
    assert len(numbers["interior-maximum"]["fall_low"]) == 2  # at "units"; at "absolute" two steps are no curve
    assert len(numbers["boundaries"]["spread"]) == 2
    assert len(numbers["recheck"]["distance"]) == 1  # a quick look takes the first run
    assert numbers["recheck"]["distance"] == [0.0]  # four draws are those that are kept apart


def test_the_stream_rescaled_is_the_same_function_and_the_same_estimate_in_units(document):
    numbers = next(claim.numbers for claim in document.claims if claim.id == "scale-free")
    assert numbers["change_nats"] < 1e-5 and numbers["units_ratio"] == pytest.approx(1, abs=1e-3)
    assert numbers["absolute_ratio"] > 1.01


def test_curves_are_those_of_the_records(document, runs):
    from mechbp.models.llc_records import read_llc

    figures = {figure.id: figure.data for figure in document.figures}
    for run, setting, index in ((runs[0], "units", 0), (runs[1], "units", 1), (runs[0], "absolute", 0)):
        records = {step: record for step, record in read_llc(run)[setting].items() if step}
        line = figures[f"fig-llc-{setting}"]["series"][index]
        assert line["name"] == run.name and line["x"] == list(records)
        assert line["y"] == pytest.approx([record.estimate for record in records.values()], rel=1e-4)
    panels = figures["fig-ov-diagonals"]["panels"]
    assert [panel["title"] for panel in panels] == [f"{run.name}, head {head}" for run in runs for head in (0, 1)]
    assert len(panels[0]["values"]) == len(runs[0].steps) - 1


def test_what_the_page_draws_is_small_enough(document):
    cells = 0
    for figure in document.figures:
        if figure.kind == "heatmap":
            frames = figure.data.get("frames", [figure.data])
            cells += sum(len(row) for frame in frames for panel in frame["panels"] for row in panel["values"])
    assert 0 < cells <= 8000


@pytest.fixture
def one_known_answer(monkeypatch):
    """The others have had their turn."""
    monkeypatch.setattr(checks, "CROSSINGS", checks.CROSSINGS[:1])
    monkeypatch.setattr(checks, "BURN_IN", 30)


def test_a_run_without_measurements_has_the_rest_of_the_page(tmp_path, one_known_answer):
    document = analysed(developing_run(tmp_path, "unmeasured"))
    status = {section.id: (section.status, section.reason) for section in document.sections}
    for part in ("coefficient", "boundaries", "comparisons", "confidence"):
        assert status[part][0] == "skipped" and "mechbp measure RUN" in status[part][1], part
    for part in ("stages", "snapshots", "scale", "checks"):
        assert status[part][0] == "done", part
    verdicts = {claim.id: claim.verdict for claim in document.claims}
    for claim in ("interior-maximum", "specialised-lower", "matched-loss", "boundaries", "recheck"):
        assert verdicts[claim] == "not run", claim
    figures_can_be_drawn(document)
    survives_the_round_trip(document)


def test_one_head_and_no_norms_are_studied(tmp_path, one_known_answer):
    run = developing_run(tmp_path, "bare", n_heads=1, normalization="none")
    document = analysed(run)
    verdicts = {claim.id: claim.verdict for claim in document.claims}
    assert verdicts["scale-free"] == "not run" and verdicts["stages"] == "fails"
    figures_can_be_drawn(document)
    survives_the_round_trip(document)


@pytest.mark.parametrize(("name", "made", "why"), [
    ("brief", {"stored": 2}, "its development needs 4 after the first"),
    ("deep", {"n_layers": 2}, "is not one block of attention only"),
])  # fmt: skip
def test_what_cannot_be_studied_is_named(name, made, why, tmp_path):
    claims, sections = study.load_page(PAGE).study(
        study.Study((developing_run(tmp_path, name, **made),), True, lambda text: None)
    )
    assert list(claims) == [] and [section.id for section in sections] == [f"skipped-{name}"]
    assert sections[0].status == "skipped" and why in sections[0].reason and sections[0].reason.startswith(name)
