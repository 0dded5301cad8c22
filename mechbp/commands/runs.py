"""The commands that make runs and carry them on: new, train, sweep, measure, export."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mechbp import terminal
from mechbp.commands.completing import complete_like, complete_run
from mechbp.commands.options import Backend, Device, Jobs, Scheduler, Settings, Threads, Trust, Workers, fan_of
from mechbp.errors import InputError

if TYPE_CHECKING:
    from rich.progress import Progress

    from mechbp.jobs import Fan


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
    fan = fan_of(jobs, backend, scheduler, threads, trust, device)
    from mechbp.models.recipe_edits import Setting, restored_on_failure, set_in_place
    from mechbp.models.run_folder import find_run

    folders = [find_run(run) for run in runs]
    _refuse_twins("train", folders, runs)
    changes = [Setting.of(text) for text in settings or []]
    with restored_on_failure(folders if changes else []):
        for folder in folders if changes else []:
            set_in_place(folder, changes)
        _train(folders, fan)


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
    fan = fan_of(jobs, backend, scheduler, threads, trust)
    from mechbp.models.recipe_edits import Setting
    from mechbp.models.run_folder import find_run
    from mechbp.models.starting import sweep as sweep_from

    folders = sweep_from(find_run(run), [Setting.of(text) for text in settings])
    for folder in folders:
        print(folder)
    _train(folders, fan)


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
    fan = fan_of(jobs, backend, scheduler, threads, trust)
    terminal.set_threads(threads)
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

    terminal.one_by_one("measure", folders, here)


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

    exported = load(run, trust=trust)
    terminal.say_pages(export_run(exported, folder))
    terminal.say_unfinished([exported])
    print(f"In Python, with {str(folder)!r} on its path: from load_model import load; model = load()", file=sys.stderr)


def _train(folders: list[Path], fan: Fan) -> None:
    terminal.set_threads(fan.threads)
    from mechbp.jobs import train_all
    from mechbp.models.config import read_recipe

    code = "execute" if fan.trust else "refuse"
    configs = {folder: read_recipe(folder / "run.toml", code) for folder in folders}
    if fan.spreads(len(folders)):
        train_all(folders, fan)
        return

    def here(folder: Path, bars: Progress) -> None:
        terminal.train_here(folder, configs[folder], bars, fan.trust, fan.device)

    terminal.one_by_one("train", folders, here)


def _refuse_twins(command: str, folders: list[Path], given: list[str]) -> None:
    """Raise InputError where two of the runs are one folder, before anything starts."""
    seen: dict[Path, str] = {}
    for folder, name in zip(folders, given, strict=True):
        place = folder.resolve()
        if place in seen:
            raise InputError(f"{command}: {seen[place]!r:.80} and {name!r:.80} are the same run. Give it once.")
        seen[place] = name
