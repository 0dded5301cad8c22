"""One criterion: the rules that decide a claim, their thresholds, and when they were fixed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date as Date
from keyword import iskeyword
from typing import Any

import numpy as np

from mechbp.errors import InputError
from mechbp.figures.checking import keys as check_keys
from mechbp.figures.plain import plain
from mechbp.report.claim import FIXED
from mechbp.report.rule_functions import FUNCTIONS, as_value
from mechbp.report.rules import Rule
from mechbp.report.verdicts import KINDS, VERDICTS

RULES = ("short", "holds", "partly")
"""The verdicts that a rule can give, in the order in which they are asked."""
REQUIRED = ("kind", "holds", "fixed")
OPTIONAL = ("partly", "short", "bounds", "commit", "date", "recorded", "moved", "withdrawn")
MOVE = ("date", "what", "old", "new", "why")
WITHDRAWAL = ("date", "why", "verdicts")


@dataclass(frozen=True)
class Criterion:
    """What decides a claim, and when that was fixed."""

    key: str
    kind: str
    rules: dict[str, Rule]
    """Verdict -> rule, in the order of RULES."""
    bounds: dict[str, Any] = field(default_factory=dict)
    """Named thresholds: numbers, or flat lists of numbers."""
    fixed: str = "before"
    commit: str = ""
    date: str = ""
    recorded: str = ""
    moved: tuple[dict[str, Any], ...] = ()
    withdrawn: dict[str, Any] = field(default_factory=dict)
    """Where its claims are made no longer: since when, why, and the last verdict of each; empty otherwise."""

    @property
    def shown(self) -> str:
        """The rules with their bounds in place, one line per verdict."""
        lead = {"holds": "", "partly": "partly if ", "short": "short if "}
        ordered = sorted(self.rules, key=list(lead).index)
        return "\n".join(f"{lead[verdict]}`{self.rules[verdict].shown(self.bounds)}`" for verdict in ordered)

    def grade(self, numbers: Mapping[str, Any]) -> str:
        """Return the verdict on a claim's numbers, as JSON keeps them (6 significant digits).

        Raises InputError that names the rule, the position and what is known, where the numbers do not fit the rule.
        """
        twice = sorted({*self.bounds} & {*numbers})
        if twice:
            raise InputError(f"criterion {self.key}: {', '.join(twice)} named both as a bound and as a measured number.")
        known = {**plain(dict(numbers), f"criterion {self.key}"), **self.bounds}
        return next((verdict for verdict, rule in self.rules.items() if rule.decide(known)), "fails")

    def fields(self, claim: str) -> dict[str, Any]:
        """Return the fields that the claim of this id takes from its criterion."""
        moved = tuple(
            {**{name: move.get(name, "") for name in ("date", "commit", *MOVE[1:])}, "verdicts": move["verdicts"].get(claim, [])}
            for move in self.moved
        )
        return {
            "criterion": self.key,
            "rule": self.shown,
            "kind": self.kind,
            "fixed": self.fixed,
            "fixed_commit": self.commit,
            "fixed_date": self.date,
            "moved": moved,
        }


def criterion_from(key: str, table: Any, where: str) -> Criterion:
    """Build a criterion from its table in criteria.toml, refusing every key and value that does not fit."""
    check_keys(table, REQUIRED, OPTIONAL, where)
    for name, known in (("kind", KINDS), ("fixed", FIXED)):
        if not isinstance(table[name], str) or table[name] not in known:
            raise InputError(f"{where}.{name} must be one of {', '.join(map(repr, known))}, got {table[name]!r:.60}.")
    bounds = table.get("bounds", {})
    if not isinstance(bounds, dict):
        raise InputError(f"{where}.bounds must be a table, got {bounds!r:.60}.")
    for name, bound in bounds.items():
        if not name.isidentifier() or iskeyword(name) or name in FUNCTIONS:
            raise InputError(f"{where}.bounds: {name!r:.80} cannot be named in a rule.")
        value = as_value(bound, f"{where}.bounds.{name}")
        if value.dtype == bool or not np.isfinite(value).all():
            raise InputError(f"{where}.bounds.{name} must be a finite number or a list of them, got {bound!r:.60}.")
    rules = {name: Rule.parse(table[name], f"{where}.{name}") for name in RULES if name in table}
    texts = {name: _text(table.get(name, ""), f"{where}.{name}") for name in ("commit", "recorded")}
    date = _date(table["date"], f"{where}.date") if "date" in table else ""
    if table["fixed"] == "after" and not (texts["commit"] and date and texts["recorded"]):
        raise InputError(f"{where}: a criterion fixed after a recording names its commit, its date and the recording.")
    moves = table.get("moved", [])
    if not isinstance(moves, list):
        raise InputError(f"{where}.moved must be a list of tables [[{key}.moved]].")
    moved = tuple(_move(move, f"{where}.moved[{index}]") for index, move in enumerate(moves))
    withdrawn = _withdrawal(table["withdrawn"], f"{where}.withdrawn") if "withdrawn" in table else {}
    return Criterion(
        key, table["kind"], rules, dict(bounds), table["fixed"], date=date, moved=moved, withdrawn=withdrawn, **texts
    )


def _withdrawal(table: Any, where: str) -> dict[str, Any]:
    check_keys(table, WITHDRAWAL, (), where)
    verdicts = table["verdicts"]
    if not isinstance(verdicts, dict) or not verdicts or not all(verdict in VERDICTS for verdict in verdicts.values()):
        raise InputError(f'{where}.verdicts: expected {{ "claim id" = "last verdict" }}, got {verdicts!r:.60}.')
    return {"date": _date(table["date"], f"{where}.date"), "why": _text(table["why"], f"{where}.why"), "verdicts": verdicts}


def _move(move: Any, where: str) -> dict[str, Any]:
    check_keys(move, MOVE, ("commit", "verdicts"), where)
    verdicts = move.get("verdicts", {})
    if not isinstance(verdicts, dict) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(verdict in VERDICTS for verdict in pair) for pair in verdicts.values()
    ):
        raise InputError(f'{where}.verdicts: expected {{ "claim id" = ["old verdict", "new verdict"] }}, got {verdicts!r:.60}.')
    texts = {name: _text(move.get(name, ""), f"{where}.{name}") for name in ("commit", "what", "why")}
    values = {name: plain(move[name], f"{where}.{name}") for name in ("old", "new")}
    return {"date": _date(move["date"], f"{where}.date"), **texts, **values, "verdicts": verdicts}


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"{where} must be a text, got {value!r:.60}.")
    return value


def _date(value: Any, where: str) -> str:
    if type(value) is not Date:
        raise InputError(f"{where} must be a day such as 2026-01-31, without quotation marks, got {value!r:.60}.")
    return value.isoformat()
