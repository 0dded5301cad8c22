"""A page's content as frozen dataclasses and as JSON: the JSON is the source of truth, the page is derived from it.

Every number is rounded to 6 significant digits when a document is created, so that the JSON stays small, its diffs stay
readable, and loading what was dumped gives an equal document.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from mechbp.errors import InputError
from mechbp.report.figures import check_data
from mechbp.report.figures.checking import keys as check_keys

SCHEMA = 1
VERDICTS = {
    "holds": "the measurement supports the claim, and the control does not show it",
    "partly": "the measurement supports a part of the claim, or supports it weakly",
    "fails": "the measurement contradicts the claim, or the control shows the same",
    "not run": "not measured in this run",
    "short": "the sample is too small for a verdict: a quick run, or too few seeds",
}
"""What each verdict means; shown where it stands."""
KINDS = {
    "reproduction": "a published statement, held against our models",
    "method": "a check of our tools where the truth is known",
    "new": "a finding of ours",
    "expected to fail": "said to be false, or known to be: the page shows that it fails",
}
"""What each kind of claim means; shown where it stands."""
FIXED = ("before", "after")
"""Whether a criterion was fixed before or after the first recorded measurement."""
MOVED = ("date", "commit", "what", "old", "new", "why", "verdicts")
CRITERION = ("criterion", "rule", "kind", "fixed", "fixed_commit", "fixed_date", "numbers", "moved")
"""The fields of a claim that its criterion gives."""
REPLACED = ("run", "date", "commit", "changed", "why", "measured")
STATUSES = ("done", "failed", "skipped", "not run")
"""What became of a part. Whatever is not `done` carries a reason and is shown, never dropped."""
SLUG = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
FIGURE_ID = re.compile(r"fig-[a-z0-9][a-z0-9-]{0,59}")
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
"""Characters that no HTML page can hold: control characters but tab and line feed, and lone surrogates."""


class _Part:
    """Shared by the dataclasses below: clean text and numbers when created."""

    def __post_init__(self) -> None:
        for item in fields(self):  # type: ignore[arg-type]
            value = getattr(self, item.name)
            if item.type == "str" and not isinstance(value, str):
                raise InputError(f"{type(self).__name__}.{item.name}: expected text, got {type(value).__name__}.")
            if isinstance(value, list):
                value = tuple(value)
            if not isinstance(value, tuple):
                value = plain(value, f"{type(self).__name__}.{item.name}")
            object.__setattr__(self, item.name, value)


@dataclass(frozen=True)
class FigureData(_Part):
    """One figure: `data` in the schema of its `kind` (see `mechbp.report.figures`), or the reason why there is none."""

    id: str
    """`fig-...`, unique on the page and stable: links point at it."""
    kind: str
    """`lines`, `bars`, `heatmap`, `scatter`, `dots` or `clouds`."""
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
        _match(FIGURE_ID, self.id, "FigureData.id")
        _status(self.status, self.reason, f"figure {self.id}")
        if self.status == "done":
            check_data(self.kind, self.data, f"figure {self.id}")


@dataclass(frozen=True)
class Section(_Part):
    """A part of the page: paragraphs, then figures.

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
        _match(SLUG, self.id, "Section.id")
        if isinstance(self.text, str) or not all(isinstance(p, str) for p in self.text):
            raise InputError(f"section {self.id}: text must be a tuple of paragraphs.")
        object.__setattr__(self, "text", tuple(_text(p) for p in self.text))
        _instances(self.figures, FigureData, f"section {self.id}: figures")
        _status(self.status, self.reason, f"section {self.id}")


