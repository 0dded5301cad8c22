"""How a page opens: its one telling figure, and its result in a sentence or two.

A page's author writes the sentences; each names the claims it rests on and the verdicts they need, and is said only where a
document has exactly these. So a run of one's own, whose claims are others, is never told what the shipped runs showed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mechbp.report.document import Document, FigureData
from mechbp.report.lead import lead_counts, without_counts


@dataclass(frozen=True)
class Said:
    """A sentence, and the verdicts of the claims that it puts into words."""

    text: str
    rests_on: Mapping[str, Sequence[str]]
    """Verdict -> ids of claims that have it."""

    def true_of(self, document: Document) -> bool:
        """Whether the document has these claims with these verdicts."""
        verdicts = {claim.id: claim.verdict for claim in document.claims}
        return all(verdicts.get(claim) == verdict for verdict, claims in self.rests_on.items() for claim in claims)


@dataclass(frozen=True)
class Opening:
    """What a page's author puts at its top, and where the index lists it."""

    telling: str = ""
    """Id of the figure that tells the result."""
    result: tuple[Said, ...] = ()
    wing: str = ""
    """What its models are trained on: "trees", "chains", "topics", "lists", or "" for all of them."""
    papers: tuple[str, ...] = ()
    """The papers whose statements it tests, as "Shai et al. 2024"."""


def opened(document: Document, opening: Opening) -> Document:
    """Return the document with its page's opening: the figure if it is drawn, the sentences that are true of its claims."""
    drawn = {figure.id for figure in document.figures if figure.status == "done"}
    return replace(
        document,
        telling=opening.telling if opening.telling in drawn else "",
        result=" ".join(said.text for said in opening.result if said.true_of(document)),
        wing=opening.wing,
        papers=opening.papers,
    )


def telling_figure(document: Document) -> FigureData | None:
    """Return the figure that a page opens with: the one it names, else the first that a claim points at; None without either."""
    drawn = {figure.id: figure for figure in document.figures if figure.status == "done"}
    wanted = [document.telling, *(claim.figure for claim in document.claims)]
    return next((drawn[name] for name in wanted if name in drawn), None)


def result_of(document: Document) -> str:
    """Return the page's result in words; where nobody has put it into words, the count of its claims and its lead."""
    return document.result or f"{lead_counts(document.claims)} {without_counts(document.lead)}".strip()
