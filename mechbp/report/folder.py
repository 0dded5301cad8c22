"""A folder of pages: each document's JSON, its page beside it, and the index over all of them."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from mechbp.errors import InputError
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


def write_documents(documents: list[Document], folder: Path) -> list[Path]:
    """Write each document's JSON and page, and the index over all documents of the folder; return all pages."""
    folder.mkdir(parents=True, exist_ok=True)
    for document in documents:
        atomic_write(folder / f"{document.slug}.json", dumps(document).encode())
    return render_folder(folder, [document.slug for document in documents])


def render_folder(folder: Path, changed: Collection[str] | None = None) -> list[Path]:
    """Rebuild the pages of a folder from the JSON beside them, byte for byte the same each time; return all pages.

    With `changed` slugs just these, those that are missing, and the index.
    """
    sources = sorted(folder.glob("*.json"))
    if not sources:
        raise InputError(f"{folder} holds no *.json to render. Run `mechbp report` first.")
    documents = [load(source) for source in sources]
    pages = [folder / f"{document.slug}.html" for document in documents]
    for page, document in zip(pages, documents, strict=True):
        if changed is None or document.slug in changed or not page.exists():
            atomic_write(page, render(document).encode())
    atomic_write(folder / "index.html", render_index(documents).encode())
    return [*pages, folder / "index.html"]
