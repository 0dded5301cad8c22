"""Pages about runs at hand, from Python: what `mechbp.report(run, …)` does."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mechbp import study
from mechbp.arguments import checked_flag, told
from mechbp.errors import InputError
from mechbp.report.folder import check_folder, refuse_other_runs, write_documents

if TYPE_CHECKING:
    from mechbp.models.runs import Run


def write_pages(
    run: Run | str | os.PathLike[str] | Sequence[Run | str | os.PathLike[str]],
    pages: str | Sequence[str] | None = None,
    *,
    out: str | os.PathLike[str],
    quick: bool = False,
    trust: bool = False,
) -> list[Path]:
    """Study runs, write the pages and their numbers into the folder `out`, return where the pages are; see `mechbp.report`."""
    if run is None or (hasattr(run, "hook_dict") and not hasattr(run, "model")):
        raise InputError(
            f"report: a mechbp.Run is studied, or the name or folder of one; got a {type(run).__name__}.\n"
            "Make a model a run: mechbp.Run.from_model(model, process, task='masked', name='mine')."
        )
    given: Any = [run] if isinstance(run, str | os.PathLike) or hasattr(run, "config") else run
    runs = isinstance(given, Sequence) and all(isinstance(one, str | os.PathLike) or hasattr(one, "config") for one in given)
    if not runs:
        raise InputError(f"report: run must be a mechbp.Run, the name or folder of one, or a list of them, got {told(run)}.")
    asked = [pages] if isinstance(pages, str) else [] if pages is None else pages
    if not isinstance(asked, Sequence) or not all(isinstance(name, str) for name in asked):
        raise InputError(f"report: pages must be the name of a page, or a list of them, got {told(pages)}.")
    if not isinstance(out, str | os.PathLike):
        raise InputError(f"report: out must be the path of a folder, got {told(out)}.")
    checked_flag(quick, "report", "quick")
    checked_flag(trust, "report", "trust")
    opened = study.opened_runs(list(given), trust)
    if not opened:
        raise InputError("report: no run is given. Give a mechbp.Run, or the name or folder of one.")
    folder = Path(out)
    check_folder(folder)
    names = study.chosen_pages(list(asked), opened, say=_say)
    refuse_other_runs(folder, {name: [one.name for one in opened] for name in names})
    called = f"mechbp.report([{', '.join(repr(one.name) for one in opened)}], {names}, quick={quick})"
    found = [study.analyse(name, study.Study(tuple(opened), quick, lambda _: None), called) for name in names]
    write_documents(found, folder)
    return [folder / f"{document.slug}.html" for document in found]


def _say(line: str) -> None:
    """Say a line on stderr, as the command line does."""
    print(f"mechbp: {line}", file=sys.stderr)
