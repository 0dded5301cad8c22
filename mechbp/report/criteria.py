"""The criteria of a page's claims, read from its criteria.toml: what decides each verdict, and when that was fixed.

    [exact]
    kind = "reproduction"               # one of mechbp.report.claim.KINDS
    holds = "kl_high_nats <= close_nats and accuracy_gap <= gap"
    partly = "kl_high_nats <= close_nats or accuracy_gap <= gap"     # may be left out, as may `short`
    bounds = { close_nats = 0.03, gap = 0.01 }
    fixed = "before"                    # or "after" the first recorded measurement
    commit = "0123456789ab"             # where the present form was committed; "" until it is
    date = 2026-01-31
    recorded = "ba9876543210"           # the first recording of a claim under it; "" until there is one

    [[exact.moved]]                     # a form that was given up after a recording, oldest first
    date = 2026-01-31
    what = "close_nats"                 # a bound, or `holds`, `partly` or `short`
    old = 0.02
    new = 0.03
    verdicts = { "tree-mlm-k0-exact" = ["fails", "holds"] }
    why = "…"

    [old.withdrawn]                     # a criterion whose claims are made no longer keeps its rules, and says
    date = 2026-01-31
    why = "true by construction"
    verdicts = { "tree-mlm-k0-old" = "holds" }

A claim is `short` where that rule is true, else `holds`, else `partly`, else `fails`; `mechbp.report.rules` says how they read.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mechbp.errors import InputError, did_you_mean, reason
from mechbp.report.claim import Claim
from mechbp.report.criterion import Criterion, criterion_from
from mechbp.report.document import Document
from mechbp.report.verdicts import shown_verdict
from mechbp.storage import read_regular

MAX_BYTES = 2**20


@dataclass(frozen=True)
class Difference:
    """What a recorded claim says and what its criterion says now."""

    claim: str
    field: str
    recorded: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.claim}: {self.field} is recorded as {self.recorded!r:.80}, by its criterion {self.now!r:.80}"


@dataclass(frozen=True)
class Criteria:
    """All criteria of a page, by key."""

    where: str
    by_key: dict[str, Criterion]

    @classmethod
    def read(cls, path: str | Path) -> Criteria:
        """Read a criteria.toml. Raises InputError that names the file, the criterion and the first thing wrong."""
        try:
            text = read_regular(path, MAX_BYTES).decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read as criteria ({reason(error)}).") from None
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, where: str = "criteria") -> Criteria:
        """Read criteria from TOML text."""
        try:
            tables = tomllib.loads(text)
        except (ValueError, RecursionError) as error:  # no TOML, an integer of thousands of digits, too deep
            raise InputError(f"{where}: not valid TOML ({reason(error)}).") from None
        return cls(where, {key: criterion_from(key, table, f"{where}: [{key}]") for key, table in tables.items()})

    def __getitem__(self, key: str) -> Criterion:
        if key not in self.by_key:
            raise InputError(f"{self.where}: no criterion {key!r:.80}; {did_you_mean(key, self.by_key, 1)}")
        return self.by_key[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.by_key)

    def grade(self, key: str, numbers: Mapping[str, Any]) -> str:
        """Return the verdict that the criterion `key` gives on these numbers."""
        return self[key].grade(numbers)

    def withdrawn(self) -> tuple[str, ...]:
        """Return what is to be said of claims that are made no longer, one text each, oldest first."""
        entries = sorted((c.withdrawn for c in self.by_key.values() if c.withdrawn), key=lambda entry: entry["date"])
        return tuple(
            f"`{claim}`, {shown_verdict(verdict)} until {entry['date']}. {entry['why']}"
            for entry in entries
            for claim, verdict in entry["verdicts"].items()
        )

    def claim(
        self,
        key: str,
        *,
        id: str,
        statement: str,
        reference: str,
        measured: str,
        control: str,
        numbers: Mapping[str, Any] | None,
        figure: str = "",
    ) -> Claim:
        """Return a claim graded by the criterion `key`; where `numbers` is None nothing was measured, and it is "not run".

        numbers: what the rules are about, floats, truth values, None (not measured) or flat lists of them.
        """
        if self[key].withdrawn:
            raise InputError(f"{self.where}: [{key}] is withdrawn; claim {id} needs another criterion.")
        measurement = Claim(id, statement, reference, measured, control, "not run", figure, numbers=dict(numbers or {}))
        verdict = "not run" if numbers is None else self.grade(key, measurement.numbers)
        parts = {name: getattr(measurement, name) for name in ("id", "statement", "reference", "measured", "control", "figure")}
        return Claim(**parts, verdict=verdict, numbers=measurement.numbers, **self[key].fields(id))


def regrade(document: Document, criteria: Criteria) -> list[Difference]:
    """Grade every claim of a document anew from its numbers; return where the document and the criteria disagree.

    A claim without a criterion, or with one that is no longer there, is a difference too. A claim whose numbers are empty was
    not run.
    """
    found = []
    for claim in document.claims:
        if claim.criterion not in criteria.by_key:
            found.append(Difference(claim.id, "criterion", claim.criterion, "none of this name"))
            continue
        now = criteria[claim.criterion].fields(claim.id)
        try:
            now["verdict"] = criteria.grade(claim.criterion, claim.numbers) if claim.numbers else "not run"
        except InputError as error:
            now["verdict"] = f"none: {error}"
        found += [
            Difference(claim.id, name, recorded, value)
            for name, value in now.items()
            if (recorded := getattr(claim, name)) != value
        ]
    return found
