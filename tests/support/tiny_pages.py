"""Pages of a few lines, for tests of what makes pages."""

from __future__ import annotations

from pathlib import Path

NUMBER = (
    '(), (Section("one", "One", (f"{study.rng(0).integers(1000)} {[run.name for run in study.runs]} {study.size(10, 2)}",)),)'
)
"""Findings that tell the stream, the runs and the size that a study gave."""


def write_page(
    root: Path,
    name: str,
    findings: str = NUMBER,
    *,
    runs: tuple[str, ...] = (),
    family: str | None = "tree",
    by_run: bool = False,
    why_not: str | None = None,
) -> Path:
    """Write analyses/<name>/page.py below `root`; `findings` and `why_not` are expressions, `findings` also "raise …"."""
    body = findings if findings.startswith("raise") else f"return {findings}"
    text = f'''"""A tiny page."""
from mechbp.errors import InputError
from mechbp.report.document import Section
from mechbp.study import Page


def study_page(study):
    study.stage("looking")
    {body}


PAGE = Page(
    title="Tiny", lead="A number.", runs={runs!r}, family={family!r}, study=study_page, by_run={by_run}, why_not={why_not}
)
'''
    path = root / name / "page.py"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path
