"""A folder of pages: each document's JSON, its page beside it, and the index over all of them."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from mechbp.errors import InputError
from mechbp.report.bundle import plotly_bundle
from mechbp.report.document import Document, dumps, load
from mechbp.report.index import render_index
from mechbp.report.page import render
from mechbp.storage import atomic_write


def check_folder(folder: Path) -> None:
    """Raise InputError unless pages can be written to `folder`, before anything is computed; create nothing."""
    try:
        if folder.is_dir():
            for source in sorted(folder.glob("*.json")):
                load(source)
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        usable = existing.is_dir() and os.access(existing, os.W_OK)
        folder.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        usable = False
    if not usable:
        raise InputError(f"--out: cannot write to {str(folder)!r:.200}. Choose a folder that can be written to or created.")


def write_documents(documents: list[Document], folder: Path, bundled: bool = False) -> list[Path]:
    """Write each document's JSON and page, and the index over all documents of the folder; return all pages."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out: cannot make {str(folder)!r:.200} ({error.strerror}). Choose another folder.") from error
    for document in documents:
        atomic_write(folder / f"{document.slug}.json", dumps(document).encode())
    return render_folder(folder, [document.slug for document in documents], bundled)


def render_folder(folder: Path, changed: Collection[str] | None = None, bundled: bool = False) -> list[Path]:
    """Rebuild the pages of a folder from the JSON beside them, byte for byte the same each time; return all pages.

    With `changed` slugs just these, those that are missing, and the index. `bundled` pages share one plotly.js beside them, and
    are not returned with it.
    """
    sources = sorted(folder.glob("*.json"))
    if not sources:
        raise InputError(f"{folder} holds no *.json to render. Run `mechbp report` first.")
    documents = [load(source) for source in sources]
    pages = [folder / f"{document.slug}.html" for document in documents]
    bundle = plotly_bundle() if bundled else None
    if bundle and not (folder / bundle.name).exists():
        atomic_write(folder / bundle.name, bundle.content)
    for page, document in zip(pages, documents, strict=True):
        if changed is None or document.slug in changed or not page.exists():
            atomic_write(page, render(document, bundle).encode())
    atomic_write(folder / "index.html", render_index(documents).encode())
    return [*pages, folder / "index.html"]
