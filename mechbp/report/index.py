"""The front page: a map of all pages, each a picture, a result and a strip of verdicts; the claims one click further.

It reads without script; a small one of its own searches and filters, and no other may run.
"""

from __future__ import annotations

from collections.abc import Iterable

from mechbp.errors import InputError
from mechbp.report.claim import by_kind, summarize
from mechbp.report.document import Document
from mechbp.report.estimates import row
from mechbp.report.forest import Line
from mechbp.report.opening import result_of, telling_figure
from mechbp.report.sketch import sketch
from mechbp.report.templates import asset, content_security_policy, environment

WINGS = ("trees", "chains", "topics", "lists")
"""The order of the settings; others, and pages of none in particular, come last."""


def render_index(documents: Iterable[Document]) -> str:
    """Render reports/index.html, which links to <slug>.html beside it. Raises InputError when two documents share a slug."""
    pages = tuple(documents)
    slugs = [page.slug for page in pages]
    if len(set(slugs)) < len(slugs) or "index" in slugs:
        raise InputError(f"index: slugs must be unique and not 'index', got {', '.join(slugs)}.")
    claims = tuple(claim for page in pages for claim in page.claims)
    script = asset("index.js")
    drawn = {page.slug: [figure for figure in page.figures if figure.status == "done"] for page in pages}
    telling = {page.slug: telling_figure(page) or next(iter(drawn[page.slug]), None) for page in pages}
    wings = sorted(
        {page.wing for page in pages}, key=lambda wing: (not wing, WINGS.index(wing) if wing in WINGS else len(WINGS), wing)
    )
    return (
        environment()
        .get_template("index.html")
        .render(
            documents=pages,
            wings=[(wing, [page for page in pages if page.wing == wing]) for wing in wings],
            papers=sorted({paper for page in pages for paper in page.papers}),
            pictures={slug: sketch(figure) if figure else "" for slug, figure in telling.items()},
            results={page.slug: result_of(page) for page in pages},
            lines={page.slug: [Line(row(claim)) for claim in page.claims] for page in pages},
            policy=content_security_policy(script) if claims else content_security_policy(),
            script=script,
            more_css=asset("index.css"),
            summary=summarize(claims),
            by_kind=by_kind(claims),
            missing={
                page.slug: [part for section in page.sections for part in (section, *section.figures) if part.status != "done"]
                for page in pages
            },
        )
    )