@dataclass(frozen=True)
class Claim(_Part):
    """One claim of the page with its verdict and the evidence for it."""

    id: str
    statement: str
    reference: str
    """The paper's statement or number that this claim is held against."""
    measured: str
    """What was measured, with n, effect and interval. Line feeds part several measurements; they are kept on the page."""
    control: str
    """The same measurement where there should be no effect."""
    verdict: str
    """`holds`, `partly`, `fails`, `not run` or `short`."""
    figure: str = ""
    """Id of the figure that shows it, if any."""
    criterion: str = ""
    """Key of the criterion in the page's criteria.toml that decided the verdict; "" where none did, and so for all below."""
    rule: str = ""
    """The criterion as a reader is shown it, thresholds in place, one line per verdict that has a rule."""
    kind: str = ""
    """One of KINDS."""
    fixed: str = ""
    """`before` or `after` the first recorded measurement."""
    fixed_commit: str = ""
    fixed_date: str = ""
    """Commit and day (ISO 8601) of the criterion's present form."""
    numbers: dict[str, Any] = field(default_factory=dict)
    """What the rule is about: numbers, truth values, None, or flat lists of them."""
    moved: tuple[dict[str, Any], ...] = ()
    """How the criterion moved after a recording, oldest first, by the keys MOVED; verdicts: old and new, or none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _match(SLUG, self.id, "Claim.id")
        if self.kind and self.kind not in KINDS:
            raise InputError(f"claim {self.id}: unknown kind {self.kind!r}; choose from {', '.join(KINDS)}.")
        if self.fixed not in ("", *FIXED):
            raise InputError(f"claim {self.id}: fixed must be one of {', '.join(FIXED)}, got {self.fixed!r}.")
        if not isinstance(self.numbers, dict):
            raise InputError(f"claim {self.id}: numbers must be a dict, got {type(self.numbers).__name__}.")
        object.__setattr__(self, "moved", _records(self.moved, MOVED, f"claim {self.id}: moved"))
        for move in self.moved:
            pair = move["verdicts"]
            if not isinstance(pair, list) or len(pair) not in (0, 2) or any(verdict not in VERDICTS for verdict in pair):
                raise InputError(f"claim {self.id}: moved: verdicts must be [old, new] or [], got {pair!r:.60}.")
        if self.verdict not in VERDICTS:
            raise InputError(f"claim {self.id}: unknown verdict {self.verdict!r}; choose from {', '.join(VERDICTS)}.")


@dataclass(frozen=True)
class Provenance(_Part):
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
                raise InputError(f"Provenance.runs[{name!r}]: expected a dict of scalars.")


@dataclass(frozen=True)
class Document(_Part):
    """A whole page: claims first, then sections, then provenance."""

    slug: str
    """File name without suffix."""
    title: str
    lead: str
    """The answer in a few sentences; shown above everything else."""
    claims: tuple[Claim, ...]
    sections: tuple[Section, ...]
    provenance: Provenance
    schema: int = SCHEMA
    replaced: tuple[dict[str, Any], ...] = ()
    """Earlier forms of the runs that the page uses, oldest first: run, date, commit, changed, why, measured."""

    def __post_init__(self) -> None:
        if not isinstance(self.provenance, Provenance):
            raise InputError(f"document {self.slug!r}: provenance must be a Provenance, got {type(self.provenance).__name__}.")
        for name in ("slug", "title", "lead"):
            if not isinstance(getattr(self, name), str):
                raise InputError(f"Document.{name}: expected text, got {type(getattr(self, name)).__name__}.")
            object.__setattr__(self, name, _text(getattr(self, name)))
        _match(SLUG, self.slug, "Document.slug")
        if self.schema != SCHEMA:
            raise InputError(f"document {self.slug}: schema {self.schema!r} is unknown; this version reads schema {SCHEMA}.")
        for name, cls in (("claims", Claim), ("sections", Section)):
            object.__setattr__(self, name, tuple(getattr(self, name)))
            _instances(getattr(self, name), cls, f"document {self.slug}: {name}")
        object.__setattr__(self, "replaced", _records(self.replaced, REPLACED, f"document {self.slug}: replaced"))
        _unique([claim.id for claim in self.claims], f"document {self.slug}: claim ids")
        _unique([section.id for section in self.sections], f"document {self.slug}: section ids")
        _unique([figure.id for figure in self.figures], f"document {self.slug}: figure ids")
        known = {figure.id for figure in self.figures}
        for claim in self.claims:
            if claim.figure and claim.figure not in known:
                raise InputError(
                    f"claim {claim.id}: figure {claim.figure!r} is not on the page; it has {', '.join(sorted(known)) or 'none'}."
                )

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
        if not self.replaced:
            del content["replaced"]
        return plain(content, f"document {self.slug}")


def summarize(claims: tuple[Claim, ...]) -> list[tuple[str, int]]:
    """Count the claims of each verdict that occurs, in the order of VERDICTS."""
    counts = Counter(claim.verdict for claim in claims)
    return [(verdict, counts[verdict]) for verdict in VERDICTS if counts[verdict]]


def dumps(document: Document) -> str:
    """Write a document as JSON text: fixed key order, one line per innermost list, no NaN, ends with a line feed."""
    return _layout(document.to_dict(), "") + "\n"


def loads(text: str, where: str = "document") -> Document:
    """Read a document from JSON text. Raises InputError that names the first thing wrong."""
    try:
        tree = json.loads(text, parse_constant=lambda name: _refuse(f"{where}: {name} is no JSON number; write null."))
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{where}: not valid JSON ({error}).") from None
    provenance = _build(Provenance, _take(tree, "provenance", where), where + ": provenance")
    claims = tuple(_build(Claim, _tupled(claim, "moved"), where + ": claims") for claim in _list(tree, "claims", where))
    sections = []
    for section in _list(tree, "sections", where):
        figures = tuple(_build(FigureData, figure, where + ": figures") for figure in _list(section, "figures", where))
        parts = {**section, "figures": figures, "text": tuple(_list(section, "text", where))}
        sections.append(_build(Section, parts, where + ": sections"))
    tree = _tupled(tree, "replaced")
    return _build(Document, {**tree, "provenance": provenance, "claims": claims, "sections": tuple(sections)}, where)


def load(path: str | Path) -> Document:
    """Read a document from a JSON file. Raises InputError that names the file and the first thing wrong."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a document ({error}).") from None
    return loads(text, str(path))


