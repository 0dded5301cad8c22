"""Plant one fault in a copy of the source and see whether a test fails."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from faults import Fault

COPIED = ("mechbp", "analyses", "tests", "pyproject.toml", "README.md", "Makefile", "hatch_build.py", "LICENSE", ".git")
LINKED = ("checkpoints", "reports")
FOUND, MISSED, TIMED_OUT, CRASHED = "found", "missed", "found by its time", "found by its end: memory ran out, or it crashed"
PYTEST = ("-x", "-q", "-p", "no:cacheprovider", "--no-header", "--tb=no")


def copy_of(root: Path, folder: Path) -> Path:
    """Copy the source tree; checkpoints and recorded pages, which no fault touches, are linked."""
    for name in COPIED:
        source = root / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, folder / name)
    for name in LINKED:
        (folder / name).symlink_to(root / name)
    return folder


def outcome(copy: Path, fault: Fault, tests: list[str], limit_s: float) -> str:
    """Return whether the area's tests find a fault: those that import its module first."""
    target = copy / fault.path
    original = target.read_text(encoding="utf-8")
    nearest = _importers(copy, fault.path, tests)
    try:
        _write(target, fault.planted(original))
        for selected in (nearest, tests):
            if selected and (found := _run(copy, selected, limit_s)) != MISSED:
                return found
        return MISSED
    finally:
        _write(target, original)


def _write(target: Path, source: str) -> None:
    """Write a module with a time of its own: compiled modules are known by their seconds, which two faults may share."""
    written = int(target.stat().st_mtime) + 1
    target.write_text(source, encoding="utf-8")
    os.utime(target, (written, written))


def passes(copy: Path, tests: list[str], limit_s: float) -> bool:
    """Return whether the tests pass while nothing is planted."""
    return _run(copy, tests, limit_s) == MISSED


def _run(copy: Path, tests: list[str], limit_s: float) -> str:
    one_thread = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    environment = {**os.environ, **one_thread, "PYTHONPATH": str(copy)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # hundreds of processes would compile all modules anew
    command = [sys.executable, "-m", "pytest", *PYTEST, *tests]
    try:
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, timeout=limit_s)
    except subprocess.TimeoutExpired:
        return TIMED_OUT
    if done.returncode < 0:
        return CRASHED
    if done.returncode not in (0, 1, 2):
        raise RuntimeError(f"pytest ended with {done.returncode} on {', '.join(tests)}: {done.stderr.decode()[-300:]}")
    return FOUND if done.returncode else MISSED


def _importers(copy: Path, path: str, tests: list[str]) -> list[str]:
    """Return the test files of the area that name the module."""
    module = path.removesuffix(".py").replace("/", ".")
    files = [
        file for test in tests for file in ([copy / test] if test.endswith(".py") else sorted((copy / test).rglob("test_*.py")))
    ]
    named = [file for file in files if module in file.read_text(encoding="utf-8")]
    stem = [file for file in files if Path(path).stem in file.stem]
    return [str(file.relative_to(copy)) for file in dict.fromkeys([*stem, *named])]
