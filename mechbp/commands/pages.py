"""The command that makes pages: report."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from mechbp import terminal
from mechbp.commands.completing import complete_page, complete_run
from mechbp.commands.options import Backend, Device, Jobs, Scheduler, Threads, Trust, Workers, fan_of
from mechbp.errors import InputError
from mechbp.storage import RUNS_VARIABLE


def report(
    pages: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PAGE", help="Which pages, by name; all that can be made by default.", autocompletion=complete_page
        ),
    ] = None,
    run: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RUN", help="Study this run instead of the shipped ones; may be repeated.", autocompletion=complete_run
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small samples: a first look in a minute or two.")] = False,
    render: Annotated[bool, typer.Option("--render", help="Analyse nothing: rebuild the pages from their JSON files.")] = False,
    bundle: Annotated[bool, typer.Option("--bundle", help="Small pages that share one plotly.js file beside them.")] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where to write; by default reports/, reports/quick/ or reports/RUN/.")
    ] = None,
    device: Device = "cpu",
    threads: Threads = 1,
    jobs: Jobs = 1,
    backend: Workers = Backend.loky,
    scheduler: Scheduler = None,
    trust: Trust = False,
) -> None:
    """Analyse runs; write HTML pages, every number in JSON.

    Without --run the pages study the shipped runs. Begin with index.html of the folder that is written.
    """
    from mechbp import study
    from mechbp.jobs import analyse_all, parts_of
    from mechbp.report.folder import check_folder, refuse_other_runs, render_folder, write_documents

    fan = fan_of(jobs, backend, scheduler, threads, trust, device)
    folder = out or default_folder(run or [], quick)
    check_folder(folder)
    if render:
        terminal.say_pages(render_folder(folder, bundled=bundle))
        return
    names = study.chosen_pages(pages or [], run or [], trust, lambda line: print(f"mechbp: {line}", file=sys.stderr))
    if not pages and not run:
        names = _makeable(names)
    refuse_other_runs(folder, {name: study.studied_names(study.load_page(name), run or []) for name in names}, own=not run)
    if run and not quick:
        print(f"{len(names)} pages, in full; --quick is a first look, and PAGE names single ones", file=sys.stderr)
    written: list[Path] = []
    parts = parts_of(names, run or [], fan) if fan.spreads(2) else []
    if fan.spreads(len(parts)):
        terminal.say_unfinished(study.opened_runs(run or [], trust))
        for document in analyse_all(parts, quick, study.command_line(), fan):
            written = write_documents([document], folder, bundle)
        terminal.say_pages(written)
        return
    terminal.set_threads(threads)
    pages_runs = {name: study.studied_runs(study.load_page(name), run or []) for name in names}
    studied = {name: study.opened_runs(runs, trust, device) for name, runs in pages_runs.items()}
    terminal.say_unfinished(run for runs in studied.values() for run in runs)
    with terminal.progress() as bars:
        for name, runs in studied.items():
            bar = bars.add_task(name, total=None)

            def stage(text: str, bar=bar, name=name) -> None:
                bars.update(bar, advance=1, description=f"{name}: {text}")

            # Written one by one, so that what is finished outlasts a page that is refused, and an interruption.
            written = write_documents([study.analyse(name, study.Study(tuple(runs), quick, stage))], folder, bundle)
            bars.update(bar, total=1, completed=1, description=f"{name}: done")
    terminal.say_pages(written)


def default_folder(runs: list[str], quick: bool) -> Path:
    """Full reports on the default runs go to reports/; anything else beside them, so that it never replaces them."""
    root = Path("reports")
    if runs:
        # A resolved path never ends in "..", so the pages stay inside reports/.
        resolved = (os.path.basename(os.path.realpath(name.replace("\0", ""))) for name in runs)
        names = (re.sub(r"[^\w.-]", "-", name) for name in resolved)
        root = root / "-".join(name or "run" for name in names)[:100]
    return root / "quick" if quick else root


def _makeable(names: list[str]) -> list[str]:
    """Leave out, and say so in a line or two, the pages whose runs or packages are not here."""
    from mechbp.study import left_out

    absent = left_out(names)
    if absent:
        name, reason = next(iter(absent.items()))
        print(f"mechbp: {len(absent)} of {len(names)} pages are left out; {name}, for one: {reason}", file=sys.stderr)
        if any("runs" in told for told in absent.values()):
            where = f"set ${RUNS_VARIABLE} to that folder of a clone, or study a run of yours with --run"
            print(f"mechbp: shipped runs are in checkpoints/ of the repository: {where}", file=sys.stderr)
    if len(absent) == len(names):
        raise InputError("report: no page can be made here.")
    return [name for name in names if name not in absent]
