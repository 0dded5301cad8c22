"""Pages held against what decides them: recorded claims against their criteria, and the thresholds that some pages name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mechbp.errors import InputError
from mechbp.report.criteria import Criteria, regrade
from mechbp.report.document import Document
from mechbp.report.document import load as load_document
from mechbp.report.verdicts import shown_verdict
from mechbp.storage import RUNS_VARIABLE
from mechbp.study import Study, criteria_of, load_page, page_names, record_of


class Line(NamedTuple):
    """What was checked of one page or run."""

    of: str
    """Its name."""
    verdict: str
    """"pass", "short", "FAIL", "-" where nothing was checked, or "moved"."""
    what: str
    """What was found."""
    failed: bool = False
    """Whether this is no finding but a broken promise."""

    def __str__(self) -> str:
        return f"{self.of:<24} {self.verdict:<6} {self.what}"


def claims_regraded() -> Iterator[Line]:
    """Grade every recorded page anew from its numbers and criteria; "FAIL" where page and criteria disagree.

    Raises InputError where no page is recorded at all.
    "moved" tells which verdicts a later criterion changed, and which claims were withdrawn.
    """
    if not any(record_of(name).is_file() for name in page_names()):
        raise InputError("verify: no recorded page is here; they are in reports/ of the repository. Run it in a clone.")
    for name in page_names():
        record = record_of(name)
        if not record.is_file():
            yield Line(name, "-", f"left out: {record} is not there")
            continue
        document = load_document(record)
        differences = regrade(document, criteria_of(name))
        yield from (Line(name, "FAIL", str(difference), failed=True) for difference in differences)
        if not differences:
            yield Line(name, "pass", f"graded as recorded, {len(document.claims)} of {len(document.claims)}")
        yield from (Line(name, "moved", text) for text in _moved(document, criteria_of(name)))


def _moved(document: Document, criteria: Criteria) -> Iterator[str]:
    """Say which verdicts a later criterion changed, from the first to the present one, and which claims are made no longer."""
    for claim in document.claims:
        moves = [move for move in claim.moved if move["verdicts"]]
        if moves and moves[0]["verdicts"][0] != claim.verdict:
            yield f"{claim.id}: {shown_verdict(moves[0]['verdicts'][0])} before, {shown_verdict(claim.verdict)} now"
    yield from criteria.withdrawn()


def runs_verified(
    names: Sequence[str] | None, trust: bool = False, device: str = "cpu", sequences: int | None = None
) -> Iterator[Line]:
    """Check runs, all where none is named; then also measure what pages are held to, where "short" is a finding.

    trust: execute the code that recipes name beside their runs. Without it such a run is left out, where it is not named.
    sequences: how many new ones each run is asked at most.
    """
    from mechbp.models.config import read_recipe
    from mechbp.models.run_folder import find_run, run_names, runs_root
    from mechbp.models.runs import load
    from mechbp.models.verify import verify_run

    wanted = list(names or run_names())
    if not wanted:
        raise InputError(
            f"verify: no run in {runs_root()}. Name a run folder;\n"
            f"shipped runs are in checkpoints/ of the repository: set ${RUNS_VARIABLE} to that folder."
        )
    code = [] if names or trust else [n for n in wanted if read_recipe(find_run(n) / "run.toml", "leave").names_code]
    yield from (Line(name, "-", "left out: its process is code beside it; verify it with --trust") for name in code)
    for run in [load(name, trust=trust, device=device) for name in wanted if name not in code]:
        for check in verify_run(run, sequences):
            yield Line(run.name, check.verdict, f"{check.what:<38} {check.measured}", failed=check.verdict != "pass")
    if not names:
        yield from thresholds_measured(device)


def thresholds_measured(device: str = "cpu") -> Iterator[Line]:
    """Measure what pages are held to; those whose runs are not all here are left out, and said so."""
    from mechbp.models.run_folder import run_names
    from mechbp.models.runs import load

    here = set(run_names())
    for name in page_names():
        page = load_page(name)
        if page.thresholds is None:
            continue
        if absent := [run for run in page.runs if run not in here]:
            more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
            yield Line(name, "-", f"left out: no run {', '.join(absent[:3])}{more}")
            continue
        study = Study(tuple(load(run, device=device) for run in page.runs), quick=False, stage=lambda _: None)
        for run, check in page.thresholds(study):
            yield Line(run, check.verdict, f"{check.what:<38} {check.measured}")
