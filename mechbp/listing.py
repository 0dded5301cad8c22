"""What there is: runs with the state of their training, pages, and runs that were replaced; read without loading a model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from mechbp.errors import MechbpError
from mechbp.models.config import RunConfig, read_recipe
from mechbp.models.metrics import METRICS, has_ended, read_metrics
from mechbp.models.run_folder import run_names, runs_root, stored_steps
from mechbp.report.replaced import FILE, Replaced, replaced_runs
from mechbp.storage import RUNS_VARIABLE
from mechbp.study import page_names

GIVEN = "trained elsewhere"


@dataclass(frozen=True)
class Listed:
    """One run."""

    name: str
    folder: str
    task: str = ""
    process: str = ""
    targets: str = ""
    """What it was trained on: "tokens", "posteriors", or "trained elsewhere"."""
    steps: tuple[int, ...] = ()
    """Stored ones."""
    complete: bool = False
    """Whether training has ended."""
    unreadable: str = ""
    """Why nothing more can be said."""

    def __str__(self) -> str:
        if self.unreadable:
            return f"unreadable: {self.unreadable}"
        if self.targets == GIVEN:
            return f"{self.task}, {self.process}, {GIVEN}"
        stored = "1 stored step, " if len(self.steps) == 1 else f"{len(self.steps)} stored steps, last "
        state = f"{stored}{self.steps[-1]:,}" if self.steps else "not trained yet"
        return f"{self.task}, {self.process}, trained on {self.targets}; {state}{'' if self.complete else ' (incomplete)'}"


@dataclass(frozen=True)
class Listing:
    """Everything that `mechbp list` tells."""

    root: Path
    """Where named runs were looked for."""
    runs: tuple[Listed, ...]
    pages: tuple[str, ...]
    replaced: tuple[Replaced, ...]

    def lines(self) -> Iterator[str]:
        """Yield one line per entry; where no run is found, where it was looked for."""
        for run in self.runs:
            yield f"run       {run.name:<24} {run}"
        if not self.runs:
            yield f"no run in {self.root}: begin one with `mechbp new NAME`; shipped ones are in checkpoints/ of the repository,"
            yield f"clone it and set ${RUNS_VARIABLE}, or --runs, to that folder"
        for page in self.pages:
            yield f"page      {page}"
        for entry in self.replaced:
            yield f"replaced  {entry.run:<24} {entry.date}, {entry.commit}: {entry.changed}; {entry.why}"

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        return {
            "root": str(self.root),
            "runs": [asdict(run) for run in self.runs],
            "pages": list(self.pages),
            "replaced": [{key: str(value) for key, value in asdict(entry).items()} for entry in self.replaced],
        }


def listing() -> Listing:
    """Read the folder of named runs, those that lie in the working directory, and the pages that are installed.

    Where a folder of runs is named, only those in it are read.
    """
    root = runs_root()
    folders = {} if os.environ.get(RUNS_VARIABLE) else {name: Path.cwd() / name for name in run_names(Path.cwd())}
    folders |= {name: root / name for name in run_names()}  # a plain name means these first
    runs = tuple(_listed(folders[name]) for name in sorted(folders))
    return Listing(root, runs, tuple(page_names()), tuple(replaced_runs(root / FILE)))


def _listed(folder: Path) -> Listed:
    try:
        config = read_recipe(folder / "run.toml", "leave")
        steps = stored_steps(folder)
        ended = bool(steps) and has_ended(config.training, steps[-1], _metrics(folder, config))
    except (MechbpError, OSError) as error:
        return Listed(folder.name, str(folder), unreadable=" ".join(str(error).split()))
    objective = config.objective
    targets = GIVEN if config.start.given else objective.targets
    return Listed(folder.name, str(folder), objective.task, config.process.name, targets, steps, ended)


def _metrics(folder: Path, config: RunConfig) -> list[dict[str, float]]:
    """What decides where training may stop early; nothing is read where it does not."""
    if not config.training.early_stopping:
        return []
    if config.names_code:  # whose oracles only its code can tell
        return read_metrics(folder / METRICS)
    return read_metrics(folder / METRICS, config.task.oracles(config.process.build()))
