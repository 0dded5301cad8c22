"""Which parts of a claim's criterion were not met, and by which numbers: read from what the document keeps, never asked anew.

A document keeps the criterion as readers are shown it, thresholds in place, and the numbers that decided. Both together say of
each part of `a > 0.9 and b < 0.1`, or of `all(a > 0.9 and b < 0.1)`, whether it is true.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mechbp.errors import InputError
from mechbp.report.claim import Claim
from mechbp.report.rules import Rule

MOST = 6
"""Numbers that are written out beside a part."""


@dataclass(frozen=True)
class RulePart:
    """One part of a criterion."""

    text: str
    met: bool
    entries: tuple[int, int] | None
    """How many entries of its lists meet it, and of how many; None where it asks about single numbers."""
    numbers: dict[str, Any]
    """What it asks about, where these are few."""


def parts_of(claim: Claim) -> tuple[RulePart, ...]:
    """Return the parts of the criterion of a claim that is not supported, or in part; none where that cannot be read.

    A part that is only asked where an earlier one is met, `len(x) > 3 and x[3] > 1`, counts as not met where that is not.
    """
    if claim.verdict not in ("fails", "partly") or not claim.rule:
        return ()
    try:
        rule, bounds = _read(claim.rule.split("\n")[0].strip("`"))
        parts = tuple(_part(part, claim.numbers, bounds) for part in rule.parts())
    except (InputError, SyntaxError):
        return ()
    return parts if not all(part.met for part in parts) else ()


def _read(text: str) -> tuple[Rule, dict[str, list[Any]]]:
    """Parse a rule as it is shown, where a list of thresholds stands as (1, 2), under names that no number has."""
    bounds = {}
    lists = [node for node in ast.walk(ast.parse(text, mode="eval")) if isinstance(node, ast.Tuple)]
    for node in sorted(lists, key=lambda node: -node.col_offset):
        name = f"list_of_thresholds_{node.col_offset}"
        bounds[name] = [ast.literal_eval(entry) for entry in node.elts]
        text = text[: node.col_offset] + name + text[node.end_col_offset :]
    return Rule.parse(text, "criterion"), bounds


def _part(rule: Rule, numbers: Mapping[str, Any], bounds: Mapping[str, list[Any]]) -> RulePart:
    known = {**numbers, **bounds}
    inside = rule.inside_all()
    try:
        met, each = rule.decide(known), inside.value(known) if inside else None
    except InputError:
        met, each = False, None
    asked = {name: numbers[name] for name in sorted(rule.names, key=rule.text.index) if name in numbers}
    few = sum(len(value) if isinstance(value, (list, tuple)) else 1 for value in asked.values()) <= MOST
    text = rule.shown(bounds)
    return RulePart(text, met, (int(each.sum()), len(each)) if each is not None and each.ndim else None, asked if few else {})
