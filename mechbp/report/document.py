"""A page's content as frozen dataclasses and as JSON: the JSON is the source of truth, the page is derived from it.

Every number is rounded to 6 significant digits when a document is created, so that the JSON stays small, its diffs stay
readable, and loading what was dumped gives an equal document.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from mechbp.errors import InputError, reason
from mechbp.figures import check_data
from mechbp.figures.checking import keys as check_keys
from mechbp.figures.plain import clean, plain
from mechbp.report.claim import CRITERION, Claim
from mechbp.report.content import SLUG, Part, as_records, check_form
from mechbp.storage import read_regular

SCHEMA = 1
MAX_BYTES = 256 * 2**20
REPLACED = ("run", "date", "commit", "changed", "why", "measured")
OPENING = ("telling", "result", "wing", "papers")
"""The fields of a document that say how its page opens and where the index lists it; empty ones are left out of the JSON."""
STATUSES = ("done", "failed", "skipped", "not run")
"""What became of a part. Whatever is not `done` carries a reason and is shown, never dropped."""
FIGURE_ID = re.compile(r"fig-[a-z0-9][a-z0-9-]{0,59}")


@dataclass(frozen=True)
class FigureData(Part):
    """One figure: `data` in the schema of its `kind` (see `mechbp.figures`), or the reason why there is none."""

    id: str
    """`fig-...`, unique on the page and stable: links point at it."""
    kind: str
    """A key of `mechbp.figures.KINDS`: `lines`, `bars`, `heatmap`, …"""
    title: str
    caption: str
    alt: str
    """One sentence that says what a reader would see; read out instead of the picture."""
    data: dict[str, Any] = field(default_factory=dict)
    status: str = "done"
    reason: str = ""
    """Why the figure is missing; required unless status is `done`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_form(FIGURE_ID, self.id, "FigureData.id")
        _status(self.status, self.reason, f"figure {self.id}")
        if self.status == "done":
            check_data(self.kind, self.data, f"figure {self.id}")


@dataclass(frozen=True)
class Section(Part):
    """A part of the page: paragraphs, then figures; one without a title goes on with the part before it.

    Backquotes in a paragraph mark code; a paragraph of several lines between backquotes is shown line by line as it is.
    """

    id: str
    title: str
    text: tuple[str, ...]
    figures: tuple[FigureData, ...] = ()
    status: str = "done"
    reason: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_form(SLUG, self.id, "Section.id")
        if isinstance(self.text, str) or not all(isinstance(p, str) for p in self.text):
            raise InputError(f"section {self.id}: text must be a tuple of paragraphs.")
        object.__setattr__(self, "text", tuple(clean(p) for p in self.text))
        _instances(self.figures, FigureData, f"section {self.id}: figures")
        _status(self.status, self.reason, f"section {self.id}")


