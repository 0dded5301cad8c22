"""What every document of an analysis has to satisfy."""

import re

from mechbp.figures import draw
from mechbp.report.document import Document, dumps, loads


def survives_the_round_trip(document: Document) -> None:
    text = dumps(document)
    assert dumps(loads(text)) == text and loads(text).claims == document.claims


def claims_have_evidence(document: Document) -> None:
    """Every claim has numbers, a control and a figure."""
    shown = {figure.id for figure in document.figures if figure.status == "done"}
    for claim in document.claims:
        assert re.search(r"\d", claim.measured), claim.id
        assert claim.control.strip() and claim.reference.strip(), claim.id
        assert claim.figure in shown, claim.id
        assert "nan" not in f"{claim.measured} {claim.control}".lower(), claim.id


def figures_can_be_drawn(document: Document) -> None:
    for figure in document.figures:
        assert figure.caption and figure.alt
        assert figure.status != "done" or draw(figure.kind, figure.data).data
