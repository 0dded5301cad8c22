"""Turn the tables of a recipe into frozen dataclasses, refusing every key and value that does not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from mechbp.arguments import is_integer, is_number
from mechbp.errors import InputError, did_you_mean

Unions = Mapping[str, Sequence[type]]
"""Which dataclasses the table of this name may become; its `kind` says which, the first is meant where it has none."""


def dataclass_from(cls: type, table: Any, where: str, unions: Unions | None = None) -> Any:
    """Build the dataclass `cls` from a TOML table, refusing unknown and missing keys and wrong types."""
    if not isinstance(table, dict):
        raise InputError(f"[{where}] must be a table, got {shown(table)}.")
    hints, known = get_type_hints(cls), {field.name: field for field in fields(cls)}
    for key in table:
        if key not in known:
            raise InputError(f"[{where}] has no key {key!r:.60}; {did_you_mean(key, known, 1)}")
    missing = [name for name, field in known.items() if name not in table and field.default is MISSING]
    if missing:
        raise InputError(f"[{where}] lacks {', '.join(missing)}.")
    return cls(
        **{
            key: _checked(hints[key], value, key if where == "recipe" else f"{where}.{key}", unions or {})
            for key, value in table.items()
        }
    )


def kinds_of(cls: type) -> tuple[str, ...]:
    """Return the values of `kind` by which a table says that it means this dataclass."""
    return get_args(get_type_hints(cls)["kind"])


def _checked(kind: Any, value: Any, where: str, unions: Unions) -> Any:
    if get_origin(kind) in (Union, UnionType):
        return _any_of(get_args(kind), value, where, unions)
    if get_origin(kind) is tuple:
        return _all_of(get_args(kind)[0], value, where, unions)
    if kind is NoneType:
        if value is not None:
            raise InputError(f"{where} must be absent, got {shown(value)}.")
        return None
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise InputError(f"{where} must be one of {', '.join(map(repr, get_args(kind)))}, got {shown(value)}.")
        return value
    if kind is str:
        if not isinstance(value, str):
            raise InputError(f"{where} must be a text, got {shown(value)}.")
        return value
    if kind is bool:
        if type(value) is not bool:
            raise InputError(f"{where} must be true or false, got {shown(value)}.")
        return value
    if kind is int:
        if type(value) is not int:
            raise InputError(f"{where} must be an integer, got {shown(value)}.")
        return value
    if kind is float:
        if type(value) not in (int, float) or not abs(value) < 1e300:  # a larger integer would not fit a float
            raise InputError(f"{where} must be a finite number, got {shown(value)}.")
        return float(value)
    if where in unions:
        if type(value) in unions[where]:  # made already, of more than the table says
            return value
        kind = member(unions[where], value, where)
    return dataclass_from(kind, value, where)


def _any_of(kinds: Sequence[Any], value: Any, where: str, unions: Unions) -> Any:
    """The value as the first of `kinds` that it can be."""
    for kind in kinds:
        try:
            return _checked(kind, value, where, unions)
        except InputError:
            if get_origin(kind) is tuple and isinstance(value, list):  # it was meant as a list, and one of its entries is wrong
                raise
    raise InputError(f"{where} must be {' or '.join(map(_in_words, kinds))}, got {shown(value)}.")


def _all_of(kind: Any, value: Any, where: str, unions: Unions) -> tuple[Any, ...]:
    """Every entry of a list as `kind`; one table stands for a list of one."""
    if is_dataclass(kind) and isinstance(value, dict):
        return (_checked(kind, value, where, unions),)
    if not isinstance(value, list):
        raise InputError(f"{where} must be a list, got {shown(value)}.")
    return tuple(_checked(kind, entry, f"{where}[{index}]", unions) for index, entry in enumerate(value))


def _in_words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(map(_in_words, get_args(kind)))
    words = {bool: "true or false", int: "an integer", float: "a finite number", str: "a text", NoneType: "absent"}
    return words.get(kind, "a list")


def member(kinds: Sequence[type], table: Any, where: str) -> type:
    """Return the dataclass among `kinds` whose `kind` the table names; the first is meant where it names none."""
    named = {name: cls for cls in kinds for name in kinds_of(cls)}
    wanted = table.get("kind") if isinstance(table, dict) else None
    if wanted is None:
        return kinds[0]
    if not isinstance(wanted, str) or wanted not in named:
        raise InputError(f"{where}.kind must be one of {', '.join(map(repr, named))}, got {shown(wanted)}.")
    return named[wanted]


def shown(value: Any) -> str:
    """At most 60 characters of `value`; integers are shortened before Python refuses to print them."""
    if type(value) is int and abs(value) >= 10**30:
        return f"an integer of {value.bit_length()} bits"
    try:
        return f"{value!r:.60}"
    except (ValueError, RecursionError):
        return f"a {type(value).__name__}"


def in_range(where: str, config: Any, **ranges: tuple[float, float]) -> None:
    """Hold a configuration to the kinds of its fields, which one that was made by hand may miss, and to ranges by name."""
    for name, kind in get_type_hints(type(config)).items():
        value = getattr(config, name)
        if not _of_its_kind(kind, value):
            raise InputError(f"{where}.{name} must be {_in_words(kind)}, got {shown(value)}.")
    for name, (low, high) in ranges.items():
        value = getattr(config, name)
        if not low <= value <= high:
            raise InputError(f"{where}.{name} must be in {low}..{high}, got {shown(value)}.")


def _of_its_kind(kind: Any, value: Any) -> bool:
    """Whether a value is a word, a text, true or false, absent, an integer or a number, where its field is one of these."""
    if get_origin(kind) in (Union, UnionType):
        return any(_of_its_kind(one, value) for one in get_args(kind))
    if get_origin(kind) is Literal:
        return isinstance(value, str) and value in get_args(kind)
    if kind in (bool, str, NoneType):
        return isinstance(value, kind)
    if kind is int:
        return is_integer(value)
    return is_number(value) if kind is float else True
