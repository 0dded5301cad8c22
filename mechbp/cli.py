"""The command line: report, train, verify, list. Exit codes: 0 done, 1 a check failed, 2 the call or its input was wrong."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mechbp.errors import InputError, MechbpError

if TYPE_CHECKING:
    from rich.progress import Progress

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


@app.command()
def report(
    analyses: Annotated[
        list[str] | None, typer.Argument(metavar="[ANALYSIS ...]", help="Which analyses; all by default.")
    ] = None,
    run: Annotated[list[str] | None, typer.Option(help="Study this run (a name or a folder) instead; may be repeated.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small samples: a first look in under a minute.")] = False,
    render: Annotated[bool, typer.Option("--render", help="Only rebuild the pages from the JSON files.")] = False,
    out: Annotated[Path | None, typer.Option(help="Where to write; default reports/, reports/quick/ or reports/RUN/.")] = None,
    threads: Threads = 2,
) -> None:
    """Analyse runs and write self-contained HTML pages, their numbers in JSON beside them."""
    from mechbp.study import SEED, Study, analyse, analysis_names, check_folder, load_analysis, render_folder, write_documents

    folder = out or _default_folder(run or [], quick)
    check_folder(folder)
    if render:
        _say_pages(render_folder(folder))
        return
    names = analyses or analysis_names()
    if not names:
        raise InputError("report: there are no analyses; run from a copy of the source tree, which holds analyses/.")
    scripts = [load_analysis(name) for name in names]
    _set_threads(threads)
    from mechbp.models.runs import load

    pages: list[Path] = []
    studied = [[load(name) for name in run or script.RUNS] for script in scripts]
    with _progress() as bars:
        for script, runs in zip(scripts, studied, strict=True):
            title = script.__name__.rpartition(".")[2]
            bar = bars.add_task(title, total=None)

            def stage(text: str, bar=bar, title=title) -> None:
                bars.update(bar, advance=1, description=f"{title}: {text}")

            # Written one by one, so that what is finished outlasts an analysis that is refused, and an interruption.
            pages = write_documents([analyse(script, Study(tuple(runs), quick, stage, SEED))], folder)
            bars.update(bar, total=1, completed=1, description=f"{title}: done")
    _say_pages(pages)


@app.command()
def train(run: Annotated[str, typer.Argument(metavar="RUN", help="A run's name or folder.")], threads: Threads = 1) -> None:
    """Train a run to its last step, or take it up where it stopped."""
    _set_threads(threads)
    from mechbp.models.config import read_recipe
    from mechbp.models.runs import find_run
    from mechbp.models.training import Interrupted
    from mechbp.models.training import train as train_run

    folder = find_run(run)
    config = read_recipe(folder / "run.toml")
    level = config.process.filter_level
    with _progress() as bars:
        bar = bars.add_task(folder.name, total=config.training.steps)
        shown = {"loss": "", "kl": ""}

        def describe() -> str:
            return "  ".join(part for part in (folder.name, shown["loss"], shown["kl"]) if part)

        def on_step(line: dict[str, float]) -> None:
            shown["loss"] = f"loss {line['loss_nats']:.3f}"
            bars.update(bar, completed=line["step"], description=describe())

        def on_metrics(line: dict[str, float]) -> None:
            shown["kl"] = f"KL(BP || model) {line[f'kl_bp{level}_to_model_nats']:.4f} nats"
            bars.update(bar, completed=line["step"], description=describe())
            if not bars.console.is_terminal:
                bars.console.print(f"step {line['step']:,.0f}  accuracy {line['accuracy']:.4f}  {shown['kl']}")

        try:
            train_run(folder, on_step, on_metrics)
        except Interrupted as stop:
            bars.stop()
            print(stop, file=sys.stderr)
            raise typer.Exit(143) from None


@app.command()
def verify(
    runs: Annotated[list[str] | None, typer.Argument(metavar="[RUN ...]", help="Names or folders; all by default.")] = None,
    threads: Threads = 2,
) -> None:
    """Re-hash every stored step, re-run one stored evaluation, and hold each final model against its requirement."""
    _set_threads(threads)
    from mechbp.models.runs import load, run_names
    from mechbp.models.verify import verify_run

    opened = [load(name) for name in runs or run_names()]
    failed = False
    for run in opened:
        for check in verify_run(run):
            print(f"{run.name:<24} {check.verdict:<6} {check.what:<38} {check.measured}")
            failed |= check.verdict != "pass"
    raise typer.Exit(1 if failed else 0)


@app.command("list")
def list_all() -> None:
    """List the runs and the analyses."""
    from mechbp.models.runs import load, run_names
    from mechbp.study import analysis_names

    for name in run_names():
        try:
            run = load(name)
        except MechbpError as error:
            print(f"run       {name:<24} unreadable: {' '.join(str(error).split())}")
            continue
        process, objective = run.config.process, run.config.objective
        state = f"{len(run.steps)} stored steps, last {run.steps[-1]:,}" if run.steps else "not trained yet"
        print(
            f"run       {name:<24} {objective.task}, filter level {process.filter_level}, depth {process.depth}, "
            f"trained on {objective.targets}; {state}{'' if run.complete else ' (incomplete)'}"
        )
    for name in analysis_names():
        print(f"analysis  {name}")


def main() -> None:
    """Run the command line; every refusal by mechbp is a message on stderr and exit code 2."""
    # NumPy's matrices here are small: threads that wait for each other cost up to 100 times what they save on a busy machine.
    # The variable is read when NumPy is first imported, which is inside the commands.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
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
