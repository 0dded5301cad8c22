"""Checks of plain arguments: counts, numbers, choices, texts, arrays of real numbers, and what they would take of memory.

Each takes a value as a user gave it, returns it in the form that the code behind relies on, and raises in the name of `where`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mechbp.errors import HookError, InputError, LimitExceeded

if TYPE_CHECKING:
    RealArray = np.ndarray[Any, np.dtype[Any]]

GIB = 2**30
CGROUP = Path("/sys/fs/cgroup/memory.max")
"""What a container may use, where there is one."""
LARGEST = 2**63 - 1
"""Larger counts have no place in an array's shape, and too many digits for a message."""


def told(value: object, width: int = 60) -> str:
    """Return a value as one line of at most `width` characters, whatever its `repr` does."""
    try:
        text = repr(value)
    except Exception:  # a user's own class may raise anything, and so do integers of thousands of digits
        text = f"a {type(value).__name__}"
    return told_text(text, width)


def is_integer(value: object) -> bool:
    """Return whether a value is an integer; True and False are none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Return whether a value is a finite real number; True and False are none."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    try:
        return bool(np.isfinite(float(value)))
    except OverflowError:  # an integer beyond 1e308
        return False


def checked_count(value: object, where: str, name: str, *, least: int = 1, most: int | None = None, why: str = "") -> int:
    """Return an integer in least..most as a Python int, or raise InputError; LimitExceeded for more than any array holds.

    `why` ends the message: what the bound is for.
    """
    if not is_integer(value) or value < least or (most is not None and value > most):  # type: ignore[operator]
        expected = f">= {least}" if most is None else f"in {least}..{most}"
        raise InputError(f"{where}: {name} must be an integer {expected}, got {told(value)}{': ' + why if why else ''}.")
    count = int(value)  # type: ignore[call-overload]
    if count > LARGEST:
        raise LimitExceeded(f"{where}: {name} = {told(count)} is more than any array holds. Take a smaller one.")
    return count


def checked_number(
    value: object,
    where: str,
    name: str,
    *,
    least: float = -np.inf,
    most: float = np.inf,
    above: float = -np.inf,
    below: float = np.inf,
) -> float:
    """Return a finite real number between the bounds as a float, or raise InputError; `above` and `below` are open bounds."""
    number = float(value) if is_number(value) else np.nan  # type: ignore[arg-type]
    if not (least <= number <= most and above < number < below):
        bounds = ((">=", least), (">", above), ("<=", most), ("<", below))
        stated = " and ".join(f"{sign} {bound:g}" for sign, bound in bounds if np.isfinite(bound))
        raise InputError(f"{where}: {name} must be a finite number{' ' if stated else ''}{stated}, got {told(value)}.")
    return number


def checked_flag(value: object, where: str, name: str) -> bool:
    """Return True or False, or raise InputError for anything else."""
    if not isinstance(value, bool | np.bool_):
        raise InputError(f"{where}: {name} must be True or False, got {told(value)}.")
    return bool(value)


def checked_choice(value: object, where: str, name: str, options: Sequence[str], expected: str = "one of") -> str:
    """Return one of the options, or raise InputError that lists them."""
    if not isinstance(value, str) or value not in options:
        raise InputError(f"{where}: {name} must be {expected} {', '.join(options)}, got {told(value)}.")
    return value


def checked_text(value: object, where: str, name: str) -> str:
    """Return a text, or raise InputError."""
    if not isinstance(value, str):
        raise InputError(f"{where}: {name} must be a text, got {told(value)}.")
    return value


def checked_label(value: object, where: str, name: str) -> str:
    """Return a text in whose name errors are raised, made one line, or raise InputError."""
    return told_text(checked_text(value, where, name))


def told_text(text: str, width: int = 80) -> str:
    """Return a text as one line of at most `width` characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"


def check_protocol(model: object, names: Sequence[str], where: str = "") -> None:
    """Raise HookError unless a model offers these names; what holds one, as a `mechbp.Run` does, is told from what is none."""
    missing = [name for name in names if not hasattr(model, name)]
    start = f"{where}: " if where else ""
    if missing and hasattr(model, "model"):
        given = "run" if hasattr(model, "untrained") else type(model).__name__
        raise HookError(f"{start}A {given} was given where its model belongs. Pass its model: run.model.")
    if missing:
        raise HookError(
            f"{start}{type(model).__name__} is no hooked model: it lacks {', '.join(missing)}.\n"
            f"Pass a HookedTransformer, or a model with {', '.join(names)}."
        )


def as_array(value: object, where: str, name: str, expected: str) -> RealArray:
    """Return a value as a NumPy array without changing its numbers, or raise InputError for what is none.

    None are ragged lists, sparse tensors, and those without values or elsewhere. `expected`: what would have been right.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            array = np.asarray(value)
    except Exception as error:  # lists of unequal rows, sparse and absent tensors, and whatever a user's own __array__ raises
        raise InputError(f"{where}: {name} must be {expected}, got {told(value)}, which is no array.") from error
    return array


def checked_reals(value: object, where: str, name: str, expected: str) -> RealArray:
    """Return real numbers as an array, or raise InputError: for complex ones as well, whose imaginary part would be lost."""
    array = as_array(value, where, name, expected)
    if array.dtype.kind not in "iuf":
        raise InputError(f"{where}: {name} must be {expected}, got {told(value)} of dtype {array.dtype}.")
    return array


def check_memory(n_bytes: float, where: str, what: str, cure: str = "Take fewer.") -> None:
    """Raise LimitExceeded, with the estimate, for what this machine's memory cannot hold; asked before it is allocated."""
    limit = memory_limit()
    if n_bytes > limit:
        raise LimitExceeded(
            f"{where}: {what} would take about {_amount(n_bytes)}; this machine has {limit / GIB:,.1f} GiB of memory.\n{cure}"
        )


def memory_limit() -> int:
    """Return the bytes of memory that this process may use at most: those of the machine, or of its container."""
    limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        text = CGROUP.read_text().strip()
    except OSError:
        return limit
    return min(limit, int(text)) if text.isdigit() else limit


def _amount(n_bytes: float) -> str:
    gib = n_bytes / GIB
    return f"{gib:,.1f} GiB" if gib < 1e6 else f"{gib:.1e} GiB"
