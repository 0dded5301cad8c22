"""What is said above a page: how many claims of each kind are supported, counted anew wherever it is shown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mechbp.report.claim import Claim

COUNTED = {
    "reproduction": "Reproductions",
    "method": "Method checks",
    "new": "New claims",
    "expected to fail": "Known to be false",
    "": "Claims",
}
"""What claims of each kind, and of none, are called together."""
EARLIER = ("New findings", "Expected to fail")
"""What they were called in documents that were recorded with the counts in their lead."""
NAMES = "|".join([*COUNTED.values(), *EARLIER])
WORDS = "supported|not supported|holds?|does|do"
COUNTS = re.compile(rf"(?:(?:{NAMES}): \d+ of \d+(?: (?:{WORDS}))?(?: \(\d+ without a verdict\))?\.\s*)+")


def lead_counts(claims: Sequence[Claim]) -> str:
    """Count what is supported, kind by kind: "Reproductions: 5 of 8 supported. New claims: 2 of 4."

    Claims without a verdict (too few, or not run) are counted and named; of what is known to be false it is counted how many are
    not supported; claims of no kind come last.
    """
    parts = []
    for kind, name in COUNTED.items():
        verdicts = [claim.verdict for claim in claims if claim.kind == kind]
        if not verdicts:
            continue
        known_false = kind == "expected to fail"
        count = verdicts.count("fails" if known_false else "holds")
        word = " not supported" if known_false else "" if parts else " supported"
        open_ = sum(verdict in ("short", "not run") for verdict in verdicts)
        without = f" ({open_} without a verdict)" if open_ else ""
        parts.append(f"{name}: {count} of {len(verdicts)}{word}{without}.")
    return " ".join(parts)


def without_counts(lead: str) -> str:
    """Return a recorded lead without the counts that earlier documents began it with."""
    return COUNTS.sub("", lead, count=1) if COUNTS.match(lead) else lead
