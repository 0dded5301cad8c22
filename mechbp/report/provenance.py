"""Where numbers come from: the state of a repository, and versions of packages."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mechbp import __version__

PACKAGES = ("torch", "transformer-lens", "numpy", "scipy", "scikit-learn", "plotly")
"""Whose versions every page tells."""


def git_state(folder: Path, *paths: str) -> tuple[str, bool]:
    """Return the commit of the repository that holds `folder`, and whether tracked files differ from it.

    paths: pathspecs that say which files count, all without one. ("unknown", True) outside of any repository.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no", *paths))
    except (OSError, subprocess.SubprocessError):
        return "unknown", True


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the version of mechbp, of Python and of those of the packages that are installed."""
    found = {"mechbp": __version__, "python": sys.version.split()[0]}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
