"""What the checks of all figure kinds share: each raises InputError naming the place and the first thing wrong there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from mechbp.errors import InputError, did_you_mean


def keys(mapping: Any, required: Iterable[str], optional: Iterable[str], where: str) -> None:
    """Raise InputError unless `mapping` is a dict with all `required` keys and no key beyond `optional`."""
    if not isinstance(mapping, dict):
        raise InputError(f"{where}: expected an object, got {type(mapping).__name__}.")
    required = sorted(required)
    known = sorted({*required, *optional})
    for key in mapping:
        if key not in known:
            raise InputError(f"{where}: unknown key {key!r:.80}; {did_you_mean(key, known, 1)}")
    for key in required:
        if key not in mapping:
            raise InputError(f"{where}: key {key!r:.80} is missing.")


def text(value: Any, where: str) -> None:
    """Refuse what is not text."""
    if not isinstance(value, str):
        raise InputError(f"{where}: expected text, got {value!r:.80}.")


def words(data: Any, where: str) -> None:
    """Refuse a title or a name, at any depth, that is no text."""
    nested = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in nested:
        here = f"{where}[{key}]" if isinstance(key, int) else f"{where}.{key:.60}"
        if isinstance(key, str) and key.endswith(("title", "name")):
            text(value, here)
        words(value, here)


def choice(mapping: dict[str, Any], key: str, choices: tuple[str, ...], where: str) -> None:
    """Refuse an optional key whose value is none of `choices`."""
    if key in mapping and mapping[key] not in choices:
        raise InputError(f"{where}.{key}: {mapping[key]!r:.80} is unknown; choose from {', '.join(choices)}.")


def entries(value: Any, where: str, least: int = 0, length: int | None = None) -> list[Any]:
    """Return the list, which has at least `least` entries, or exactly `length`."""
    if not isinstance(value, list):
        raise InputError(f"{where}: expected a list, got {type(value).__name__}.")
    if len(value) < least or length not in (None, len(value)):
        raise InputError(f"{where}: expected {f'at least {least}' if length is None else length} entries, got {len(value)}.")
    return value


def numbers(value: Any, where: str, length: int | None) -> list[Any]:
    """Return the list of numbers and nulls."""
    for index, item in enumerate(entries(value, where, length=length)):
        if item is not None and (isinstance(item, bool) or not isinstance(item, (int, float))):
            raise InputError(f"{where}[{index}]: expected a number or null, got {item!r:.80}.")
    return value


def labels(value: Any, where: str) -> list[str]:
    """Return the list of texts, no two of them equal."""
    for label in entries(value, where, least=1):
        text(label, where)
    twice = sorted(label for label, count in Counter(value).items() if count > 1)
    if twice:
        raise InputError(f"{where}: {twice[0]!r:.80} occurs twice; labels tell the rows of the table apart.")
    return value


def interval(mapping: dict[str, Any], where: str) -> None:
    """Refuse one end of an interval without the other."""
    if ("low" in mapping) != ("high" in mapping):
        raise InputError(f"{where}: low and high come together.")


def series(part: dict[str, Any], where: str, *axes: str, length: int | None = None, others: tuple[str, ...] = ()) -> None:
    """Refuse a series whose name, numbers along `axes`, interval, `others` or colour are wrong."""
    text(part["name"], where + ".name")
    for axis in axes:
        length = len(numbers(part[axis], f"{where}.{axis}", length))
    interval(part, where)
    for key in ("low", "high", *others):
        if key in part:
            numbers(part[key], f"{where}.{key}", length)
    if not isinstance(part.get("color", 0), int) or part.get("color", 0) < 0:
        raise InputError(f"{where}.color: expected a palette index >= 0, got {part['color']!r:.80}.")


def references(data: dict[str, Any], where: str, axis: str, length: int | None) -> None:
    """Refuse references that do not hold one number along `axis`, or `length` of them."""
    for index, reference in enumerate(entries(data.get("references", []), f"{where}.references")):
        here = f"{where}.references[{index}]"
        keys(reference, {"name", axis}, (), here)
        text(reference["name"], here + ".name")
        if length is None:
            numbers([reference[axis]], f"{here}.{axis}", 1)
        else:
            numbers(reference[axis], f"{here}.{axis}", length)


def edges(value: Any, where: str) -> list[Any]:
    """Return the edges of cells, at least two rising numbers."""
    found = numbers(value, where, None)
    if len(found) < 2 or None in found or any(low >= high for low, high in pairwise(found)):
        raise InputError(f"{where}: expected at least two rising numbers.")
    return found


def counts(value: Any, where: str, n_rows: int, n_columns: int) -> None:
    """Refuse what are no counts, numbers >= 0, in so many rows and columns."""
    for row, line in enumerate(entries(value, where, length=n_rows)):
        if any(count is None or count < 0 for count in numbers(line, f"{where}[{row}]", n_columns)):
            raise InputError(f"{where}[{row}]: counts must be numbers >= 0.")


def ranges(data: dict[str, Any], where: str, *names: str) -> None:
    """Refuse a range that is not [low, high] with low < high, above 0 where its axis is logarithmic."""
    for name in names:
        if name in data:
            low, high = numbers(data[name], f"{where}.{name}", 2)
            if low is None or high is None or low >= high:
                raise InputError(f"{where}.{name}: expected [low, high] with low < high, got {data[name]}.")
            if data.get(name.replace("range", "log")) and low <= 0:
                raise InputError(f"{where}.{name}: a logarithmic axis starts above 0, got {low}.")
