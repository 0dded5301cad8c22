"""Run an analysis on runs, record where its numbers come from, and turn documents into pages."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mechbp.errors import InputError
from mechbp.randomness import rng
from mechbp.report.document import Document, Provenance, dumps, load
from mechbp.report.index import render_index
from mechbp.report.page import render
from mechbp.storage import atomic_write, checked_name

if TYPE_CHECKING:
    import numpy as np

    from mechbp.models.runs import Run

SEED = 0
SOURCES = ("--", ":/", ":(top,exclude)reports")
PACKAGES = ("torch", "transformer-lens", "numpy", "scipy", "scikit-learn", "plotly")


@dataclass(frozen=True)
class Study:
    """What an analysis is given: runs, how thorough to be, and streams of randomness."""

    runs: tuple[Run, ...]
    quick: bool
    """Smaller samples for a first look; wide intervals, same code."""
    stage: Callable[[str], None]
    """Announces the next stage to whoever watches."""
    seed: int = SEED

    def __post_init__(self) -> None:
        folders: dict[str, Path] = {}
        for run in self.runs:
            if run.name in folders:
                raise InputError(
                    f"two runs are named {run.name!r}, {folders[run.name]} and {run.folder}; pages tell runs apart by name.\n"
                    f"Give each run once, and rename one of two folders of the same name."
                )
            folders[run.name] = run.folder

    def rng(self, *labels: str | int) -> np.random.Generator:
        """Return the stream of `labels`."""
        return rng(self.seed, *labels)

    def size(self, full: int, quick: int) -> int:
        """Return a sample size."""
        return quick if self.quick else full


def analysis_names() -> list[str]:
    """Return the names of all analyses."""
    return sorted(path.parent.name for path in analyses_root().glob("*/page.py"))


def analyses_root() -> Path:
    """Return analyses/ of the source tree."""
    return Path(__file__).resolve().parents[1] / "analyses"


def analysis_file(name: str) -> Path:
    """Return the script of an analysis. Raises InputError where there is none of this name."""
    path = analyses_root() / checked_name(name, "analysis") / "page.py"
    if not path.is_file():
        raise InputError(f"no analysis {name!r}; there are: {', '.join(analysis_names()) or 'none'}.")
    return path


def recorded_seconds(name: str) -> float:
    """Return how long an analysis took when its numbers in reports/ were recorded; 0 where there are none."""
    try:
        return load(analyses_root().parent / "reports" / f"{name}.json").provenance.wall_s
    except InputError:
        return 0.0


def load_analysis(name: str) -> ModuleType:
    """Import an analysis script: it offers RUNS, the runs it studies by default (None: it studies none), and analyse(study).

    PROCESS says which runs it can study, those of a "tree" where it says nothing, or of a "chain". One that is held to numbers
    also offers thresholds(study), which yields (run, Check) computed as the page's numbers are; "short" is a finding, no damage.
    """
    path = analysis_file(name)
    spec = importlib.util.spec_from_file_location(f"analyses.{name}.page", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up here
    spec.loader.exec_module(module)
    return module


def chosen_analyses(names: Sequence[str], runs: Sequence[str]) -> list[str]:
    """Return which analyses to make: those named, else all; where `runs` are named, all that study runs of their kind.

    Raises InputError where there is none, or none of this name, and where one is asked to study runs that it cannot.
    """
    chosen = list(names) or analysis_names()
    if not chosen:
        raise InputError("report: there are no analyses; run from a copy of the source tree, which holds analyses/.")
    for name in chosen:
        analysis_file(name)
    if not runs:
        return chosen
    refused = {name: reason for name in chosen if (reason := _why_not(load_analysis(name), runs))}
    if refused and (names or len(refused) == len(chosen)):
        name, reason = next(iter(refused.items()))
        raise InputError(
            f"report: {name} {reason}.\nLeave --run out, or name other analyses."
            if names
            else f"report: no analysis here studies these runs; {name}, for one, {reason}. Leave --run out."
        )
    return [name for name in chosen if name not in refused]


def _why_not(analysis: ModuleType, runs: Sequence[str]) -> str:
    """Why an analysis cannot study these runs; empty where it can."""
    from mechbp.models.runs import load as load_run

    if analysis.RUNS is None:
        return "studies no trained run, so --run does not apply to it"
    wanted = getattr(analysis, "PROCESS", "tree")
    other = [run.name for run in map(load_run, runs) if run.config.process.family != wanted]
    return f"studies runs trained on a {wanted}, and {other[0]} was not" if other else ""


def studied_runs(analysis: ModuleType, runs: Sequence[str]) -> Sequence[str]:
    """Return the names or folders of the runs that an analysis studies: `runs`, or its own where there are none."""
    return () if analysis.RUNS is None else runs or analysis.RUNS


def command_line() -> str:
    """Return the command that this process executes."""
    return "mechbp " + " ".join(sys.argv[1:])


def analyse(analysis: ModuleType, study: Study, command: str | None = None) -> Document:
    """Run an analysis and return its document with provenance; the analysis gives slug, title, lead, claims and sections.

    `command` is what the user typed, where that was in another process.
    """
    import torch

    started, utc = time.monotonic(), datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    commit, dirty = _git_state()
    content: dict[str, Any] = analysis.analyse(study)
    provenance = Provenance(
        command=command or command_line(),
        utc=utc,
        wall_s=time.monotonic() - started,
        device="cpu",
        threads=torch.get_num_threads(),
        git_commit=commit,
        git_dirty=dirty,
        versions=_versions(),
        seeds={"study": study.seed},
        runs={run.name: _describe(run) for run in study.runs},
    )
    return Document(provenance=provenance, **content)


def check_folder(folder: Path) -> None:
    """Raise InputError unless pages can be written to `folder`, before anything is computed; create nothing."""
    try:
        if folder.is_dir():
            for source in sorted(folder.glob("*.json")):
                load(source)
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        usable = existing.is_dir() and os.access(existing, os.W_OK)
        folder.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        usable = False
    if not usable:
        raise InputError(f"--out: cannot write to {str(folder)!r:.200}. Choose a folder that can be written to or created.")


def write_documents(documents: list[Document], folder: Path) -> list[Path]:
    """Write each document's JSON and page, and the index over all documents of the folder; return all pages."""
    folder.mkdir(parents=True, exist_ok=True)
    for document in documents:
        atomic_write(folder / f"{document.slug}.json", dumps(document).encode())
    return render_folder(folder, [document.slug for document in documents])


