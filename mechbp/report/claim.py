"""A claim of a page: its verdict, the evidence for it, and the criterion that decided."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from mechbp.errors import InputError
from mechbp.report.content import SLUG, Part, as_records, check_form
from mechbp.report.verdicts import KINDS, VERDICTS

FIXED = ("before", "after")
"""Whether a criterion was fixed before or after the first recorded measurement."""
MOVED = ("date", "commit", "what", "old", "new", "why", "verdicts")
CRITERION = ("criterion", "rule", "kind", "fixed", "fixed_commit", "fixed_date", "numbers", "moved")
"""The fields of a claim that its criterion gives."""


@dataclass(frozen=True)
class Claim(Part):
    """One claim of the page with its verdict and the evidence for it."""

    id: str
    statement: str
    reference: str
    """The paper's statement or number that this claim is held against."""
    measured: str
    """What was measured, with n, effect and interval. Line feeds part several measurements; they are kept on the page."""
    control: str
    """The same measurement where there should be no effect."""
    verdict: str
    """`holds`, `partly`, `fails`, `not run` or `short`."""
    figure: str = ""
    """Id of the figure that shows it, if any."""
    criterion: str = ""
    """Key of the criterion in the page's criteria.toml that decided the verdict; "" where none did, and so for all below."""
    rule: str = ""
    """The criterion as a reader is shown it, thresholds in place, one line per verdict that has a rule."""
    kind: str = ""
    """One of KINDS."""
    fixed: str = ""
    """`before` or `after` the first recorded measurement."""
    fixed_commit: str = ""
    fixed_date: str = ""
    """Commit and day (ISO 8601) of the criterion's present form."""
    numbers: dict[str, Any] = field(default_factory=dict)
    """What the rule is about: numbers, truth values, None, or flat lists of them."""
    moved: tuple[dict[str, Any], ...] = ()
    """How the criterion moved after a recording, oldest first, by the keys MOVED; verdicts: old and new, or none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_form(SLUG, self.id, "Claim.id")
        if self.kind and self.kind not in KINDS:
            raise InputError(f"claim {self.id}: unknown kind {self.kind!r:.80}; choose from {', '.join(KINDS)}.")
        if self.fixed not in ("", *FIXED):
            raise InputError(f"claim {self.id}: fixed must be one of {', '.join(FIXED)}, got {self.fixed!r:.80}.")
        if not isinstance(self.numbers, dict):
            raise InputError(f"claim {self.id}: numbers must be a dict, got {type(self.numbers).__name__}.")
        object.__setattr__(self, "moved", as_records(self.moved, MOVED, f"claim {self.id}: moved"))
        for move in self.moved:
            pair = move["verdicts"]
            if (
                not isinstance(pair, list)
                or len(pair) not in (0, 2)
                or not all(isinstance(v, str) and v in VERDICTS for v in pair)
            ):
                raise InputError(f"claim {self.id}: moved: verdicts must be [old, new] or [], got {pair!r:.60}.")
        if self.verdict not in VERDICTS:
            raise InputError(f"claim {self.id}: unknown verdict {self.verdict!r:.80}; choose from {', '.join(VERDICTS)}.")


def summarize(claims: tuple[Claim, ...]) -> list[tuple[str, int]]:
    """Count the claims of each verdict that occurs, in the order of VERDICTS."""
    counts = Counter(claim.verdict for claim in claims)
    return [(verdict, counts[verdict]) for verdict in VERDICTS if counts[verdict]]


def by_kind(claims: tuple[Claim, ...]) -> list[tuple[str, list[int], int]]:
    """Count the claims of each kind: by verdict in the order of VERDICTS, and those whose criterion was set after a measurement.

    Kinds that do not occur are left out; claims without a kind come last, under the name "".
    """
    rows = []
    for kind in (*KINDS, ""):
        own = [claim for claim in claims if claim.kind == kind]
        if own:
            counts = Counter(claim.verdict for claim in own)
            rows.append((kind, [counts[verdict] for verdict in VERDICTS], sum(claim.fixed == "after" for claim in own)))
    return rows
