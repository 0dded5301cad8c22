"""Runs that were trained again under their name after a first look: the first form decides, the later one stands beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mechbp.report.claim import Claim
from mechbp.report.verdicts import shown_verdict


def once(claims: Sequence[Claim]) -> list[Claim]:
    """Return one claim for every id, as graded first; what the later ones of that id measured is added to it, verdict and all."""
    found: dict[str, Claim] = {}
    for claim in claims:
        first = found.setdefault(claim.id, claim)
        if first is not claim:
            later = f"trained again: {shown_verdict(claim.verdict)}; {claim.measured}"
            found[claim.id] = replace(first, measured=f"{first.measured}\n{later}")
    return list(found.values())
