"""Packages that a page needs beyond mechbp's own: which are missing, and what the page says of itself then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from mechbp.errors import InputError
from mechbp.report.document import Document, Section, load

RECORDED = "recorded-numbers"
"""Id of the section that says that a page was not computed anew."""


def missing_packages(needed: Sequence[str]) -> list[str]:
    """Return which distributions are not installed."""
    absent = []
    for package in needed:
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError:
            absent.append(package)
    return absent


def recorded_page(name: str, record: Path, extra: str, absent: Sequence[str]) -> Document:
    """Return a page as it was recorded, led by what is missing to compute it anew. Raises InputError where it never was.

    extra: the extra of mechbp that installs what is absent.
    """
    install = f"pip install 'mechbp[{extra}]'"
    if not record.is_file():
        raise InputError(f"page {name} needs {', '.join(absent)}, not installed, and has no recorded numbers.\nRun {install}.")
    document = load(record)
    why = f"recorded numbers; `{install}` to recompute them (not installed: {', '.join(absent)})"
    note = Section(RECORDED, "Recorded numbers", (), status="skipped", reason=why)
    return replace(document, sections=(note, *(section for section in document.sections if section.id != RECORDED)))
