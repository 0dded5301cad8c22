"""The commands that tell what is and leave it as it is: verify, judge, list."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from mechbp import terminal
from mechbp.commands.completing import complete_run
from mechbp.commands.options import AsJson, Device, RunsIn, Threads, Trust
from mechbp.errors import InputError
from mechbp.storage import RUNS_VARIABLE


def verify(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN", help="Which runs, by name or folder; all by default.", autocompletion=complete_run),
    ] = None,
    claims: Annotated[
        bool, typer.Option("--claims", help="Check no runs: grade the recorded pages anew, from their numbers and criteria.")
    ] = False,
    sequences: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=2, help="Ask each model at most so many new sequences; by default as many as its task wants."
        ),
    ] = None,
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
    if claims and (runs or sequences):
        left_out = "the runs" if runs else "--sequences"
        raise InputError(f"verify: --claims grades recorded pages, which belong to no single run. Leave {left_out} out.")
    _look_in(runs_in)
    terminal.set_threads(threads)
    from mechbp.promises import claims_regraded, runs_verified

    told = []
    for line in claims_regraded() if claims else runs_verified(runs, trust, device, sequences):
        told.append(line)
        if not as_json:
            print(line)
    if as_json:
        print(json.dumps([line._asdict() for line in told], indent=2))
    raise typer.Exit(1 if any(line.failed for line in told) else 0)


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
    terminal.set_threads(threads)
    from mechbp.judging.table import judge_all

    names = [name.strip() for name in (methods or "").split(",") if name.strip()]
    with terminal.progress() as bars:
        bar = bars.add_task("judge", total=None)
        found = judge_all(
            names, grammars=grammars, budget=budget, say=lambda text: bars.update(bar, advance=1, description=f"judge: {text}")
        )
    print(json.dumps(found.to_dict(), indent=2) if as_json else found.summary())


def list_all(runs_in: RunsIn = None, as_json: AsJson = False) -> None:
    """List runs, pages, and which shipped runs were replaced."""
    _look_in(runs_in)
    from mechbp.listing import listing

    found = listing()
    print(json.dumps(found.to_dict(), indent=2) if as_json else "\n".join(found.lines()))


def _look_in(folder: Path | None) -> None:
    """Take named runs from this folder, in the processes that start from here too."""
    if folder is not None:
        if not folder.is_dir():
            raise InputError(f"--runs: {str(folder)!r:.200} is no folder. Give one that holds run folders.")
        os.environ[RUNS_VARIABLE] = str(folder.resolve())
