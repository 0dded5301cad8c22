"""Change single values of a recipe as text: comments and order stay, and what comes out is checked as a whole."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from mechbp.errors import InputError, LimitExceeded, MechbpError, reason
from mechbp.models.run_folder import stored_steps
from mechbp.storage import atomic_write, read_regular

SETTING = re.compile(r"([a-z_]+)\.([a-z0-9_]+)=(.*)", re.DOTALL)
RANGE = re.compile(r"(-?\d{1,6})\.\.(-?\d{1,6})")
MOST_RUNS = 1000
"""What one sweep may ask for."""


@dataclass(frozen=True)
class Setting:
    """One key of a recipe and the values that it is to take."""

    table: str
    key: str
    values: tuple[Any, ...]

    @classmethod
    def of(cls, text: str) -> Setting:
        """Read `table.key=VALUE`; several values are listed with commas, or as the range FIRST..LAST of whole numbers.

        Values are written as in TOML; a word that is no TOML is a string. Raises InputError where the text has another form.
        """
        match = SETTING.fullmatch(text)
        if match is None:
            raise InputError(f"--set takes TABLE.KEY=VALUE, such as training.steps=500, got {text!r:.80}.")
        table, key, given = match.groups()
        if span := RANGE.fullmatch(given):
            first, last = map(int, span.groups())
            if not 0 <= last - first < MOST_RUNS:
                raise InputError(f"--set {table}.{key}: {given} is no range of 1 to {MOST_RUNS:,} numbers. Write FIRST..LAST.")
            return cls(table, key, tuple(range(first, last + 1)))
        return cls(table, key, _values(given))


def _values(text: str) -> tuple[Any, ...]:
    for form in (f"x = [{text}]", f"x = [{', '.join(tomlkit.string(part.strip()).as_string() for part in text.split(','))}]"):
        try:
            found = tuple(tomlkit.parse(form)["x"].unwrap())  # type: ignore[union-attr]
        except (TOMLKitError, ValueError):
            continue
        if found and text.strip():
            return found
    raise InputError(f'--set: {text!r:.80} holds no value. Write it as in TOML: 500, 1e-3, true, "linear".')


def edited(recipe: str, changes: Iterable[tuple[str, str, Any]], where: str) -> str:
    """Return the text of a recipe with (table, key, value) set, each in its own table. Raises InputError where it is no TOML."""
    try:
        document = tomlkit.parse(recipe)
    except (TOMLKitError, RecursionError) as error:
        raise InputError(f"{where} is no valid TOML: {reason(error)}.") from error
    for table, key, value in changes:
        held = document.setdefault(table, tomlkit.table())
        if not isinstance(held, dict):
            raise InputError(f"{where}: {table} is no table, so that {table}.{key} cannot be set.")
        held[key] = value
    return tomlkit.dumps(document)


def combinations(settings: Sequence[Setting]) -> list[tuple[str, list[tuple[str, str, Any]]]]:
    """Return every combination of values: what tells it apart, and its changes.

    Only keys that take several values tell runs apart: "seed0-d_model64" becomes "seed0-d-model64" in a name.
    Raises InputError where a key is set twice; LimitExceeded for too many.
    """
    names = [(setting.table, setting.key) for setting in settings]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"--set {'.'.join(twice[0])} is given twice. List its values with commas.")
    count = 1
    for setting in settings:
        count *= len(setting.values)
        if count > MOST_RUNS:
            raise LimitExceeded(f"sweep: more than {MOST_RUNS:,} runs. List fewer values.")
    found = []
    for values in itertools.product(*(setting.values for setting in settings)):
        pairs = list(zip(settings, values, strict=True))
        told = [f"{setting.key}{value}" for setting, value in pairs if len(setting.values) > 1]
        suffix = "-".join(re.sub(r"[^a-z0-9.]+", "-", part.lower()).strip("-") for part in told)
        found.append((suffix, [(setting.table, setting.key, value) for setting, value in pairs]))
    return found


def set_in_place(folder: Path, settings: Sequence[Setting]) -> None:
    """Change the recipe of a run that has stored nothing yet.

    Raises InputError where it has, where a key has several values, and where the recipe would be wrong.
    """
    if several := [setting for setting in settings if len(setting.values) > 1]:
        name = f"{several[0].table}.{several[0].key}"
        raise InputError(f"train: --set {name} has {len(several[0].values)} values. One run takes one: use mechbp sweep.")
    if stored_steps(folder):
        raise InputError(
            f"train: {folder} has stored steps of its recipe; another recipe is another run.\n"
            f"Copy the recipe first: mechbp new OTHER --like {folder.name} --set …"
        )
    write_recipe(folder, changed(folder / "run.toml", [c for _, changes in combinations(settings) for c in changes]))


def changed(recipe: Path, changes: Sequence[tuple[str, str, Any]]) -> str:
    """Return the text of a recipe file with changes. Raises InputError where it cannot be read."""
    from mechbp.models.config import MAX_RECIPE_BYTES

    try:
        text = read_regular(recipe, MAX_RECIPE_BYTES).decode("utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {recipe}: {reason(error)}. A run is a folder with a run.toml in it.") from error
    return edited(text, changes, str(recipe))


def write_recipe(folder: Path, text: str) -> None:
    """Check a recipe and store it as run.toml of `folder`, all or nothing. Raises InputError naming the first thing wrong.

    Files that it names must be in the folder already; code is hashed, and not executed.
    """
    from mechbp.models.config import checked_recipe

    checked_recipe(text, f"{folder / 'run.toml'}", folder)
    atomic_write(folder / "run.toml", text.encode("utf-8"))


@contextlib.contextmanager
def restored_on_failure(folders: Sequence[Path]) -> Iterator[None]:
    """Put the recipes back as they were if what is tried with them fails before anything is stored."""
    before = {folder: (folder / "run.toml").read_bytes() for folder in folders}
    try:
        yield
    except MechbpError:
        for folder, text in before.items():
            if not stored_steps(folder) and (folder / "run.toml").read_bytes() != text:
                atomic_write(folder / "run.toml", text)
        raise
