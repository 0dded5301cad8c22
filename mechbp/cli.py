"""The command line. Exit codes: 0 done, 1 a check failed, 2 the call or its input was wrong."""

from __future__ import annotations

import json
import os
import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mechbp.commands.completing import complete_like, complete_page, complete_run
from mechbp.errors import InputError, MechbpError
from mechbp.fanout import one_blas_thread
from mechbp.storage import RUNS_VARIABLE
from mechbp.terminal import one_by_one, progress, say_pages, set_threads, train_here

if TYPE_CHECKING:
    from rich.progress import Progress

    from mechbp.jobs import Fan

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Threads = Annotated[
    int, typer.Option(metavar="N", min=1, max=256, help="CPU threads for torch; results are bit-identical only for equal counts.")
]


class Backend(StrEnum):
    """Whose processes run the jobs."""

    loky = "loky"
    dask = "dask"


Jobs = Annotated[
    int, typer.Option(metavar="N", min=1, max=256, help="How many runs or pages at once, each a process with its own --threads.")
]
Workers = Annotated[
    Backend, typer.Option("--backend", help="Whose processes: of this machine (loky), or of a Dask cluster (dask).")
]
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="The Dask scheduler, tcp://HOST:8786; its workers must see the runs at the same paths."),
]


RunsIn = Annotated[
    Path | None,
    typer.Option("--runs", metavar="FOLDER", help="The folder of named runs; $MECHBP_RUNS sets it for every command."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="TABLE.KEY=VALUE", help="Change a value of run.toml, such as training.steps=500; may be repeated."
    ),
]
Trust = Annotated[bool, typer.Option("--trust", help='Execute the code that a recipe names beside its run (kind = "python:…").')]
Device = Annotated[str, typer.Option(metavar="DEVICE", help="Where models compute: cpu, cuda, cuda:1.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of lines.")]


def _version(asked: bool | None) -> bool:
    if asked:
        from mechbp import __version__

        print(f"mechbp {__version__}")
        raise typer.Exit
    return False