@dataclass(frozen=True)
class Provenance(Part):
    """Where the numbers come from. It describes the computation, not the rendering, so re-rendering changes no byte."""

    command: str
    utc: str
    """Start of the computation, ISO 8601."""
    wall_s: float
    device: str
    threads: int
    git_commit: str
    git_dirty: bool
    versions: dict[str, str]
    """Package name -> version."""
    seeds: dict[str, int]
    runs: dict[str, dict[str, Any]]
    """Run name -> {recipe and checkpoint digests, steps, ...}, each a scalar."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("versions", "seeds", "runs"):
            if not isinstance(getattr(self, name), dict):
                raise InputError(f"Provenance.{name}: expected a dict, got {type(getattr(self, name)).__name__}.")
        for name, record in self.runs.items():
            if not isinstance(record, dict) or any(isinstance(value, (dict, list)) for value in record.values()):
                raise InputError(f"Provenance.runs[{name!r:.80}]: expected a dict of scalars.")


@dataclass(frozen=True)
class Document(Part):
    """A whole page: claims first, then sections, then provenance."""

    slug: str
    """File name without suffix."""
    title: str
    lead: str
    """What the page asks and how, in a few sentences."""
    claims: tuple[Claim, ...]
    sections: tuple[Section, ...]
    provenance: Provenance
    schema: int = SCHEMA
    replaced: tuple[dict[str, Any], ...] = ()
    """Earlier forms of the runs that the page uses, oldest first: run, date, commit, changed, why, measured."""
    telling: str = ""
    """Id of the figure that the page opens with; "" leaves the choice to the page."""
    result: str = ""
    """The result in a sentence or two; where it is "" the page counts its claims instead."""
    wing: str = ""
    """What the models are trained on, such as "trees"; "" where that is nothing in particular."""
    papers: tuple[str, ...] = ()
    """The papers whose statements are tested."""

    def __post_init__(self) -> None:
        if not isinstance(self.provenance, Provenance):
            raise InputError(
                f"document {self.slug!r:.40}: provenance must be a Provenance, got {type(self.provenance).__name__}."
            )
        for name in ("slug", "title", "lead", "telling", "result", "wing"):
            if not isinstance(getattr(self, name), str):
                raise InputError(f"Document.{name}: expected text, got {type(getattr(self, name)).__name__}.")
            object.__setattr__(self, name, clean(getattr(self, name)))
        check_form(SLUG, self.slug, "Document.slug")
        if self.schema != SCHEMA:
            raise InputError(f"document {self.slug}: schema {self.schema!r:.80} is unknown; this version reads schema {SCHEMA}.")
        for name, cls in (("claims", Claim), ("sections", Section)):
            object.__setattr__(self, name, tuple(getattr(self, name)))
            _instances(getattr(self, name), cls, f"document {self.slug}: {name}")
        object.__setattr__(self, "replaced", as_records(self.replaced, REPLACED, f"document {self.slug}: replaced"))
        _unique([claim.id for claim in self.claims], f"document {self.slug}: claim ids")
        _unique([section.id for section in self.sections], f"document {self.slug}: section ids")
        _unique([figure.id for figure in self.figures], f"document {self.slug}: figure ids")
        known = {figure.id for figure in self.figures}
        for claim in self.claims:
            if claim.figure and claim.figure not in known:
                has = ", ".join(sorted(known)) or "none"
                raise InputError(f"claim {claim.id}: figure {claim.figure!r:.60} is not on the page; it has {has}.")
        if self.telling and self.telling not in known:
            has = ", ".join(sorted(known)) or "none"
            raise InputError(f"document {self.slug}: telling figure {self.telling!r:.80} is not on the page; it has {has}.")
        if not isinstance(self.papers, tuple) or not all(isinstance(paper, str) for paper in self.papers):
            raise InputError(f"document {self.slug}: papers must be a tuple of texts, got {self.papers!r:.60}.")
        object.__setattr__(self, "papers", tuple(clean(paper) for paper in self.papers))

    @property
    def figures(self) -> tuple[FigureData, ...]:
        """All figures in the order of the page."""
        return tuple(figure for section in self.sections for figure in section.figures)

    def to_dict(self) -> dict[str, Any]:
        """Return the document as JSON values (dict, list, str, int, float, bool, None) in a fixed key order."""
        content = asdict(self)
        for claim in content["claims"]:
            if not any(claim[name] for name in CRITERION):  # a script's own claim needs no criterion
                for name in CRITERION:
                    del claim[name]
        for name in ("replaced", *OPENING):
            if not content[name]:
                del content[name]
        return plain(content, f"document {self.slug}")


def dumps(document: Document) -> str:
    """Write a document as JSON text: fixed key order, one line per innermost list, no NaN, ends with a line feed."""
    return _layout(document.to_dict(), "") + "\n"


def loads(text: str, where: str = "document") -> Document:
    """Read a document from JSON text. Raises InputError that names the first thing wrong."""
    try:
        return _read(text, where)
    except RecursionError:
        raise InputError(f"{where}: nested too deeply for a document.") from None


def _read(text: str, where: str) -> Document:
    try:
        tree = json.loads(text, parse_constant=lambda name: _refuse(f"{where}: {name} is no JSON number; write null."))
    except InputError:
        raise
    except ValueError as error:  # no JSON, or an integer of thousands of digits
        raise InputError(f"{where}: not valid JSON ({reason(error)}).") from None
    provenance = _build(Provenance, _take(tree, "provenance", where), where + ": provenance")
    claims = tuple(_build(Claim, _tupled(claim, "moved"), where + ": claims") for claim in _list(tree, "claims", where))
    sections = []
    for section in _list(tree, "sections", where):
        figures = tuple(_build(FigureData, figure, where + ": figures") for figure in _list(section, "figures", where))
        parts = {**section, "figures": figures, "text": tuple(_list(section, "text", where))}
        sections.append(_build(Section, parts, where + ": sections"))
    tree = _tupled(_tupled(tree, "replaced"), "papers")
    return _build(Document, {**tree, "provenance": provenance, "claims": claims, "sections": tuple(sections)}, where)


def load(path: str | Path) -> Document:
    """Read a document from a JSON file. Raises InputError that names the file and the first thing wrong."""
    try:
        text = read_regular(path, MAX_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a document ({reason(error)}).") from None
    try:
        return loads(text, str(path))
    except InputError as error:
        raise error if str(error).startswith(str(path)) else InputError(f"{path}: {error}") from None


def _layout(value: Any, indent: str) -> str:
    """Lay JSON out with one line per key and per innermost list."""
    nested = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else []
    if not any(isinstance(item, (list, dict)) and item for item in nested) and not (isinstance(value, dict) and len(value) > 3):
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    inner = indent + " "
    if isinstance(value, dict):
        lines = [f"{inner}{json.dumps(key, ensure_ascii=False)}: {_layout(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    return "[\n" + ",\n".join(inner + _layout(item, inner) for item in value) + f"\n{indent}]"


def _status(status: str, reason: str, where: str) -> None:
    if status not in STATUSES:
        raise InputError(f"{where}: unknown status {status!r:.80}; choose from {', '.join(STATUSES)}.")
    if status != "done" and not reason:
        raise InputError(f"{where}: status {status!r:.80} needs a reason.")


def _instances(parts: Any, cls: type, where: str) -> None:
    for part in parts:
        if not isinstance(part, cls):
            raise InputError(f"{where}: expected {cls.__name__}, got {type(part).__name__}.")


def _unique(names: list[str], where: str) -> None:
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise InputError(f"{where}: {', '.join(twice)} used more than once.")


def _build(cls: type, mapping: Any, where: str) -> Any:
    if not isinstance(mapping, dict):
        raise InputError(f"{where}: expected an object, got {type(mapping).__name__}.")
    named = {item.name: item for item in fields(cls)}
    required = {name for name, item in named.items() if item.default is MISSING and item.default_factory is MISSING}
    check_keys(mapping, required, set(named) - required, where)
    return cls(**mapping)


def _tupled(mapping: Any, key: str) -> Any:
    """Return an object with the list under `key`, if there is one, as a tuple."""
    if not isinstance(mapping, dict) or not isinstance(mapping.get(key), list):
        return mapping
    return {**mapping, key: tuple(mapping[key])}


def _take(tree: Any, key: str, where: str) -> Any:
    if not isinstance(tree, dict) or key not in tree:
        raise InputError(f"{where}: expected an object with the key {key!r:.80}.")
    return tree[key]


def _list(tree: Any, key: str, where: str) -> list[Any]:
    value = _take(tree, key, where)
    if not isinstance(value, list):
        raise InputError(f"{where}: {key} must be a list, got {type(value).__name__}.")
    return value


def _refuse(message: str) -> Any:
    raise InputError(message)
