"""What every part of a document is made of: clean text, and numbers rounded to 6 significant digits."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from mechbp.errors import InputError
from mechbp.report.figures.checking import keys as check_keys

SLUG = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""Names of pages, sections and claims."""
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
"""Characters that no HTML page can hold: control characters but tab and line feed, and lone surrogates."""


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


def plain(value: Any, where: str) -> Any:
    """Return `value` as JSON values: arrays become lists, floats keep 6 significant digits, NaN becomes None.

    Raises InputError for infinities (a page could not tell them from missing values) and for anything JSON cannot hold.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float):
        if math.isinf(value):
            raise InputError(f"{where}: infinite value; report it as text, or bound it and say so.")
        return None if math.isnan(value) else float(f"{value:.6g}") + 0.0  # + 0.0 turns -0.0 into 0.0
    if isinstance(value, int):
        return value
    if isinstance(value, Mapping):
        return {_key(key, where): plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if hasattr(value, "tolist"):  # arrays and their scalars
        return plain(value.tolist(), where)
    raise InputError(f"{where}: {type(value).__name__} cannot be written as JSON; give numbers, text, lists or dicts.")


def clean(value: str) -> str:
    """Return text without the characters that no page can hold."""
    return CONTROL.sub("\N{REPLACEMENT CHARACTER}", value)


def _key(key: Any, where: str) -> str:
    if not isinstance(key, str):
        raise InputError(f"{where}: keys must be text, got {key!r}.")
    return clean(key)


def check_form(pattern: re.Pattern[str], value: str, where: str) -> None:
    """Raise InputError for a text of another form."""
    if not pattern.fullmatch(value):
        raise InputError(f"{where}: {value!r} must match {pattern.pattern}.")


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
