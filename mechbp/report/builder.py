"""A script's own page: claims, text, results and figures in the order in which they are added."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from mechbp import IMPORTED
from mechbp.arguments import checked_text, is_integer, told
from mechbp.errors import InputError, MechbpError
from mechbp.figures import drawn
from mechbp.figures.intervals import HasInterval
from mechbp.figures.picture import Picture
from mechbp.report.claim import Claim
from mechbp.report.criterion import Criterion
from mechbp.report.document import Document, FigureData, Provenance, Section, dumps, load
from mechbp.report.page import render
from mechbp.report.parts import estimate
from mechbp.report.provenance import PACKAGES, git_state, versions
from mechbp.report.rules import Rule
from mechbp.storage import atomic_write, checked_name, make_folder

if TYPE_CHECKING:
    import plotly.graph_objects as go

LONGEST_SLUG = 40


@runtime_checkable
class Draws(Protocol):
    """A result: it says what of it is drawn, and sums itself up."""

    def picture(self, *args: Any, **kwargs: Any) -> Picture: ...
    def summary(self) -> str: ...


@runtime_checkable
class Named(Protocol):
    """A run, as far as a page tells of it."""

    @property
    def name(self) -> str: ...
    @property
    def digest(self) -> Any: ...
    @property
    def steps(self) -> Any: ...
    @property
    def device(self) -> Any: ...


class Report:
    """A page that is built up call by call: self-contained, offline, its numbers in JSON beside it.

    >>> import mechbp
    >>> page = mechbp.Report("Is the coin fair?", lead="A thousand flips, counted.", seeds={"flips": 0})
    >>> page = page.claim(
    ...     "It is fair within 0.05.",
    ...     holds="low > 0.45 and high < 0.55",
    ...     numbers={"low": 0.47, "high": 0.53},
    ...     measured="0.50 [0.47, 0.53]",
    ... )
    >>> page.add("Flips were counted by hand.").document().claims[0].verdict
    'holds'
    """

    def __init__(
        self,
        title: str,
        lead: str = "",
        *,
        slug: str | None = None,
        runs: Mapping[str, Mapping[str, Any]] | Sequence[Named] = (),
        seeds: Mapping[str, int] | None = None,
        device: str | None = None,
    ) -> None:
        """Start a page.

        lead: the answer in a few sentences. slug: the page's name, from the title where there is none. runs: what was studied:
        runs as `mechbp.load` returns them, or {name: {what a reader needs to find it again}}. seeds: those that were used.
        device: where it was computed, by default where the runs were.
        Raises InputError for a title from which no slug can be made.
        """
        self._title = checked_text(title, "Report", "title")
        self._lead = checked_text(lead, "Report", "lead")
        self._slug = _slug(title) if slug is None else checked_name(checked_text(slug, "Report", "slug"), "Report")
        self._claims: list[Claim] = []
        self._sections: list[_Part] = []
        self._runs = _told(runs)
        if seeds is not None and not (isinstance(seeds, Mapping) and all(map(is_integer, seeds.values()))):
            raise InputError(f"Report: seeds must be {{name: seed}}, got {told(seeds)}.")
        self._seeds = {str(name): int(seed) for name, seed in (seeds or {}).items()}
        places = {str(run.device) for run in runs if isinstance(run, Named)}
        told_device = None if device is None else checked_text(device, "Report", "device")
        self._device = told_device or ", ".join(sorted(places)) or "cpu"
        self._utc = (datetime.now(UTC) - timedelta(seconds=time.monotonic() - IMPORTED)).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._seconds: float | None = None

    def __repr__(self) -> str:
        return f"Report({told(self._title)}, {len(self._claims)} claims, {len(self._sections)} parts)"

    def claim(
        self,
        statement: str,
        verdict: str | None = None,
        *,
        measured: str | HasInterval,
        control: str | HasInterval = "",
        reference: str = "",
        holds: str = "",
        partly: str = "",
        numbers: Mapping[str, Any] | None = None,
        kind: str = "new",
        figure: str = "",
    ) -> Report:
        """Add a claim; return the page.

        Its verdict comes from a rule over `numbers`, such as holds="low > control_high" (see `mechbp.report.rules`), which the
        page shows; or it is given: "holds", "partly", "fails", "not run", "short". measured, control: text, or intervals.
        figure: the id of the figure that shows it. Raises InputError for a rule that its numbers do not fit, and unless exactly
        one of `verdict` and `holds` is given.
        """
        where = "Report.claim"
        texts = {"statement": statement, "reference": reference, "holds": holds, "partly": partly, "kind": kind, "figure": figure}
        for name, text in texts.items():
            checked_text(text, where, name)
        if verdict is not None:
            checked_text(verdict, where, "verdict")
        if numbers is not None and not isinstance(numbers, Mapping):
            raise InputError(f"{where}: numbers must be {{name: number}}, got {told(numbers)}.")
        if (verdict is None) != bool(holds):
            raise InputError(
                'Report.claim: give a rule holds="low > control_high" with numbers={...}, or a verdict; one of the two.'
            )
        fields: dict[str, Any] = {"kind": kind}
        if holds:
            rules = {
                name: Rule.parse(text, f"Report.claim: {name}") for name, text in (("holds", holds), ("partly", partly)) if text
            }
            criterion = Criterion(f"claim-{len(self._claims) + 1}", kind, rules)
            verdict = criterion.grade(numbers or {})
            fields["rule"] = criterion.shown
        self._claims.append(
            Claim(
                id=f"claim-{len(self._claims) + 1}",
                statement=statement,
                reference=reference,
                measured=_as_text(measured),
                control=_as_text(control),
                verdict=str(verdict),
                figure=_figure_id(figure) if figure else "",
                numbers=dict(numbers or {}),
                **fields,
            )
        )
        return self

    def section(self, title: str) -> Report:
        """Open a section, to which everything goes that is added after it; return the page."""
        self._sections.append(_Part(checked_text(title, "Report.section", "title")))
        return self

    def add(
        self,
        item: str | Draws | Picture | go.Figure,
        *,
        id: str = "",
        title: str | None = None,
        caption: str | None = None,
        alt: str | None = None,
        **drawn_as: Any,
    ) -> Report:
        """Add a paragraph, a result of a method, or a figure; return the page.

        A result is drawn as its `plot` draws it, given `drawn_as`, and its summary stands below the figure. A plotly figure
        needs an `alt`: the sentence that is read out instead of it. id: what claims and links call the figure.
        Raises InputError for anything else, naming what can be added.
        """
        for name, text in {"id": id, "title": title, "caption": caption, "alt": alt}.items():
            if text is not None:
                checked_text(text, "Report.add", name)
        part = self._part()
        if isinstance(item, str):
            if part.figures:  # within a part text comes before figures: what follows a figure goes on in another
                part = _Part("")
                self._sections.append(part)
            part.text.append(item)
            return self
        if isinstance(item, Picture):
            picture = item
        elif isinstance(item, Draws):
            picture = item.picture(**drawn_as)
            said = "; ".join(line.strip() for line in item.summary().splitlines() if line.strip())
            caption = f"{picture.caption} {said}." if caption is None else caption
        else:
            picture = _of_plotly(item, title, caption, alt)
        number = 1 + sum(len(part.figures) for part in self._sections)
        part.figures.append(
            FigureData(
                id=_figure_id(id or str(number)),
                kind=picture.kind,
                title=picture.title if title is None else title,
                caption=picture.caption if caption is None else caption,
                alt=picture.alt if alt is None else alt,
                data=dict(picture.data),
            )
        )
        return self

    def document(self) -> Document:
        """Return the page as data; the time that it took is counted from the import of mechbp up to the first call."""
        if self._seconds is None:
            self._seconds = time.monotonic() - IMPORTED
        commit, dirty = git_state(Path.cwd())
        provenance = Provenance(
            command=_command(),
            utc=self._utc,
            wall_s=self._seconds,
            device=self._device,
            threads=sys.modules["torch"].get_num_threads() if "torch" in sys.modules else 1,
            git_commit=commit,
            git_dirty=dirty,
            versions=versions(PACKAGES),
            seeds=self._seeds,
            runs=self._runs,
        )
        sections = tuple(part.section(number) for number, part in enumerate(self._sections, 1))
        return Document(self._slug, self._title, self._lead, tuple(self._claims), sections, provenance)

    def write(self, path: str | Path) -> Path:
        """Write the page to `path`, which ends in .html, and its numbers beside it in JSON; return the path.

        Missing folders are made. Raises InputError for another ending and where a page of another name stands, MechbpError where
        nothing can be written.
        """
        if not isinstance(path, str | PathLike):
            raise InputError(f"Report.write: path must be the path of a page, got {told(path)}.")
        page = Path(path)
        if page.suffix != ".html":
            raise InputError(f"Report.write: the page's file must end in .html, got {str(path)!r:.200}.")
        document = self.document()
        self._refuse_another_page(page)
        try:
            make_folder(page.parent)
            alone = not page.with_name("index.html").exists()
        except (OSError, ValueError) as error:
            raise MechbpError(
                f"Report.write: cannot make {told(str(page.parent))}: {error!s:.100}. Give another path."
            ) from error
        text = render(document, alone=alone)
        atomic_write(page.with_suffix(".json"), dumps(document).encode())
        atomic_write(page, text.encode())
        return page

    def _refuse_another_page(self, page: Path) -> None:
        """Raise InputError where a page of another name stands, whose numbers would be gone."""
        try:
            there = load(page.with_suffix(".json"))
        except (MechbpError, ValueError):  # none that can be read; a path that cannot be is refused where it is written
            return
        if there.slug != self._slug:
            raise InputError(
                f"Report.write: {told(str(page))} holds the page {there.slug}, which this one, {self._slug}, would replace.\n"
                "Write to another path, or remove it."
            )

    def _part(self) -> _Part:
        if not self._sections:
            self.section("Results")
        return self._sections[-1]


class _Part:
    """A section while it grows."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.text: list[str] = []
        self.figures: list[FigureData] = []

    def section(self, number: int) -> Section:
        return Section(f"part-{number}", self.title, tuple(self.text), tuple(self.figures))


