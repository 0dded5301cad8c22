"""Trainings, measurements and pages as jobs of other processes: what each is told, what it does, and what is said of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mechbp.errors import MechbpError
from mechbp.fanout import Outcome, in_processes, on_cluster, one_blas_thread
from mechbp.storage import InUse

if TYPE_CHECKING:
    from mechbp.report.document import Document

PATIENCE_S = 120
"""How long a job on a cluster waits for a run's lock; a file server may need 90 s to see that the holder's machine is gone."""


@dataclass(frozen=True)
class Fan:
    """Where jobs run: on a Dask scheduler's workers, else in `processes` of this machine; each with `threads` for torch.

    Models compute on the `device` of whichever machine that is.
    """

    processes: int
    scheduler: str | None
    threads: int
    trust: bool = False
    """Whether the code that recipes name beside their runs is executed."""
    device: str = "cpu"

    def spreads(self, jobs: int) -> bool:
        """Whether so many jobs leave this process."""
        return self.scheduler is not None or min(self.processes, jobs) > 1

    def outcomes(self, work: Callable[..., Any], jobs: Sequence[tuple], *, storing: bool) -> Iterator[Outcome]:
        """Run the jobs and yield their outcomes as they come; jobs that are `storing` a state get the time for it."""
        if self.scheduler is not None:
            return on_cluster(work, jobs, self.scheduler)
        return in_processes(work, jobs, min(self.processes, len(jobs)), storing=storing)


def train_all(folders: Sequence[Path], fan: Fan) -> None:
    """Train the runs, one a job. Raises MechbpError at the end where some failed."""
    patience_s = PATIENCE_S if fan.scheduler else 0
    jobs = [(str(folder), fan.threads, patience_s, fan.trust, fan.device) for folder in folders]
    list(_values("train", [folder.name for folder in folders], fan.outcomes(_train, jobs, storing=True)))


def measure_all(folders: Sequence[Path], fan: Fan) -> None:
    """Measure the runs, one a job, and say on stderr what each measured. Raises MechbpError at the end where some failed."""
    patience_s = PATIENCE_S if fan.scheduler else 0
    names = [folder.name for folder in folders]
    jobs = [(str(folder), fan.threads, patience_s, fan.trust) for folder in folders]
    for index, lines in _values("measure", names, fan.outcomes(_measure, jobs, storing=True)):
        for line in lines:
            print(f"{names[index]}: {line}", file=sys.stderr)


@dataclass(frozen=True)
class Part:
    """A page, or what one of its runs contributes: one job."""

    page: str
    folders: list[str] | None
    """Of the runs; None leaves a page's own runs to its job, which then need not wait."""
    title: str
    seconds: float
    """What it took when it was recorded."""
    place: int = 0
    of: int = 1


def parts_of(names: Sequence[str], runs: Sequence[str], fan: Fan) -> list[Part]:
    """Cut pages on `runs`, or each on its own ones, into jobs, one per run where a page studies its runs one by one.

    The longest comes first: one that starts last would end alone.
    """
    parts = [part for name in names for part in _cut(name, runs, fan)]
    return sorted(parts, key=lambda part: part.seconds, reverse=True)


def analyse_all(parts: Sequence[Part], quick: bool, command: str, fan: Fan) -> Iterator[Document]:
    """Run the jobs and yield the documents of pages as they are whole. Raises MechbpError at the end where some failed."""
    from mechbp.report.document import loads
    from mechbp.study import merged

    jobs = [(part.page, part.folders, quick, fan.threads, command, fan.trust, fan.device) for part in parts]
    found: dict[str, dict[int, Document]] = {part.page: {} for part in parts}
    for index, text in _values("report", [part.title for part in parts], fan.outcomes(_analyse, jobs, storing=False)):
        part = parts[index]
        found[part.page][part.place] = loads(text)
        if len(found[part.page]) == part.of:
            documents = [document for _, document in sorted(found[part.page].items())]
            yield documents[0] if part.of == 1 else merged(part.page, documents)


