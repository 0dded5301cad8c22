"""What the commands take: their options and arguments, each declared once, and where jobs run by those."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mechbp.errors import InputError

if TYPE_CHECKING:
    from mechbp.jobs import Fan

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


def fan_of(jobs: int, backend: Backend, scheduler: str | None, threads: int, trust: bool, device: str = "cpu") -> Fan:
    """Return where the jobs run, or raise InputError where the options contradict each other."""
    if backend is Backend.dask and scheduler is None:
        raise InputError("--backend dask needs --scheduler ADDRESS, such as tcp://127.0.0.1:8786, which `dask scheduler` prints.")
    if backend is not Backend.dask and scheduler is not None:
        raise InputError(f"--scheduler is for Dask, got --backend {backend}. Add --backend dask, or leave --scheduler out.")
    if scheduler is not None and jobs > 1:
        raise InputError("--jobs counts processes of this machine; a Dask cluster has as many as it has workers. Leave it out.")
    from mechbp.jobs import Fan

    return Fan(jobs, scheduler, threads, trust, device)
