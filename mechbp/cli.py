"""The command line. Exit codes: 0 done, 1 a check failed, 2 the call or its input was wrong."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mechbp.errors import InputError, MechbpError
from mechbp.fanout import one_blas_thread

if TYPE_CHECKING:
    from rich.progress import Progress

    from mechbp.jobs import Fan
    from mechbp.models.config import RunConfig

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Ask whether, where and how a transformer computes an exact Bayesian answer.",
)

Threads = Annotated[
    int, typer.Option(min=1, max=256, help="CPU threads for torch; results are bit-identical only for equal counts.")
]


class Backend(StrEnum):
    """Whose processes run the jobs."""

    loky = "loky"
    dask = "dask"


Jobs = Annotated[
    int, typer.Option(min=1, max=256, help="Runs or pages at the same time, each in a process of its own with --threads.")
]
Workers = Annotated[
    Backend, typer.Option("--backend", help="Processes of this machine (loky), or the workers of a Dask cluster (dask).")
]
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="The Dask scheduler; its workers must see the run folders at the same paths."),
]


@app.command()
def report(
    pages: Annotated[list[str] | None, typer.Argument(metavar="[PAGE ...]", help="Which pages; all by default.")] = None,
    run: Annotated[list[str] | None, typer.Option(help="Study this run (a name or a folder) instead; may be repeated.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small samples: a first look in a minute or two.")] = False,
    render: Annotated[bool, typer.Option("--render", help="Only rebuild the pages from the JSON files.")] = False,
    out: Annotated[Path | None, typer.Option(help="Where to write; default reports/, reports/quick/ or reports/RUN/.")] = None,
    threads: Threads = 1,
    jobs: Jobs = 1,
    backend: Workers = Backend.loky,
    scheduler: Scheduler = None,
) -> None:
    """Analyse runs and write self-contained HTML pages, their numbers in JSON beside them."""
    from mechbp import study
    from mechbp.jobs import analyse_all, parts_of
    from mechbp.report.folder import check_folder, render_folder, write_documents

    fan = _fan(jobs, backend, scheduler, threads)
    folder = out or _default_folder(run or [], quick)
    check_folder(folder)
    if render:
        _say_pages(render_folder(folder))
        return
    names = study.chosen_pages(pages or [], run or [])
    written: list[Path] = []
    parts = parts_of(names, run or [], fan) if fan.spreads(2) else []
    if fan.spreads(len(parts)):
        for document in analyse_all(parts, quick, study.command_line(), fan):
            written = write_documents([document], folder)
        _say_pages(written)
        return
    _set_threads(threads)
    from mechbp.models.runs import load

    studied = {name: [load(found) for found in study.studied_runs(study.load_page(name), run or [])] for name in names}
    with _progress() as bars:
        for name, runs in studied.items():
            bar = bars.add_task(name, total=None)

            def stage(text: str, bar=bar, name=name) -> None:
                bars.update(bar, advance=1, description=f"{name}: {text}")

            # Written one by one, so that what is finished outlasts a page that is refused, and an interruption.
            written = write_documents([study.analyse(name, study.Study(tuple(runs), quick, stage))], folder)
            bars.update(bar, total=1, completed=1, description=f"{name}: done")
    _say_pages(written)


@app.command()
def train(
    runs: Annotated[list[str], typer.Argument(metavar="RUN", help="Names or folders of runs.")],
    threads: Threads = 1,
    jobs: Jobs = 1,
    backend: Workers = Backend.loky,
    scheduler: Scheduler = None,
) -> None:
    """Train runs to their last step, or take them up where they stopped."""
    fan = _fan(jobs, backend, scheduler, threads)
    _set_threads(threads)
    from mechbp.jobs import train_all
    from mechbp.models.config import read_recipe
    from mechbp.models.runs import find_run

    folders = [find_run(run) for run in runs]
    _refuse_twins("train", folders, runs)
    configs = {folder: read_recipe(folder / "run.toml") for folder in folders}
    if fan.spreads(len(folders)):
        train_all(folders, fan)
        return
    _one_by_one("train", folders, lambda folder, bars: _train_here(folder, configs[folder], bars))


@app.command()
def measure(
    runs: Annotated[list[str], typer.Argument(metavar="RUN", help="Names or folders of trained runs.")],
    threads: Threads = 1,
    jobs: Jobs = 1,
    backend: Workers = Backend.loky,
    scheduler: Scheduler = None,
) -> None:
    """Measure the local learning coefficient at stored steps, as the [llc] tables of the recipes say, or go on with it.

    Every measurement is stored at once, in llc.jsonl beside the run; one whose weights or settings have changed is taken anew.
    """
    fan = _fan(jobs, backend, scheduler, threads)
    _set_threads(threads)
    from mechbp.jobs import measure_all
    from mechbp.measuring.measure import measure as measure_run
    from mechbp.measuring.measure import refuse_unmeasurable
    from mechbp.models.runs import find_run, load

    folders = [find_run(run) for run in runs]
    _refuse_twins("measure", folders, runs)
    for folder in folders:
        refuse_unmeasurable(load(folder))
    if fan.spreads(len(folders)):
        measure_all(folders, fan)
        return

    def here(folder: Path, bars: Progress) -> None:
        bar = bars.add_task(folder.name, total=None)

        def say(done: int, total: int, text: str) -> None:
            bars.update(bar, completed=done, total=total, description=f"{folder.name}  {text}")
            if not bars.console.is_terminal:
                bars.console.print(text, soft_wrap=True)

        measure_run(folder, say=say)

    _one_by_one("measure", folders, here)


@app.command()
def verify(
    runs: Annotated[list[str] | None, typer.Argument(metavar="[RUN ...]", help="Names or folders; all by default.")] = None,
    claims: Annotated[
        bool, typer.Option("--claims", help="Instead grade the recorded pages anew, from their numbers and criteria.")
    ] = False,
    threads: Threads = 1,
) -> None:
    """Re-hash every stored step, re-run one stored evaluation, and hold each final model against its requirement.

    Without runs also print the thresholds of the pages that have some: short ones are findings, and leave the exit code alone.
    """
    if claims:
        if runs:
            raise InputError("verify: --claims grades recorded pages, which belong to no single run. Leave the runs out.")
        from mechbp.promises import claims_regraded

        failed = False
        for name, verdict, text in claims_regraded():
            print(f"{name:<24} {verdict:<6} {text}")
            failed |= verdict == "FAIL"
        raise typer.Exit(1 if failed else 0)
    _set_threads(threads)
    from mechbp.models.runs import load, run_names
    from mechbp.models.verify import verify_run

    opened = [load(name) for name in runs or run_names()]
    failed = False
    for run in opened:
        for check in verify_run(run):
            print(f"{run.name:<24} {check.verdict:<6} {check.what:<38} {check.measured}")
            failed |= check.verdict != "pass"
    if not runs:
        from mechbp.promises import thresholds_measured

        for name, verdict, text in thresholds_measured():
            print(f"{name:<24} {verdict:<6} {text}")
    raise typer.Exit(1 if failed else 0)


@app.command("list")
def list_all() -> None:
    """List the runs, the pages, and the runs whose weights were replaced after they had been shipped."""
    from mechbp.models.runs import checkpoints_root, load, run_names
    from mechbp.report.replaced import FILE, replaced_runs
    from mechbp.study import page_names

    for name in run_names():
        try:
            run = load(name)
        except MechbpError as error:
            print(f"run       {name:<24} unreadable: {' '.join(str(error).split())}")
            continue
        process, objective = run.config.process, run.config.objective
        state = f"{len(run.steps)} stored steps, last {run.steps[-1]:,}" if run.steps else "not trained yet"
        print(
            f"run       {name:<24} {objective.task}, {process.name}, "
            f"trained on {objective.targets}; {state}{'' if run.complete else ' (incomplete)'}"
        )
    for name in page_names():
        print(f"page      {name}")
    for entry in replaced_runs(checkpoints_root() / FILE):
        print(f"replaced  {entry.run:<24} {entry.date}, {entry.commit}: {entry.changed}; {entry.why}")


def main() -> None:
    """Run the command line; every refusal by mechbp is a message on stderr and exit code 2."""
    one_blas_thread()
    try:
        app(prog_name="mechbp")
    except MechbpError as error:
        print(f"mechbp: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        print("mechbp: interrupted", file=sys.stderr)
        sys.exit(130)


def _default_folder(runs: list[str], quick: bool) -> Path:
    """Full reports on the default runs go to reports/; anything else beside them, so that it never replaces them."""
    root = Path("reports")
    if runs:
        # A resolved path never ends in "..", so the pages stay inside reports/.
        resolved = (os.path.basename(os.path.realpath(name.replace("\0", ""))) for name in runs)
        names = (re.sub(r"[^\w.-]", "-", name) for name in resolved)
        root = root / "-".join(name or "run" for name in names)[:100]
    return root / "quick" if quick else root


def _fan(jobs: int, backend: Backend, scheduler: str | None, threads: int) -> Fan:
    """Return where the jobs run, or raise InputError where the options contradict each other."""
    if backend is Backend.dask and scheduler is None:
        raise InputError("--backend dask needs --scheduler ADDRESS, such as tcp://127.0.0.1:8786, which `dask scheduler` prints.")
    if backend is not Backend.dask and scheduler is not None:
        raise InputError(f"--scheduler is for Dask, got --backend {backend}. Add --backend dask, or leave --scheduler out.")
    if scheduler is not None and jobs > 1:
        raise InputError("--jobs counts processes of this machine; a Dask cluster has as many as it has workers. Leave it out.")
    from mechbp.jobs import Fan

    return Fan(jobs, scheduler, threads)


def _refuse_twins(command: str, folders: list[Path], given: list[str]) -> None:
    """Raise InputError where two of the runs are one folder, before anything starts."""
    seen: dict[Path, str] = {}
    for folder, name in zip(folders, given, strict=True):
        place = folder.resolve()
        if place in seen:
            raise InputError(f"{command}: {seen[place]!r:.80} and {name!r:.80} are the same run. Give it once.")
        seen[place] = name


def _one_by_one(command: str, folders: list[Path], work: Callable[[Path, Progress], None]) -> None:
    """Do the work on one run after the other in this process; a refusal is said, and the others are done before it is raised."""
    from mechbp.jobs import say_failure
    from mechbp.models.training import Interrupted

    failed = []
    with _progress() as bars:
        for folder in folders:
            try:
                work(folder, bars)
            except Interrupted as stop:
                bars.stop()
                print(stop, file=sys.stderr)
                raise typer.Exit(143) from None
            except MechbpError as error:
                if len(folders) == 1:
                    raise
                failed.append(folder.name)
                say_failure(folder.name, str(error))
    if failed:
        raise MechbpError(f"{command}: {len(failed)} of {len(folders)} failed: {', '.join(failed)}.")


def _train_here(folder: Path, config: RunConfig, bars: Progress) -> None:
    """Train one run in this process, under a bar."""
    from mechbp.models.tasks.task import own_oracle
    from mechbp.models.training import divergence_names
    from mechbp.models.training import train as train_run

    exact, _ = divergence_names(own_oracle(config.task, config.process.build()))
    bar = bars.add_task(folder.name, total=config.training.steps)
    shown = {"loss": "", "kl": ""}

    def describe() -> str:
        return "  ".join(part for part in (folder.name, shown["loss"], shown["kl"]) if part)

    def on_step(line: dict[str, float]) -> None:
        shown["loss"] = f"loss {line['loss']:.3f}"
        bars.update(bar, completed=line["step"], description=describe())

    def on_metrics(line: dict[str, float]) -> None:
        shown["kl"] = f"KL(exact || model) {line[exact]:.4f} nats"
        bars.update(bar, completed=line["step"], description=describe())
        if not bars.console.is_terminal:
            bars.console.print(f"step {line['step']:,.0f}  accuracy {line['accuracy']:.4f}  {shown['kl']}")

    train_run(folder, on_step, on_metrics)


def _set_threads(count: int) -> None:
    import torch

    torch.set_num_threads(count)


def _progress() -> Progress:
    """Bars on stderr; on a terminal they vanish when done, elsewhere only prints remain."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _say_pages(pages: list[Path]) -> None:
    for page in pages:
        print(page)
