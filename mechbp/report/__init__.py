"""Documents to pages. The package can also be called: `mechbp.report(run, ["tree_inference"], out="pages")` makes pages."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import mechbp

if TYPE_CHECKING:
    from mechbp.models.runs import Run


class _Callable(ModuleType):
    """The package `mechbp.report` as a function; whoever is called stands in a higher layer, and is found by `mechbp` itself."""

    def __call__(
        self,
        run: Run | str | os.PathLike[str] | Sequence[Run | str | os.PathLike[str]],
        pages: str | Sequence[str] | None = None,
        *,
        out: str | os.PathLike[str],
        quick: bool = False,
        trust: bool = False,
    ) -> list[Path]:
        """Study runs and write pages about them, each with its numbers in JSON, into a folder; return where the pages are.

        run: one or more of `mechbp.Run`, names or folders. pages: their names, as `mechbp list` says them; where none is given,
        all that can study these runs. quick: small samples, for a first look. trust: execute code beside a run that is named.
        Raises InputError for a page that is not there or studies runs of another kind, and for a folder that cannot be written.
        """
        return mechbp.reporting.write_pages(run, pages, out=out, quick=quick, trust=trust)


_CALL = inspect.getdoc(_Callable.__call__) or ""
_SELF, *_ARGUMENTS = inspect.signature(_Callable.__call__).parameters.values()
_SHOWN = inspect.Signature([one.replace(annotation=inspect.Parameter.empty) for one in _ARGUMENTS])
# `help` shows of a module what stands here: how it is called, before what it holds.
__doc__ = "\n\n".join((
    _CALL.partition("\n")[0],
    f"mechbp.report{_SHOWN} -> list[Path]",
    _CALL.partition("\n")[2].strip(),
    "Its modules turn documents into pages; a page of your own is a `mechbp.Report`.",
))  # fmt: skip
sys.modules[__name__].__class__ = _Callable
