"""All methods side by side: what `mechbp judge` prints and its page draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mechbp.figures.picture import Picture
from mechbp.judging.judge import judge
from mechbp.judging.judgement import Judgement, told
from mechbp.judging.methods import KNOWN, Known, chosen
from mechbp.judging.truth import RIGHT, TRUTHS, Kind
from mechbp.methods.shown import Shown

RIGHT_ANSWER = "right answer"
FEW = 5
"""Grammars below which an interval over them says little."""


@dataclass(frozen=True, eq=False, repr=False)
class Table(Shown):
    """Judgements of several methods, all on the same questions and under the same budget."""

    judgements: tuple[Judgement, ...]
    left_out: tuple[str, ...] = ()
    """Methods that were not asked for by name and need a package beyond mechbp's, each with it."""

    def __iter__(self) -> Iterator[Judgement]:
        return iter(self.judgements)

    def of(self, method: str, sites: str | None = None) -> list[Judgement]:
        """Return the judgements of one method, at one kind of places or all of its own."""
        return [found for found in self if found.method == method and sites in (None, found.sites)]

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per method, places and truth."""
        return pd.concat([found.to_dataframe() for found in self], ignore_index=True)

    def to_dict(self) -> dict[str, object]:
        """Return everything for JSON."""
        return {"judgements": [found.to_dict() for found in self]}

    def summary(self) -> str:
        """Return one line per method and places: AUROC with interval, passes, hits, and where yes was a false alarm."""
        rows = [("method", "kind", "sites", "AUROC", "precision", "passes", "hits", "false alarms")]
        rows += [_row(found) for found in self]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        first = self.judgements[0]
        budget = "no budget" if first.budget is None else f"at most {first.budget:,}"
        lines.append(
            f"AUROC: how well scores rank places where yes is right above the others, chance 0.50; {self.trust()}; "
            "* says yes by the method's own threshold, else as often as it is right."
        )
        lines.append(
            "hits: share said yes of where yes is right, the rest are misses; false alarms: share said yes of where no is right, "
            f"0.00 not shown; passes: sequences run per question, {budget}."
        )
        if any(self._absent(found) for found in self):
            absent = dict.fromkeys(f"{truth} ({found.sites})" for found in self for truth in self._absent(found))
            lines.append(f"not asked, since no place here has it: {', '.join(absent)}")
        lines += [
            f"{label(found)}: {len(found.stopped)} questions unanswered, {found.stopped[0]}" for found in self if found.stopped
        ]
        if self.left_out:
            lines.append(f"left out: {'; '.join(self.left_out)}")
        return "\n".join(lines)

    def trust(self) -> str:
        """Say over how many grammars intervals are, and where these are few that they say little."""
        n = max(found.said.n for found in self)
        if n < 2:
            return f"n = {n} grammar, no interval: --grammars takes more"
        few = f", which say little over fewer than {FEW}: --grammars takes more" if n < FEW else ""
        return f"n = {n} grammars, 95 % intervals over them{few}"

    def _absent(self, found: Judgement) -> list[str]:
        """Return the truths that have a right answer and no candidate; those that none has are not asked of the method."""
        return [
            truth for truth, right, n in zip(TRUTHS, found.right, found.candidates, strict=True) if right is not None and not n
        ]

    def picture(self) -> Picture:
        """Return the heat map of shares said yes: methods in rows, under what is right, truths in columns; a panel per kind."""
        kinds: list[Kind] = list(dict.fromkeys(found.kind for found in self))
        return Picture(
            kind="heatmap",
            title="Where methods say yes, and where it is right",
            caption="Share of candidates that a method says yes of, by what is there; the first row of each panel is the right "
            f"answer, with gaps where there is none. Mean over {max(found.said.n for found in self)} grammars, intervals over "
            "them on hover and in the table. Methods with a threshold of their own decide by it, of others as many yes are "
            "taken from the top as are right.",
            alt="Heat maps, one per kind of method: methods in rows below the right answer, what is there in columns, share said "
            "yes from 0 to 1 as colour and number.",
            data={
                "rows": [RIGHT_ANSWER],
                "columns": list(TRUTHS),
                "value_title": "share said yes",
                "column_title": "what is there",
                "range": [0, 1],
                "cell_text": True,
                "panel_columns": 1,
                "panels": [self._panel(kind) for kind in kinds],
            },
        )

    def _panel(self, kind: Kind) -> dict[str, object]:
        mine = [found for found in self if found.kind == kind]
        right = [np.nan if RIGHT[kind][truth] is None else float(RIGHT[kind][truth] or 0) for truth in TRUTHS]
        ends = {
            name: [right, *(np.round(getattr(found.said, end), 3) for found in mine)]
            for name, end in (("values", "mean"), ("low", "low"), ("high", "high"))
        }
        return {"title": kind, "rows": [RIGHT_ANSWER, *(label(found) for found in mine)], **ends}

    def auroc_picture(self) -> Picture:
        """Return AUROC of every method with its interval, and chance."""
        return Picture(
            kind="dots",
            title="How well scores tell yes from no",
            caption="Area under the ROC curve over all candidates with a right answer, mean and 95 % interval over "
            f"{max(found.said.n for found in self)} grammars. The line is chance, and a constant.",
            alt="Points with intervals, one row per method and kind of places; a vertical line at 0.5.",
            data={
                "x_title": "AUROC",
                "x_range": [0, 1.02],
                "categories": [label(found) for found in self],
                "series": [{"name": "AUROC", **_ends([found.auroc for found in self])}],
                "references": [{"name": "chance", "x": 0.5}],
            },
        )

    def passes_picture(self) -> Picture:
        """Return what every method costs per question; methods that run no model are left out."""
        ran = [found for found in self if found.passes.mean > 0]
        return Picture(
            kind="dots",
            title="What methods cost",
            caption="Passes per question: sequences through all blocks, a backward pass counted as two. Mean over questions; "
            "logarithmic axis.",
            alt="Points on a logarithmic axis, one row per method and kind of places.",
            data={
                "x_title": "passes per question",
                "x_log": True,
                "categories": [label(found) for found in ran],
                "series": [{"name": "passes", "x": [float(found.passes.mean) for found in ran]}],
            },
        )


def judge_all(
    names: Sequence[str] = (),
    *,
    grammars: int,
    budget: int | None = None,
    first: int = 0,
    say: Callable[[str], None] = lambda text: None,
) -> Table:
    """Judge methods by name, by default all that need no further package, at all places that each is asked about.

    `say` is told each one before it starts. Raises InputError for an unknown name, and as `judge` does.
    """

    def one(known: Known, sites: str) -> Judgement:
        say(f"{known.name}, {sites}")
        return judge(known.method, known.kind, sites=sites, grammars=grammars, budget=budget, name=known.name, first=first)  # type: ignore[arg-type]

    asked = chosen(names)
    others = (
        ()
        if names
        else tuple(
            f"{known.name} (needs {known.extra}; asked with --methods {known.name})" for known in KNOWN if known not in asked
        )
    )
    return Table(tuple(one(known, sites) for known in asked for sites in known.sites), others)


def label(found: Judgement) -> str:
    """Name a row."""
    return f"{found.method}, {found.sites}"


def _row(found: Judgement) -> tuple[str, ...]:
    mark = "*" if found.own_threshold else ""
    alarms = [f"{truth} {share:.2f}" for truth, share in zip(TRUTHS, found.false_alarms.mean, strict=True) if share >= 0.005]
    hits = [f"{truth} {share:.2f}" for truth, share in zip(TRUTHS, found.hits.mean, strict=True) if not np.isnan(share)]
    told_of = (f"{found.method}{mark}", found.kind, found.sites)
    if not found.said.n:
        return (*told_of, "unanswered", "", f"{found.passes.mean:,.0f}", "", "")
    precision = f"{found.average_precision.mean:.2f} (chance {found.chance_precision:.2f})"
    return (*told_of, told(found.auroc), precision, f"{found.passes.mean:,.0f}", ", ".join(hits), ", ".join(alarms) or "none")


def _ends(intervals: Sequence[object]) -> dict[str, list[float]]:
    ends = {"x": "mean", "low": "low", "high": "high"}
    return {name: [float(getattr(interval, end)) for interval in intervals] for name, end in ends.items()}
