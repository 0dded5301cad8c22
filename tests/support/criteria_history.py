"""What git remembers of a page's criteria, held against what its criteria.toml says of itself."""

from __future__ import annotations

import json
import subprocess
import tomllib
from functools import cache
from pathlib import Path

from mechbp.report.criteria import Criteria

NAMED = ("holds", "partly", "short")


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True).stdout.strip()


def has_history(root: Path) -> bool:
    """Tell whether `root` is a repository that remembers its whole history."""
    try:
        return git(root, "rev-parse", "--is-shallow-repository") == "false" and bool(git(root, "rev-parse", "HEAD"))
    except (OSError, subprocess.SubprocessError):
        return False


def unlisted_moves(root: Path, page: str) -> list[str]:
    """Name every change of a criterion after a recording that its `moved` entries do not list, uncommitted changes too.

    Every commit is held against its own parents: branches that were worked on side by side are no moves of each other, and a
    merge moves what it has from none of its parents.
    """
    path = f"analyses/{page}/criteria.toml"
    now = tomllib.loads((root / path).read_text(encoding="utf-8")) if (root / path).exists() else {}
    lines = git(root, "log", "--reverse", "--full-history", "--format=%H %P", "--", path).splitlines()
    steps = [(_parsed(root, f"{commit}:{path}"), parents) for commit, *parents in map(str.split, lines)]
    steps.append((now, [git(root, "rev-parse", "HEAD")]))
    found = []
    for after, parents in steps:
        moves = [_moves(_parsed(root, f"{parent}:{path}"), after, _recorded(root, parent, page)) for parent in parents]
        for key, what, new in sorted(set.intersection(*map(set, moves)), key=str) if moves else []:
            old = moves[0][key, what, new]
            if not _listed(now, key, what, old, _plain(new)):
                found.append(f"{page}: [{key}] {what} moved from {old!r} to {_plain(new)!r} after a recording")
    return found


def false_dates(root: Path, page: str) -> list[str]:
    """Name every criterion whose `fixed` contradicts the order of its commit and the recording in history."""
    criteria, found = Criteria.read(root / f"analyses/{page}/criteria.toml"), []
    for key in criteria:
        criterion = criteria[key]
        if criterion.commit and criterion.recorded:
            earlier = _precedes(root, criterion.commit, f"{criterion.recorded}^")
            if (criterion.fixed == "before") != earlier:
                found.append(
                    f"{page}: [{key}] says fixed {criterion.fixed!r}, but {criterion.commit} and {criterion.recorded} say not"
                )
    return found


def _moves(before: dict, after: dict, recorded: set[str]) -> dict[tuple[str, str, object], object]:
    """What moved of recorded criteria: key, what, and new value -> old value."""
    changes = ((key, change) for key in sorted(recorded & set(before)) for change in _changes(before[key], after.get(key)))
    return {(key, what, tuple(new) if isinstance(new, list) else new): old for key, (what, old, new) in changes}


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _changes(before: dict, after: dict | None) -> list[tuple[str, object, object]]:
    """What differs between two forms: rules, bounds, or the criterion as a whole where it is gone."""
    if after is None:
        return [("all", "there", "gone")]
    old, new = before.get("bounds", {}), after.get("bounds", {})
    bounds = [(name, old.get(name), new.get(name)) for name in sorted({*old, *new})]
    return [item for item in [(name, before.get(name), after.get(name)) for name in NAMED] + bounds if item[1] != item[2]]


def _listed(now: dict, key: str, what: str, old: object, new: object) -> bool:
    """A criterion that is gone is listed by the one that took its place, what = its key, or stands as withdrawn."""
    if what == "all":
        return "withdrawn" in now.get(key, {}) or any(
            move["what"] == key for table in now.values() for move in table.get("moved", [])
        )
    wanted = (what, "" if old is None else old, "" if new is None else new)
    return any((move["what"], move["old"], move["new"]) == wanted for move in now.get(key, {}).get("moved", []))


@cache
def _parsed(root: Path, name: str) -> dict:
    try:
        return tomllib.loads(git(root, "show", name))
    except subprocess.CalledProcessError:
        return {}


@cache
def _recorded(root: Path, until: str, page: str) -> set[str]:
    """The criteria under which the page was ever recorded up to a commit."""
    path, found = f"reports/{page}.json", set()
    try:
        commits = git(root, "log", "--format=%H", until, "--", path).split()
    except subprocess.CalledProcessError:  # before the first commit
        return found
    return found.union(*(_graded_by(root, f"{commit}:{path}") for commit in commits))


@cache
def _graded_by(root: Path, name: str) -> set[str]:
    """The criteria of one recording."""
    try:
        return {claim.get("criterion", "") for claim in json.loads(git(root, "show", name))["claims"]}
    except subprocess.CalledProcessError:  # the commit that took it away
        return set()


def _precedes(root: Path, first: str, second: str) -> bool:
    command = ["git", "-C", str(root), "merge-base", "--is-ancestor", first, second]
    return subprocess.run(command, capture_output=True).returncode == 0