def plain(value: Any, where: str) -> Any:
    """Return `value` as JSON values: arrays become lists, floats keep 6 significant digits, NaN becomes None.

    Raises InputError for infinities (a page could not tell them from missing values) and for anything JSON cannot hold.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float):
        if math.isinf(value):
            raise InputError(f"{where}: infinite value; report it as text, or bound it and say so.")
        return None if math.isnan(value) else float(f"{value:.6g}") + 0.0  # + 0.0 turns -0.0 into 0.0
    if isinstance(value, int):
        return value
    if isinstance(value, Mapping):
        return {_key(key, where): plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if hasattr(value, "tolist"):  # arrays and their scalars
        return plain(value.tolist(), where)
    raise InputError(f"{where}: {type(value).__name__} cannot be written as JSON; give numbers, text, lists or dicts.")


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


def _text(value: str) -> str:
    return CONTROL.sub("\N{REPLACEMENT CHARACTER}", value)


def _key(key: Any, where: str) -> str:
    if not isinstance(key, str):
        raise InputError(f"{where}: keys must be text, got {key!r}.")
    return _text(key)


def _match(pattern: re.Pattern[str], value: str, where: str) -> None:
    if not pattern.fullmatch(value):
        raise InputError(f"{where}: {value!r} must match {pattern.pattern}.")


def _status(status: str, reason: str, where: str) -> None:
    if status not in STATUSES:
        raise InputError(f"{where}: unknown status {status!r}; choose from {', '.join(STATUSES)}.")
    if status != "done" and not reason:
        raise InputError(f"{where}: status {status!r} needs a reason.")


def _instances(parts: Any, cls: type, where: str) -> None:
    for part in parts:
        if not isinstance(part, cls):
            raise InputError(f"{where}: expected {cls.__name__}, got {type(part).__name__}.")


def _records(records: Any, keys: tuple[str, ...], where: str) -> tuple[dict[str, Any], ...]:
    """Return records of exactly these keys as JSON values."""
    if not isinstance(records, (list, tuple)):
        raise InputError(f"{where}: expected a list, got {type(records).__name__}.")
    for record in records:
        check_keys(record, keys, (), where)
        for key in sorted({*keys} - {"old", "new", "verdicts"}):
            if not isinstance(record[key], str):
                raise InputError(f"{where}: {key} must be text, got {record[key]!r:.60}.")
    return tuple(plain(record, where) for record in records)


def _unique(names: list[str], where: str) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
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
        raise InputError(f"{where}: expected an object with the key {key!r}.")
    return tree[key]


def _list(tree: Any, key: str, where: str) -> list[Any]:
    value = _take(tree, key, where)
    if not isinstance(value, list):
        raise InputError(f"{where}: {key} must be a list, got {type(value).__name__}.")
    return value


def _refuse(message: str) -> Any:
    raise InputError(message)
