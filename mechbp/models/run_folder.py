"""Where runs are, and which steps their folders hold: read from names of files alone, without a model."""

from __future__ import annotations

import os
import re
from pathlib import Path

from mechbp.errors import InputError, asked_back, near
from mechbp.storage import NAME, RUNS_VARIABLE, inside

STEP_FILE = re.compile(r"step-([0-9]{7,9})\.safetensors")


def runs_root(root: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of named runs: `root`, $MECHBP_RUNS, checkpoints/ of the working directory, else of the source tree."""
    given = os.environ.get(RUNS_VARIABLE) if root is None else root
    if given:
        return Path(given)
    here = Path.cwd() / "checkpoints"
    return here if here.is_dir() else shipped_root()


def shipped_root() -> Path:
    """Return checkpoints/ of the source tree; a package that was installed has none."""
    return Path(__file__).resolve().parents[2] / "checkpoints"


def run_names(root: str | os.PathLike[str] | None = None) -> list[str]:
    """Return the names of all runs there."""
    return sorted(path.parent.name for path in runs_root(root).glob("*/run.toml") if NAME.fullmatch(path.parent.name))


def find_run(name_or_path: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of a run. A plain name means <root>/<name>, then ./<name>; anything with a separator is a path.

    Raises InputError where there is none.
    """
    text = os.fspath(name_or_path) if isinstance(name_or_path, str | os.PathLike) else None
    if not isinstance(text, str):
        raise InputError(f"a run is given by its name or the path of its folder, got a {type(name_or_path).__name__}.")
    if NAME.fullmatch(text):
        for folder in (inside(runs_root(root), text, "run"), Path.cwd() / text):
            if (folder / "run.toml").is_file():
                return folder
        raise InputError(_absent(text, runs_root(root), run_names(root)))
    try:
        folder = Path(text).resolve()
        found = (folder / "run.toml").is_file()
    except (OSError, RuntimeError, ValueError):  # too long, a link that leads to itself, NUL
        found = False
    if not found:
        hint = _meant(text, runs_root(root)) or "Give the path of a folder that holds one."
        raise InputError(f"{text!r:.200} is not a run folder: it has no run.toml. {hint}")
    return folder


def _absent(name: str, root: Path, known: list[str]) -> str:
    if known:
        meant = asked_back(near(name, known))
        return (
            f"no run {name!r} in {root}, nor in the working directory{'; ' if meant else '.'}{meant}\n"
            "Give one of those that `mechbp list` names, or the path of a run folder."
        )
    return (
        f"no run {name!r}: {root} holds no run, nor is there a folder ./{name} with a run.toml.\n"
        f"Shipped runs are in checkpoints/ of the repository, not in the package: set ${RUNS_VARIABLE} to it, or give a path."
    )


def _meant(text: str, root: Path) -> str:
    """The question whether another run beside a mistyped path was meant, or one of `root` where it is no path; else empty."""
    beside, _, name = text.rstrip("/").rpartition("/")
    try:
        found = near(name, run_names(beside or root))
    except (OSError, ValueError):
        return ""
    paths = [f"{beside}/{one}" if beside else one for one in found]
    return asked_back(paths).replace("did", "Did", 1)


def stored_steps(folder: Path) -> tuple[int, ...]:
    """Return all stored steps of a run, ascending; a folder that is not there has none."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    found = [int(match[1]) for name in names if (match := STEP_FILE.fullmatch(name))]
    return tuple(sorted(step for step in found if step_file(folder, step).name in names))


def step_file(folder: Path, step: int) -> Path:
    """Return where `step` is stored."""
    return folder / f"step-{step:07d}.safetensors"
