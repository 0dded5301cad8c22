"""What a rule computes with: single numbers and flat lists as arrays, and the functions that it may call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mechbp.errors import InputError

Value = np.ndarray
"""float64 or bool, a scalar [] or a list [n]."""


@dataclass(frozen=True)
class Function:
    """A function of the language: what it takes ("truth", "number" or "any"), of how many arguments."""

    takes: str
    compute: Callable[..., Any]
    arguments: tuple[int, int] = (1, 1)
    needs_list: bool = False


def as_value(number: Any, where: str) -> Value:
    """Return a number, a truth value or a flat list of either as an array of float64 or bool; None becomes NaN."""
    entries = list(number) if isinstance(number, (list, tuple)) or getattr(number, "ndim", 0) == 1 else [number]
    entries = [entry.item() if isinstance(entry, np.generic) or getattr(entry, "ndim", None) == 0 else entry for entry in entries]
    truths = sum(isinstance(entry, bool) for entry in entries)
    if truths not in (0, len(entries)) or not all(entry is None or isinstance(entry, (bool, int, float)) for entry in entries):
        raise InputError(f"{where}: expected a number, true or false, null, or a flat list of one of these, got {number!r:.60}.")
    try:
        array = np.array([np.nan if entry is None else entry for entry in entries], dtype=bool if truths else float)
    except OverflowError:
        raise InputError(f"{where}: a number too large to compare.") from None
    single = not isinstance(number, (list, tuple)) and not getattr(number, "ndim", 0)
    return array.reshape(()) if single else array


def _steps(direction: float) -> Callable[[Value], bool]:
    return lambda values: len(values) > 1 and bool((direction * np.diff(values) > 0).all())


def _reduced(reduce: Callable[[Value], Any], several: np.ufunc | None = None) -> Callable[..., Any]:
    """`reduce` of one list, NaN of an empty one; of several arguments entry by entry."""

    def compute(first: Value, *others: Value) -> Any:
        if others and several is not None:
            result: Any = first
            for other in others:
                result = several(result, other)
            return result
        return reduce(first) if first.size else np.nan

    return compute


FUNCTIONS: dict[str, Function] = {
    "all": Function("truth", lambda truths: truths.size > 0 and truths.all()),
    "any": Function("truth", lambda truths: truths.any()),
    "count": Function("truth", lambda truths: float(truths.sum())),
    "share": Function("truth", _reduced(lambda truths: truths.mean())),
    "sum": Function("number", lambda numbers: numbers.sum()),
    "mean": Function("number", _reduced(np.mean)),
    "median": Function("number", _reduced(np.median)),
    "min": Function("number", _reduced(np.min, np.minimum), (1, 9)),
    "max": Function("number", _reduced(np.max, np.maximum), (1, 9)),
    "abs": Function("number", np.abs),
    "diff": Function("number", np.diff, needs_list=True),
    "len": Function("any", lambda values: float(len(values)), needs_list=True),
    "rising": Function("number", _steps(1.0), needs_list=True),
    "falling": Function("number", _steps(-1.0), needs_list=True),
}
"""What a rule may call. `min` and `max` of several arguments, and `abs`, work entry by entry; `rising` is strict."""
