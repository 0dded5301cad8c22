"""What a shell offers for a run or a page while it is typed: read from names of folders alone.

`ctx` is the context of typer, whose class differs from one version to the next; its `params` are what was given so far.
Whatever looks like a path is left to the shell, which completes files itself where nothing is offered here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mechbp.errors import MechbpError


def complete_run(ctx: Any, incomplete: str) -> list[str]:
    """Return the runs that begin so and are not given yet: those of the folder of named runs, then of the working directory."""
    from mechbp.models.run_folder import run_names

    named = _found(lambda: run_names(ctx.params.get("runs_in")))
    return _offered([*named, *_found(lambda: run_names(Path.cwd()))], ctx, incomplete)


def complete_page(ctx: Any, incomplete: str) -> list[str]:
    """Return the pages that begin so and are not given yet."""
    from mechbp.study import page_names

    return _offered(_found(page_names), ctx, incomplete)


def complete_like(ctx: Any, incomplete: str) -> list[str]:
    """Return the templates and runs that begin so."""
    from mechbp.models.starting import template_names

    return _offered(_found(template_names), ctx, incomplete) + complete_run(ctx, incomplete)


def _found(names: Callable[[], Iterable[str]]) -> list[str]:
    """The names, or none: a shell has no place for a message."""
    try:
        return list(names())
    except (OSError, ValueError, MechbpError):
        return []


def _offered(names: Iterable[str], ctx: Any, incomplete: str) -> list[str]:
    given = {name for value in ctx.params.values() for name in _texts(value)}
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete) and name not in given]


def _texts(value: Any) -> list[str]:
    """The texts of an option or argument that was given already."""
    return [one for one in value if isinstance(one, str)] if isinstance(value, list | tuple) else []
