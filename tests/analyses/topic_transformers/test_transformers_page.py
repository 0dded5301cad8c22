"""The page on topic transformers, end to end on tiny runs, and what becomes of runs that it cannot study."""

import numpy as np
import pytest
from document_checks import claims_have_evidence, figures_can_be_drawn, survives_the_round_trip
from topic_transformer_runs import topic_run

from mechbp import study
from mechbp.report.criteria import regrade
from mechbp.study import criteria_of

PAGE = "topic_transformers"
LEFT_OUT = {
    "seen-noise": "not all hidden (task 'mask-a')",
    "brief": "documents of 3 words; at least 8",
    "one-topic": "no contrast between them",
    "single-words": "no contrast between them",
    "supports": "a fixed number of topics",
    "theory": "no residual stream",
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("topics")


def analysed(*runs):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(study.Study, "size", lambda self, full, quick: min(quick, 160))
        return study.analyse(PAGE, study.Study(runs, True, lambda text: None))


@pytest.fixture(scope="module")
def document(root):
    return analysed(topic_run(root, "ring", steps=150), topic_run(root, "disjoint"))


def test_the_document_is_whole(document):
    survives_the_round_trip(document)
    claims_have_evidence(document)
    figures_can_be_drawn(document)
    criteria = criteria_of(PAGE)
    assert regrade(document, criteria) == []
    assert sorted(claim.criterion for claim in document.claims) == sorted(criteria)
    assert all(part.status == "done" for part in (*document.sections, *document.figures))


def test_numbers_are_in_the_order_of_the_runs(document):
    numbers = {claim.id: claim.numbers for claim in document.claims}
    assert all(
        len(values) == 2 for key in ("answers", "belief-used", "single-words", "attention") for values in numbers[key].values()
    )
    assert numbers["belief-held"]["disjoint"] == [False, True]
    assert len(numbers["ambiguity"]["embedding_high"]) == 1  # the ring alone
    # A single block has no query whose contrast between topics reaches an answer.
    assert numbers["contrast-used"]["contrast_low"][0] == 0
    # The ring was trained, the other run hardly: nearer than random weights, and nearer than the unigram.
    assert numbers["answers"]["share_high"][0] < 1 < numbers["answers"]["random_share"][0]
    assert 0 < numbers["answers"]["linear_share"][0] < numbers["answers"]["share_high"][0]


def test_claims_and_figures_tell_the_same_of_the_last_stage(document):
    numbers = {claim.id: claim.numbers for claim in document.claims}
    figures = {figure.id: figure.data for figure in document.figures}
    held = numbers["belief-held"]
    for row, panel in enumerate(figures["fig-probes"]["panels"][::2]):
        assert panel["low"][-1][0] == pytest.approx(held["r2_low"][row], abs=6e-4)
        # Both errors are of the same documents: 1 - R² of one over that of the other.
        expected = 1 - (1 - held["r2"][row]) / (1 - held["histogram_r2"][row])
        assert held["closed_part"][row] == pytest.approx(expected, abs=1e-3 * max(1, abs(expected)))
    assert figures["fig-ring-beyond"]["series"][0]["x"][-1] == pytest.approx(held["closed_part"][0], abs=1e-4)
    for row, name in enumerate(("ring", "disjoint")):
        series = {line["name"]: line for line in figures[f"fig-{name}-writing"]["series"]}
        assert series["asked: belief subspace"]["low"][-1] == pytest.approx(numbers["belief-used"]["means_low"][row], abs=1e-4)
        assert series["asked: belief erased"]["low"][-1] == pytest.approx(numbers["belief-used"]["leace_low"][row], abs=1e-4)
        assert series["asked: belief subspace"]["x"][0] == 0  # the asked position knows nothing before it has read


def test_figures_say_what_the_stages_are(document):
    figures = {figure.id: figure.data for figure in document.figures}
    assert figures["fig-disjoint-writing"]["categories"] == ["embedding", "block 1 output", "block 2 output"]
    assert [panel["title"] for panel in figures["fig-patching"]["panels"]] == ["ring", "disjoint"]
    # Patching where the answer is read, after the last block, is patching the answer.
    last = figures["fig-patching"]["panels"][0]["values"][-1]
    assert last[0] == pytest.approx(1, abs=1e-3) and last[1:] == pytest.approx([0, 0], abs=1e-3)
    first = figures["fig-patching"]["panels"][0]["values"][0]
    assert first[1] == pytest.approx(1, abs=1e-3) and first[0] == pytest.approx(0, abs=1e-3)
    assert "fig-ring-beyond" in figures and "fig-disjoint-beyond" not in figures
    asked = figures["fig-probes"]["panels"][0]["values"]
    assert asked[0][0] < 0.05 and np.isfinite(asked).all()  # MASK and its position tell nothing of the document


def test_documents_of_uneven_length_are_studied_too(root):
    document = analysed(topic_run(root, "uneven"))
    assert len(document.claims) == 9
    figures_can_be_drawn(document)
    survives_the_round_trip(document)
    assert [section.id for section in document.sections if section.status != "done"] == ["ambiguity"]
    assert regrade(document, criteria_of(PAGE)) == []


@pytest.mark.parametrize(("name", "why"), LEFT_OUT.items())
def test_what_cannot_be_studied_is_named(root, name, why):
    run = topic_run(root, name, steps=0)
    claims, sections = study.load_page(PAGE).study(study.Study((run,), True, lambda text: None))
    assert list(claims) == [] and [section.id for section in sections] == [f"skipped-{name}"]
    assert sections[0].status == "skipped" and why in sections[0].reason and sections[0].reason.startswith(name)
