"""The command line. Exit codes: 0 done, 1 a check failed, 2 the call or its input was wrong."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from mechbp.commands import pages, runs, telling
from mechbp.errors import MechbpError
from mechbp.fanout import one_blas_thread

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
COMMANDS = {
    "new": runs.new,
    "report": pages.report,
    "train": runs.train,
    "sweep": runs.sweep,
    "measure": runs.measure,
    "verify": telling.verify,
    "judge": telling.judge,
    "list": telling.list_all,
    "export": runs.export,
}
"""In the order that the help has."""


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


for name, command in COMMANDS.items():
    app.command(name)(command)


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
