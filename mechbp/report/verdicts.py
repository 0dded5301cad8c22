"""Verdicts: the words that documents and criteria keep, and the words that readers are shown, in one place.

A claim that is not supported is a finding, not a broken test, so what is shown says what the measurement does to the claim.
Documents (JSON) and criteria.toml keep the keys.
"""

from __future__ import annotations

VERDICTS = {
    "holds": "the measurement supports the claim, and the control does not show it",
    "partly": "the measurement supports a part of the claim, or supports it weakly",
    "fails": "the measurement contradicts the claim, or the control shows the same",
    "not run": "not measured in this run",
    "short": "the sample is too small for a verdict: a quick run, or too few seeds",
}
"""What each verdict means; shown where it stands."""
SHOWN = {"holds": "supported", "partly": "in part", "fails": "not supported", "not run": "not run", "short": "too few"}
"""The word for each verdict."""
KINDS = {
    "reproduction": "a published statement, held against our models",
    "method": "a check of our tools where the truth is known",
    "new": "a statement that nobody has published",
    "expected to fail": "said to be false, or known to be: the page shows that it is not supported",
}
"""What each kind of claim means; shown where it stands."""
SHOWN_KINDS = {
    "reproduction": "reproduction",
    "method": "method check",
    "new": "new claim",
    "expected to fail": "known to be false",
}
"""The words for each kind."""


def shown_verdict(verdict: str) -> str:
    """Return the words for a verdict; whatever is none, a threshold that moved for one, stays as it is."""
    return SHOWN.get(verdict, verdict)


def shown_rule(rule: str) -> str:
    """Return a criterion as readers are shown it: lines that begin "partly if" or "short if" begin with the verdict's words."""
    lines = rule.split("\n")
    for index, line in enumerate(lines):
        verdict, condition, rest = line.partition(" if ")
        if condition and verdict in VERDICTS:
            lines[index] = f"{SHOWN[verdict]} if {rest}"
    return "\n".join(lines)
