"""What every part of a document is made of: clean text, and numbers rounded to 6 significant digits."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

from mechbp.errors import InputError
from mechbp.figures.checking import keys as check_keys
from mechbp.figures.plain import plain

SLUG = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""Names of pages, sections and claims."""


class Part:
    """What the dataclasses of a document share: clean text and numbers when created."""

    def __post_init__(self) -> None:
        for item in fields(self):  # type: ignore[arg-type]
            value = getattr(self, item.name)
            if item.type == "str" and not isinstance(value, str):
                raise InputError(f"{type(self).__name__}.{item.name}: expected text, got {type(value).__name__}.")
            if isinstance(value, list):
                value = tuple(value)
            if not isinstance(value, tuple):
                value = plain(value, f"{type(self).__name__}.{item.name}")
            object.__setattr__(self, item.name, value)


def check_form(pattern: re.Pattern[str], value: str, where: str) -> None:
    """Raise InputError for a text of another form."""
    if not pattern.fullmatch(value):
        raise InputError(f"{where}: {value!r:.80} must match {pattern.pattern}.")


def as_records(records: Any, keys: tuple[str, ...], where: str) -> tuple[dict[str, Any], ...]:
    """Return records of exactly these keys as JSON values."""
    if not isinstance(records, (list, tuple)):
        raise InputError(f"{where}: expected a list, got {type(records).__name__}.")
    for record in records:
        check_keys(record, keys, (), where)
        for key in sorted({*keys} - {"old", "new", "verdicts"}):
            if not isinstance(record[key], str):
                raise InputError(f"{where}: {key} must be text, got {record[key]!r:.60}.")
    return tuple(plain(record, where) for record in records)