def _slug(title: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:LONGEST_SLUG].strip("-")
    if not words:
        raise InputError(f"Report: no name for a file can be made from the title {told(title)}. Give one: slug='my-page'.")
    return words


def _told(runs: object) -> dict[str, dict[str, Any]]:
    if isinstance(runs, Mapping) and all(isinstance(name, str) and isinstance(kept, Mapping) for name, kept in runs.items()):
        return {name: dict(kept) for name, kept in runs.items()}
    if not isinstance(runs, Sequence) or not all(isinstance(run, Named) for run in runs):
        raise InputError(f"Report: runs must be runs as mechbp.load returns them, or {{name: {{key: value}}}}, got {told(runs)}.")
    return {run.name: {"checkpoint_sha256": run.digest, "step": run.steps[-1]} for run in runs}


def _figure_id(name: str) -> str:
    return name if name.startswith("fig-") else f"fig-{name}"


def _as_text(measured: str | HasInterval) -> str:
    if isinstance(measured, HasInterval):
        return estimate(measured)
    return checked_text(measured, "Report.claim", "measured or control, unless it is an interval,")


def _of_plotly(item: Any, title: str | None, caption: str | None, alt: str | None) -> Picture:
    if not hasattr(item, "to_plotly_json"):
        raise InputError(
            f"Report.add: a {type(item).__name__} cannot be shown.\n"
            "Add text, a result of a mechbp method (one with .picture()), a mechbp Picture, or a plotly Figure."
        )
    if not alt:
        raise InputError('Report.add: a plotly figure needs alt="…", the sentence that is read out instead of the picture.')
    own = getattr(item.layout.title, "text", None) or "Figure"
    data = drawn.data_of(item)
    if title is None and own != "Figure":
        data["layout"].pop("title", None)  # it stands above the figure, as that of every other
    return Picture("drawn", own if title is None else title, caption or "", alt, data)


def _command() -> str:
    if "ipykernel" in sys.modules:
        return "a notebook"
    return " ".join(["python", Path(sys.argv[0] or "-").name, *sys.argv[1:]])