def _cut(name: str, runs: Sequence[str], fan: Fan) -> list[Part]:
    """Cut one page into jobs. Jobs of this machine find its own runs by name; the workers of a cluster may stand elsewhere."""
    from mechbp.models.run_folder import find_run
    from mechbp.study import load_page, recorded_seconds, studied_runs

    page = load_page(name)
    seconds = recorded_seconds(name)
    own = not runs and fan.scheduler is None
    if own and not page.by_run:
        return [Part(name, None, name, seconds)]
    studied = [str(run if own else find_run(run)) for run in studied_runs(page, runs)]
    names = {Path(run).name for run in studied}
    if not page.by_run or len(studied) < 2 or len(names) < len(studied):  # a Study refuses two runs of one name, side by side
        return [Part(name, studied, name, seconds)]
    return [
        Part(name, [run], f"{name}, {Path(run).name}", seconds / len(studied), place, len(studied))
        for place, run in enumerate(studied)
    ]


def say_failure(name: str, failure: str) -> None:
    """Say in one line on stderr what became of a job."""
    print(f"mechbp: {name}: {' '.join(failure.split())}", file=sys.stderr)


def _values(command: str, names: Sequence[str], outcomes: Iterator[Outcome]) -> Iterator[tuple[int, Any]]:
    """Yield index and value of each job that succeeds and say a line on each; raise MechbpError at the end where some failed."""
    failed = []
    try:
        for count, outcome in enumerate(outcomes, 1):
            name = names[outcome.index]
            if outcome.failure:
                failed.append(name)
                say_failure(name, outcome.failure)
                continue
            print(f"{name}: done in {outcome.seconds:.1f} s ({count} of {len(names)})", file=sys.stderr)
            yield outcome.index, outcome.value
    except (KeyboardInterrupt, SystemExit):
        say_failure(command, "stopped.")
        raise
    if failed:
        raise MechbpError(f"{command}: {len(failed)} of {len(names)} failed: {', '.join(sorted(failed))}.")


def _train(
    check: Callable[[], None], folder: str, threads: int, patience_s: float, trust: bool = False, device: str = "cpu"
) -> None:
    """Train one run; wait up to `patience_s` for a lost worker's hold on it to end."""
    _prepare(threads)
    from mechbp.models.training import train

    _once_free(check, lambda: train(Path(folder), lambda _: check(), trust=trust, device=device), patience_s)


def _measure(check: Callable[[], None], folder: str, threads: int, patience_s: float, trust: bool = False) -> list[str]:
    """Measure one run and return what was said; wait up to `patience_s` for a lost worker's hold on it to end."""
    _prepare(threads)
    from mechbp.measuring.measure import measure

    lines: list[str] = []

    def work() -> None:
        measure(Path(folder), check, lambda done, total, text: lines.append(text), trust=trust)

    _once_free(check, work, patience_s)
    return lines


def _once_free(check: Callable[[], None], work: Callable[[], None], patience_s: float) -> None:
    """Do what needs a run for itself, as soon as no other process holds it; raise InUse after `patience_s`."""
    give_up = time.monotonic() + patience_s
    while True:
        check()
        try:
            return work()
        except InUse:
            if time.monotonic() >= give_up:
                raise
            time.sleep(0.2)


def _analyse(
    check: Callable[[], None],
    name: str,
    folders: list[str] | None,
    quick: bool,
    threads: int,
    command: str,
    trust: bool = False,
    device: str = "cpu",
) -> str:
    """Make one page, or what some of its runs contribute, and return its document as JSON."""
    _prepare(threads)
    from mechbp.models.runs import load
    from mechbp.report.document import dumps
    from mechbp.study import Study, analyse, load_page, studied_runs

    runs = tuple(load(run, trust=trust, device=device) for run in studied_runs(load_page(name), folders or ()))
    return dumps(analyse(name, Study(runs, quick, lambda _: check()), command))


def _prepare(threads: int) -> None:
    """Count threads as the command line does: equal counts give equal bits."""
    one_blas_thread()
    import torch

    torch.set_num_threads(threads)
