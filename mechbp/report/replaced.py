"""The log of replaced runs, checkpoints/replaced.toml: what an earlier form of a run was, and what it measured.

[[replaced]]
run = "mess3-x50-a60-l4"
date = 2026-01-31                   # when the present form took its place
commit = "0123456789ab"             # which commit did it; "" until it is made
changed = "…"                       # what is different
why = "…"
measured = "…"                      # what the earlier form measured, with its numbers
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date as Date
from pathlib import Path
from typing import Any

from mechbp.errors import InputError, reason
from mechbp.figures.checking import keys as check_keys
from mechbp.report.document import REPLACED
from mechbp.storage import read_regular

FILE = "replaced.toml"
MAX_BYTES = 2**20


@dataclass(frozen=True)
class Replaced:
    """An earlier form of a run."""

    run: str
    date: str
    """ISO 8601."""
    commit: str
    changed: str
    why: str
    measured: str

    def to_dict(self) -> dict[str, Any]:
        """Return the record as a page carries it, see `Document.replaced`."""
        return asdict(self)


def replaced_runs(path: str | Path) -> tuple[Replaced, ...]:
    """Read a log of replaced runs, oldest first; none where there is no such file.

    Raises InputError that names the file, the entry and the first thing wrong.
    """
    try:
        log = tomllib.loads(read_regular(path, MAX_BYTES).decode("utf-8"))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as a log of replaced runs ({reason(error)}).") from None
    check_keys(log, ("replaced",), (), str(path))
    if not isinstance(log["replaced"], list):
        raise InputError(f"{path}: expected a list of tables [[replaced]].")
    entries = [_replaced(entry, f"{path}: replaced[{index}]") for index, entry in enumerate(log["replaced"])]
    return tuple(sorted(entries, key=lambda entry: entry.date))


def used_by(replaced: Iterable[Replaced], runs: Iterable[str]) -> tuple[dict[str, Any], ...]:
    """Return the records of these runs, as `Document.replaced` holds them."""
    names = set(runs)
    return tuple(entry.to_dict() for entry in replaced if entry.run in names)


def _replaced(entry: Any, where: str) -> Replaced:
    check_keys(entry, REPLACED, (), where)
    if type(entry["date"]) is not Date:
        raise InputError(f"{where}.date must be a day such as 2026-01-31, without quotation marks, got {entry['date']!r:.60}.")
    for name in REPLACED:
        if name != "date" and not isinstance(entry[name], str):
            raise InputError(f"{where}.{name} must be a text, got {entry[name]!r:.60}.")
    return Replaced(**{**entry, "date": entry["date"].isoformat()})
