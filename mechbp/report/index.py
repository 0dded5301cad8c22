"""The front page: every claim of every document with its verdict and a link to the evidence; no script at all."""

from __future__ import annotations

from collections.abc import Iterable

from mechbp.errors import InputError
from mechbp.report.claim import by_kind, summarize
from mechbp.report.document import Document
from mechbp.report.templates import content_security_policy, environment


def render_index(documents: Iterable[Document]) -> str:
    """Render reports/index.html, which links to <slug>.html beside it. Raises InputError when two documents share a slug."""
    pages = tuple(documents)
    slugs = [page.slug for page in pages]
    if len(set(slugs)) < len(slugs) or "index" in slugs:
        raise InputError(f"index: slugs must be unique and not 'index', got {', '.join(slugs)}.")
    claims = tuple(claim for page in pages for claim in page.claims)
    return (
        environment()
        .get_template("index.html")
        .render(
            documents=pages,
            policy=content_security_policy(),
            summary=summarize(claims),
            by_kind=by_kind(claims),
            missing={
                page.slug: [part for section in page.sections for part in (section, *section.figures) if part.status != "done"]
                for page in pages
            },
        )
    )
