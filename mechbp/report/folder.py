"""A folder of pages: each document's JSON, its page beside it, and the index over all of them."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from mechbp.errors import InputError
from mechbp.report.bundle import plotly_bundle
from mechbp.report.document import Document, dumps, load
from mechbp.report.index import render_index
from mechbp.report.page import render
from mechbp.storage import atomic_write, in_turn, make_folder


def check_folder(folder: Path) -> None:
    """Raise InputError unless pages can be written to `folder`, before anything is computed; create nothing."""
    try:
        if folder.is_dir():
            _check_slugs(_documents(folder))
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        usable = existing.is_dir() and os.access(existing, os.W_OK)
        folder.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        usable = False
    if not usable:
        raise InputError(f"--out: cannot write to {str(folder)!r:.200}. Choose a folder that can be written to or created.")


def refuse_other_runs(folder: Path, runs_of: Mapping[str, Collection[str]], own: bool = False) -> None:
    """Raise InputError where a page to be made, slug -> names of its runs, would replace that of other runs; create nothing.

    Nothing is lost where a page is made again from the same runs, or studies none. own: the runs are the page's own, which may
    have grown or shrunk, so that one in common is enough.
    """
    for source, document in (_documents(folder) if folder.is_dir() else {}).items():
        there, coming = set(document.provenance.runs), set(runs_of.get(document.slug, ()))
        same = bool(there & coming) if own else there == coming
        if there and coming and not same:
            raise InputError(
                f"report: {str(folder)!r:.200} holds the page {document.slug} of {_listed(there)}, "
                f"which that of {_listed(coming)} would replace.\n"
                f"Write to another folder, or delete {source.name} and {document.slug}.html in this one."
            )


def _listed(runs: Collection[str]) -> str:
    """Name up to three runs."""
    shown = sorted(runs)
    more = f" and {len(shown) - 3} more" if len(shown) > 3 else ""
    return f"{'run' if len(shown) == 1 else 'runs'} {', '.join(name[:80] for name in shown[:3])}{more}"


def write_documents(documents: list[Document], folder: Path, bundled: bool = False) -> list[Path]:
    """Write each document's JSON and page, and the index over all documents of the folder; return all pages.

    Raises InputError, before anything is written, where the slug of one is taken by another file, or is that of the index.
    """
    make_folder(folder)
    with in_turn(folder):
        new = {folder / f"{document.slug}.json": document for document in documents}
        found = dict(sorted({**_documents(folder), **new}.items()))
        _check_slugs(found)
        files = _rendered(found, folder, [document.slug for document in documents], bundled)
        for source, document in new.items():
            atomic_write(source, dumps(document).encode())
        return _written(files)


def render_folder(folder: Path, changed: Collection[str] | None = None, bundled: bool = False) -> list[Path]:
    """Rebuild the pages of a folder from the JSON beside them, byte for byte the same each time; return all pages.

    With `changed` slugs just these, those that are missing, and the index. `bundled` pages share one plotly.js beside them, and
    are not returned with it. Raises InputError, before anything is written, where there is no JSON or some of it is wrong.
    """
    if not any(folder.glob("*.json")):
        raise InputError(f"{folder} holds no *.json to render. Run `mechbp report` first.")
    with in_turn(folder):
        documents = _documents(folder)
        _check_slugs(documents)
        return _written(_rendered(documents, folder, changed, bundled))


def _documents(folder: Path) -> dict[Path, Document]:
    return {source: load(source) for source in sorted(folder.glob("*.json"))}


def _check_slugs(documents: Mapping[Path, Document]) -> None:
    """Refuse documents whose pages would overwrite one another."""
    sources: dict[str, Path] = {}
    for source, document in documents.items():
        if document.slug == "index":
            raise InputError(f"{source}: slug 'index' is that of the page that lists all others. Give the document another.")
        if (other := sources.setdefault(document.slug, source)) != source:
            raise InputError(f"{other} and {source.name} both have the slug {document.slug!r}, so one page. Move one of them.")


def _rendered(
    documents: Mapping[Path, Document], folder: Path, changed: Collection[str] | None, bundled: bool
) -> dict[Path, bytes | None]:
    """Return what is to be written, before any of it is: None for a page that stays as it is."""
    files: dict[Path, bytes | None] = {}
    bundle = plotly_bundle() if bundled else None
    if bundle and not (folder / bundle.name).exists():
        files[folder / bundle.name] = bundle.content
    for document in documents.values():
        page = folder / f"{document.slug}.html"
        stays = changed is not None and document.slug not in changed and page.exists()
        files[page] = None if stays else render(document, bundle).encode()
    files[folder / "index.html"] = render_index(list(documents.values())).encode()
    return files


def _written(files: Mapping[Path, bytes | None]) -> list[Path]:
    for path, content in files.items():
        if content is not None:
            atomic_write(path, content)
    return [path for path in files if path.suffix == ".html"]