def render_folder(folder: Path, changed: Collection[str] | None = None) -> list[Path]:
    """Rebuild the pages of a folder from the JSON beside them, byte for byte the same each time; return all pages.

    With `changed` slugs just these, those that are missing, and the index.
    """
    sources = sorted(folder.glob("*.json"))
    if not sources:
        raise InputError(f"{folder} holds no *.json to render. Run `mechbp report` first.")
    documents = [load(source) for source in sources]
    pages = [folder / f"{document.slug}.html" for document in documents]
    for page, document in zip(pages, documents, strict=True):
        if changed is None or document.slug in changed or not page.exists():
            atomic_write(page, render(document).encode())
    atomic_write(folder / "index.html", render_index(documents).encode())
    return [*pages, folder / "index.html"]


def _describe(run: Run) -> dict[str, object]:
    training, objective = run.config.training, run.config.objective
    return {
        "checkpoint_sha256": run.digest,
        "step": run.steps[-1],
        "sequences": run.steps[-1] * training.batch_size,
        "task": objective.task,
        "trained_on": objective.targets,
        **run.config.process.provenance(),
        "training_seed": training.seed,
    }


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    from mechbp import __version__

    return {"mechbp": __version__, "python": sys.version.split()[0], **{name: version(name) for name in PACKAGES}}


def _git_state() -> tuple[str, bool]:
    """Return the commit of the source tree and whether tracked files differ from it; ("unknown", True) outside git.

    reports/ does not count: it holds products, and a page that is done would make the next one's source look changed.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).resolve().parents[1]), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no", *SOURCES))
    except (OSError, subprocess.SubprocessError):
        return "unknown", True