@app.callback()
def mechbp(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Ask whether, where and how a transformer computes an exact Bayesian answer.

    RUN is the name of a run, or the path of its folder, which holds a run.toml; PAGE is a page of the report. mechbp list names
    both. Exit codes: 0 done, 1 a check failed, 2 the call or its input was wrong.
    """


@app.command()
def new(
    run: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The run's folder, which is made; its last part is the name of the run.")
    ],
    like: Annotated[
        str,
        typer.Option(
            metavar="RUN",
            help="What to start from: a template (chain, lists, own, root, topics, tree), or a run, whose recipe is taken.",
            autocompletion=complete_like,
        ),
    ] = "tree",
    settings: Settings = None,
) -> None:
    """Begin a run: write its recipe, run.toml, with comments.

    Change it in an editor, or by --set; then: mechbp train FOLDER. Files that a recipe names are copied beside it.
    """
    from mechbp.models.recipe_edits import Setting
    from mechbp.models.starting import new_run

    print(new_run(run, like, [Setting.of(text) for text in settings or []]))


@app.command()
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
    from mechbp.report.folder import check_folder, render_folder, write_documents

    fan = _fan(jobs, backend, scheduler, threads, trust, device)
    folder = out or _default_folder(run or [], quick)
    check_folder(folder)
    if render:
        say_pages(render_folder(folder, bundled=bundle))
        return
    names = study.chosen_pages(pages or [], run or [], trust, lambda line: print(f"mechbp: {line}", file=sys.stderr))
    if not pages and not run:
        names = _makeable(names)
    if run and not quick:
        print(f"{len(names)} pages, in full; --quick is a first look, and PAGE names single ones", file=sys.stderr)
    written: list[Path] = []
    parts = parts_of(names, run or [], fan) if fan.spreads(2) else []
    if fan.spreads(len(parts)):
        for document in analyse_all(parts, quick, study.command_line(), fan):
            written = write_documents([document], folder, bundle)
        say_pages(written)
        return
    set_threads(threads)
    pages_runs = {name: study.studied_runs(study.load_page(name), run or []) for name in names}
    studied = {name: study.opened_runs(runs, trust, device) for name, runs in pages_runs.items()}
    with progress() as bars:
        for name, runs in studied.items():
            bar = bars.add_task(name, total=None)

            def stage(text: str, bar=bar, name=name) -> None:
                bars.update(bar, advance=1, description=f"{name}: {text}")

            # Written one by one, so that what is finished outlasts a page that is refused, and an interruption.
            written = write_documents([study.analyse(name, study.Study(tuple(runs), quick, stage))], folder, bundle)
            bars.update(bar, total=1, completed=1, description=f"{name}: done")
    say_pages(written)


@app.command()
def train(
    runs: Annotated[list[str], typer.Argument(metavar="RUN", help="Which runs, by name or folder.", autocompletion=complete_run)],
    settings: Settings = None,
    device: Device = "cpu",
    threads: Threads = 1,
    jobs: Jobs = 1,
    backend: Workers = Backend.loky,
    scheduler: Scheduler = None,
    trust: Trust = False,
) -> None:
    """Train runs to their last step, or go on where they stopped.

    --set changes the recipes of runs that have stored nothing yet.
    """
    fan = _fan(jobs, backend, scheduler, threads, trust, device)
    from mechbp.models.recipe_edits import Setting, restored_on_failure, set_in_place
    from mechbp.models.run_folder import find_run

    folders = [find_run(run) for run in runs]
    _refuse_twins("train", folders, runs)
    changes = [Setting.of(text) for text in settings or []]
    with restored_on_failure(folders if changes else []):
        for folder in folders if changes else []:
            set_in_place(folder, changes)
        _train(folders, fan)


@app.command()
def sweep(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="The run whose recipe is varied, by name or folder.", autocompletion=complete_run)
    ],
    settings: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="TABLE.KEY=VALUES",
            help="The values to take, such as training.seed=0..4 or model.d_model=32,64; may be repeated.",
        ),
    ],
    threads: Threads = 1,
    jobs: Jobs = 1,
    backend: Workers = Backend.loky,
    scheduler: Scheduler = None,
    trust: Trust = False,
) -> None:
    """Vary a recipe: a run for every combination of values.

    The new runs are written beside RUN, with their values in their names, and trained. The same command goes on where it stopped.
    """
    fan = _fan(jobs, backend, scheduler, threads, trust)
    from mechbp.models.recipe_edits import Setting
    from mechbp.models.run_folder import find_run
    from mechbp.models.starting import sweep as sweep_from

    folders = sweep_from(find_run(run), [Setting.of(text) for text in settings])
    for folder in folders:
        print(folder)
    _train(folders, fan)


@app.command()
def measure(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN", help="Which trained runs, by name or folder.", autocompletion=complete_run)
    ],
    threads: Threads = 1,
    jobs: Jobs = 1,
    backend: Workers = Backend.loky,
    scheduler: Scheduler = None,
    trust: Trust = False,
) -> None:
    """Estimate the local learning coefficient at stored steps.

    The [llc] tables of a recipe say where and how. Every measurement is stored at once, in llc.jsonl beside the run, and the same
    command goes on where it stopped; one whose weights or settings have changed is taken anew.
    """
    fan = _fan(jobs, backend, scheduler, threads, trust)
    set_threads(threads)
    from mechbp.jobs import measure_all
    from mechbp.measuring.measure import measure as measure_run
    from mechbp.measuring.measure import refuse_unmeasurable
    from mechbp.models.run_folder import find_run
    from mechbp.models.runs import load

    folders = [find_run(run) for run in runs]
    _refuse_twins("measure", folders, runs)
    for folder in folders:
        refuse_unmeasurable(load(folder, trust=trust))
    if fan.spreads(len(folders)):
        measure_all(folders, fan)
        return

    def here(folder: Path, bars: Progress) -> None:
        bar = bars.add_task(folder.name, total=None)

        def say(done: int, total: int, text: str) -> None:
            bars.update(bar, completed=done, total=total, description=f"{folder.name}  {text}")
            if not bars.console.is_terminal:
                bars.console.print(text, soft_wrap=True)

        measure_run(folder, say=say, trust=trust)

    one_by_one("measure", folders, here)


@app.command()
def verify(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN", help="Which runs, by name or folder; all by default.", autocompletion=complete_run),
    ] = None,
    claims: Annotated[
        bool, typer.Option("--claims", help="Check no runs: grade the recorded pages anew, from their numbers and criteria.")
    ] = False,
    device: Device = "cpu",
    threads: Threads = 1,
    runs_in: RunsIn = None,
    as_json: AsJson = False,
    trust: Trust = False,
) -> None:
    """Check runs: files intact, numbers reproduced, targets met.

    Every line says pass; or short, where a target of the recipe is missed or training has not ended; or FAIL, where a file or a
    number is not what was stored. Exit code 1 for either.

    Without RUN the thresholds of pages that have some are printed too: short ones are findings, and leave the exit code alone.
    """
    if claims and runs:
        raise InputError("verify: --claims grades recorded pages, which belong to no single run. Leave the runs out.")
    _look_in(runs_in)
    set_threads(threads)
    from mechbp.promises import claims_regraded, runs_verified

    told = []
    for line in claims_regraded() if claims else runs_verified(runs, trust, device):
        told.append(line)
        if not as_json:
            print(line)
    if as_json:
        print(json.dumps([line._asdict() for line in told], indent=2))
    raise typer.Exit(1 if any(line.failed for line in told) else 0)


@app.command()
def judge(
    methods: Annotated[
        str | None,
        typer.Option(
            "--methods", metavar="METHOD,…", help="Which methods, by name; by default all that need no further package."
        ),
    ] = None,
    grammars: Annotated[
        int, typer.Option(metavar="N", min=1, help="How many random grammars, two models each; intervals are over them.")
    ] = 6,
    budget: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Passes that a method may use per question, backward ones counted twice; by default any."
        ),
    ] = None,
    threads: Threads = 1,
    as_json: AsJson = False,
) -> None:
    """Judge localisation methods where the truth is known.

    Where is a message? Methods are asked in models whose weights were written, not trained. Per method: hits, false alarms, cost.
    """
    set_threads(threads)
    from mechbp.judging.table import judge_all

    names = [name.strip() for name in (methods or "").split(",") if name.strip()]
    with progress() as bars:
        bar = bars.add_task("judge", total=None)
        found = judge_all(
            names, grammars=grammars, budget=budget, say=lambda text: bars.update(bar, advance=1, description=f"judge: {text}")
        )
    print(json.dumps(found.to_dict(), indent=2) if as_json else found.summary())


@app.command("list")
def list_all(runs_in: RunsIn = None, as_json: AsJson = False) -> None:
    """List runs, pages, and which shipped runs were replaced."""
    _look_in(runs_in)
    from mechbp.listing import listing

    found = listing()
    print(json.dumps(found.to_dict(), indent=2) if as_json else "\n".join(found.lines()))


@app.command()
def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Which trained run, by name or folder.", autocompletion=complete_run)],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write; it is made where it is not there.")],
    trust: Trust = False,
) -> None:
    """Write a model to be loaded without mechbp.

    That is its last weights, their configuration, and a loader that needs TransformerLens alone.
    """
    from mechbp.models.export import export as export_run
    from mechbp.models.runs import load

    say_pages(export_run(load(run, trust=trust), folder))
    print(f"In Python, with {folder} on its path: from load_model import load; model = load()", file=sys.stderr)


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


def _train(folders: list[Path], fan: Fan) -> None:
    set_threads(fan.threads)
    from mechbp.jobs import train_all
    from mechbp.models.config import read_recipe

    code = "execute" if fan.trust else "refuse"
    configs = {folder: read_recipe(folder / "run.toml", code) for folder in folders}
    if fan.spreads(len(folders)):
        train_all(folders, fan)
        return
    one_by_one("train", folders, lambda folder, bars: train_here(folder, configs[folder], bars, fan.trust, fan.device))


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


def _look_in(folder: Path | None) -> None:
    """Take named runs from this folder, in the processes that start from here too."""
    if folder is not None:
        if not folder.is_dir():
            raise InputError(f"--runs: {str(folder)!r:.200} is no folder. Give one that holds run folders.")
        os.environ[RUNS_VARIABLE] = str(folder.resolve())


def _default_folder(runs: list[str], quick: bool) -> Path:
    """Full reports on the default runs go to reports/; anything else beside them, so that it never replaces them."""
    root = Path("reports")
    if runs:
        # A resolved path never ends in "..", so the pages stay inside reports/.
        resolved = (os.path.basename(os.path.realpath(name.replace("\0", ""))) for name in runs)
        names = (re.sub(r"[^\w.-]", "-", name) for name in resolved)
        root = root / "-".join(name or "run" for name in names)[:100]
    return root / "quick" if quick else root


def _fan(jobs: int, backend: Backend, scheduler: str | None, threads: int, trust: bool, device: str = "cpu") -> Fan:
    """Return where the jobs run, or raise InputError where the options contradict each other."""
    if backend is Backend.dask and scheduler is None:
        raise InputError("--backend dask needs --scheduler ADDRESS, such as tcp://127.0.0.1:8786, which `dask scheduler` prints.")
    if backend is not Backend.dask and scheduler is not None:
        raise InputError(f"--scheduler is for Dask, got --backend {backend}. Add --backend dask, or leave --scheduler out.")
    if scheduler is not None and jobs > 1:
        raise InputError("--jobs counts processes of this machine; a Dask cluster has as many as it has workers. Leave it out.")
    from mechbp.jobs import Fan

    return Fan(jobs, scheduler, threads, trust, device)


def _refuse_twins(command: str, folders: list[Path], given: list[str]) -> None:
    """Raise InputError where two of the runs are one folder, before anything starts."""
    seen: dict[Path, str] = {}
    for folder, name in zip(folders, given, strict=True):
        place = folder.resolve()
        if place in seen:
            raise InputError(f"{command}: {seen[place]!r:.80} and {name!r:.80} are the same run. Give it once.")
        seen[place] = name
