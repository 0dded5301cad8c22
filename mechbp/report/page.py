"""One document -> one self-contained HTML page: no network, readable without JavaScript where it is text."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from typing import Any

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from mechbp.errors import InputError, reason
from mechbp.figures import draw, table
from mechbp.figures import style as figures_style
from mechbp.figures.table import format_cell
from mechbp.report.bundle import Bundle
from mechbp.report.claim import summarize
from mechbp.report.document import Document, FigureData
from mechbp.report.forest import forest
from mechbp.report.lead import without_counts
from mechbp.report.opening import result_of, telling_figure
from mechbp.report.packing import changes, packed_axes
from mechbp.report.templates import asset, content_security_policy, environment
from mechbp.report.unmet import parts_of

FIRST = re.compile(r"\b(block|layer)s? [12]\b", re.IGNORECASE)
ZEROTH = re.compile(r"\b(block|layer)s? 0\b", re.IGNORECASE)


def render(document: Document, bundle: Bundle | None = None, *, alone: bool = False) -> str:
    """Render the page. The same document gives the same bytes, whenever and wherever it is rendered.

    bundle: take plotly.js from this file beside the page; without one the page holds it, and is one file. alone: without a link
    to the index, where none stands beside it.
    """
    plotly = asset("bundle.js") if bundle else Markup(get_plotlyjs().strip())
    script = asset("page.js")
    drawn = [figure for figure in document.figures if figure.status == "done"]
    telling = telling_figure(document)
    order = sorted(document.figures, key=lambda figure: figure is not telling)
    groups = forest(document.claims)
    return (
        environment()
        .get_template("page.html")
        .render(
            document=document,
            policy=content_security_policy(plotly, script, integrity=bundle.integrity if bundle else "")
            if drawn
            else content_security_policy(),
            bundle=bundle,
            alone=alone,
            plotly=plotly,
            script=script,
            summary=summarize(document.claims),
            result=result_of(document),
            about=without_counts(document.lead) if document.result else "",
            telling=telling,
            groups=groups,
            parts={claim.id: parts_of(claim) for claim in document.claims},
            drawn=any(line.effect for group in groups for line in group.lines),
            has_figures=bool(drawn),
            templates={"light": figures_style.template(False), "dark": figures_style.template(True)},
            plots={figure.id: plot(figure) for figure in drawn},
            tables={figure.id: table(figure.kind, figure.data) for figure in drawn},
            frame_names={figure.id: [frame["name"] for frame in figure.data.get("frames", [])] for figure in drawn},
            counted_from_one=counted_from_one(document),
            numbers={figure.id: number for number, figure in enumerate(order, 1)},
            format_cell=format_cell,
        )
    )


def counted_from_one(document: Document) -> bool:
    """Whether a page's texts count blocks or layers from 1, where hooks count from 0."""
    texts = json.dumps([[asdict(claim) for claim in document.claims], [asdict(section) for section in document.sections]])
    return bool(FIRST.search(texts)) and not ZEROTH.search(texts)


def plot(figure: FigureData) -> dict[str, Any]:
    """Return what the page's script draws: traces per frame, and the wide and narrow layouts without the colours of the paper.

    Packed: every trace but the first says how it differs from the first, the narrow layout how it differs from the wide one.
    """
    try:
        wide, narrow = draw(figure.kind, figure.data), draw(figure.kind, figure.data, narrow=True)
    except ValueError as error:  # a trace of the script's own that plotly does not know
        raise InputError(f"figure {figure.id}: plotly cannot draw it: {reason(error)}.") from error
    content = json.loads(wide.to_json() or "{}")
    layouts = [content["layout"], json.loads(narrow.to_json() or "{}")["layout"]]
    for layout in layouts:
        del layout["template"]
        for image in layout.get("images", []):  # they are in the figure's data already
            image["source"] = next(
                (f"panel/{i}" for i, panel in enumerate(figure.data.get("panels", [])) if image["source"].endswith(panel["png"])),
                image["source"],
            )
    frames = [frame["data"] for frame in content.get("frames", [])] or [content["data"]]
    first = frames[0][0]
    return {
        "first": first,
        "frames": [[changes(first, trace) for trace in traces] for traces in frames],
        "wide": packed_axes(layouts[0]),
        "narrow": changes(*layouts),
    }
