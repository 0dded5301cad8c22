"""Pages held against what decides them: recorded claims against their criteria, and the thresholds that some pages name."""

from __future__ import annotations

from collections.abc import Iterator

from mechbp.report.criteria import Criteria, regrade
from mechbp.report.document import Document
from mechbp.report.document import load as load_document
from mechbp.study import Study, criteria_of, load_page, page_names, record_of

Line = tuple[str, str, str]
"""Name of a page or run, verdict ("pass", "short", "FAIL", "-" where nothing was checked, or "moved"), and what was found."""


def claims_regraded() -> Iterator[Line]:
    """Grade every recorded page anew from its numbers and criteria; "FAIL" where page and criteria disagree.

    "moved" tells which verdicts a later criterion changed, and which claims were withdrawn.
    """
    for name in page_names():
        record = record_of(name)
        if not record.is_file():
            yield name, "-", f"left out: {record} is not there"
            continue
        document = load_document(record)
        differences = regrade(document, criteria_of(name))
        yield from ((name, "FAIL", str(difference)) for difference in differences)
        if not differences:
            yield name, "pass", f"graded as recorded, {len(document.claims)} of {len(document.claims)}"
        yield from ((name, "moved", text) for text in _moved(document, criteria_of(name)))


def _moved(document: Document, criteria: Criteria) -> Iterator[str]:
    """Say which verdicts a later criterion changed, from the first to the present one, and which claims are made no longer."""
    for claim in document.claims:
        moves = [move for move in claim.moved if move["verdicts"]]
        if moves and moves[0]["verdicts"][0] != claim.verdict:
            yield f"{claim.id}: {moves[0]['verdicts'][0]} before, {claim.verdict} now"
    yield from criteria.withdrawn()


def thresholds_measured() -> Iterator[Line]:
    """Measure what pages are held to; those whose runs are not all here are left out, and said so."""
    from mechbp.models.runs import load, run_names

    here = set(run_names())
    for name in page_names():
        page = load_page(name)
        if page.thresholds is None:
            continue
        if absent := [run for run in page.runs if run not in here]:
            yield name, "-", f"left out: no run {', '.join(absent)}"
            continue
        study = Study(tuple(load(run) for run in page.runs), quick=False, stage=lambda _: None)
        for run, check in page.thresholds(study):
            yield run, check.verdict, f"{check.what:<38} {check.measured}"
