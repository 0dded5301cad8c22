"""Run a page's study on runs, and record where its numbers come from."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mechbp.errors import InputError, did_you_mean
from mechbp.extras import missing_packages, recorded_page
from mechbp.randomness import rng
from mechbp.report.claim import Claim
from mechbp.report.criteria import Criteria
from mechbp.report.document import Document, Provenance, Section, load
from mechbp.report.opening import Opening, opened
from mechbp.report.provenance import PACKAGES, git_state, versions
from mechbp.report.replaced import FILE as REPLACED_LOG
from mechbp.report.replaced import replaced_runs, used_by
from mechbp.storage import checked_name

if TYPE_CHECKING:
    import numpy as np

    from mechbp.models.runs import Run
    from mechbp.models.verify import Check

SEED = 0
SOURCES = ("--", ":/", ":(top,exclude)reports")
WITHDRAWN = "withdrawn"
"""The section that lists claims made no longer."""


@dataclass(frozen=True)
class Study:
    """What a page is given: runs, how thorough to be, and streams of randomness."""

    runs: tuple[Run, ...]
    quick: bool
    """Smaller samples for a first look; wide intervals, same code."""
    stage: Callable[[str], None]
    """Announces the next stage to whoever watches."""
    seed: int = SEED

    def __post_init__(self) -> None:
        folders: dict[str, Path] = {}
        for run in self.runs:
            if run.name in folders:
                raise InputError(
                    f"two runs are named {run.name!r}, {folders[run.name]} and {run.folder}; pages tell runs apart by name.\n"
                    f"Give each run once, and rename one of two folders of the same name."
                )
            folders[run.name] = run.folder

    def rng(self, *labels: str | int) -> np.random.Generator:
        """Return the stream of `labels`."""
        return rng(self.seed, *labels)

    def size(self, full: int, quick: int) -> int:
        """Return a sample size."""
        return quick if self.quick else full


Findings = tuple[Sequence[Claim], Sequence[Section]]
"""What a page found: its claims, and the sections that show why."""


@dataclass(frozen=True)
class Page:
    """One page of the report, registered as PAGE in analyses/<slug>/page.py; the folder's name is the slug."""

    title: str
    lead: str
    """What the page asks and how, in a few sentences; the claims are counted where it is shown."""
    runs: tuple[str, ...]
    """Names of the runs that it studies unless told otherwise."""
    family: str | None
    """Which runs it can study: those of one family of processes ("tree", "chain", …), ANY, or None for no run at all."""
    study: Callable[[Study], Findings]
    thresholds: Callable[[Study], Iterator[tuple[str, Check]]] | None = None
    """Yields (run, Check) for numbers that the page is held to, computed as its own are; "short" is a finding, no damage."""
    why_not: Callable[[Sequence[Run]], str] | None = None
    """Says, where runs of its family give it nothing to show, what it asks for instead, to follow its name; "" where they do."""
    by_run: bool = False
    """Whether runs are studied one by one, so that each can have a job of its own: what several jobs bring alike is kept once."""
    needs: tuple[str, ...] = ()
    """Distributions beyond mechbp's own dependencies; where one is not installed the page keeps its recorded numbers."""
    extra: str = ""
    """The extra of mechbp that installs them."""
    opening: Opening = field(default_factory=Opening)
    """Its telling figure, its result in words, and where the index lists it."""


ANY = "any"
"""The family of a page that studies runs of every family."""


def page_names() -> list[str]:
    """Return the slugs of all pages."""
    return sorted(path.parent.name for path in analyses_root().glob("*/page.py"))


def analyses_root() -> Path:
    """Return the folder of the pages: analyses/ of the source tree, or inside the package where it was installed."""
    package = Path(__file__).resolve().parent
    beside = package.parent / "analyses"
    return beside if (beside / "shared").is_dir() else package / "analyses"


HOME = analyses_root()
"""Where the pages of this installation are."""


def page_file(name: str) -> Path:
    """Return the script of a page. Raises InputError where there is none of this name."""
    path = analyses_root() / checked_name(name, "page") / "page.py"
    if not path.is_file():
        raise InputError(f"no page {name!r}; {did_you_mean(name, page_names())}")
    return path


def criteria_of(name: str) -> Criteria:
    """Return what decides the claims of a page: criteria.toml beside its script. Raises InputError where it cannot be read."""
    return Criteria.read(page_file(name).with_name("criteria.toml"))


def record_of(name: str) -> Path:
    """Return where the numbers of a page are recorded: reports/<slug>.json here, else of the source tree."""
    here = Path.cwd() / "reports" / f"{name}.json"
    return here if here.is_file() else analyses_root().parent / "reports" / f"{name}.json"


def recorded_seconds(name: str) -> float:
    """Return how long a page took when its numbers in reports/ were recorded; 0 where there are none."""
    try:
        return load(record_of(name)).provenance.wall_s
    except InputError:
        return 0.0


def load_page(name: str) -> Page:
    """Import a page's script and return what it registers. Raises InputError where it registers no Page."""
    path = page_file(name)
    _share_parts()
    spec = importlib.util.spec_from_file_location(f"analyses.{name}.page", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up here
    spec.loader.exec_module(module)
    page = getattr(module, "PAGE", None)
    if not isinstance(page, Page):
        raise InputError(f"{path} registers no page, got PAGE = {page!r:.60}. Set PAGE = mechbp.study.Page(...).")
    return page


def _share_parts() -> None:
    """Let pages import what they share as `analyses.…`, wherever they are. Raises InputError where that name is taken."""
    known = sys.modules.get("analyses")
    if known is None:
        spec = importlib.util.spec_from_file_location("analyses", HOME / "__init__.py", submodule_search_locations=[str(HOME)])
        assert spec is not None and spec.loader is not None
        sys.modules["analyses"] = known = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(known)
    if str(HOME) not in map(str, getattr(known, "__path__", ())):
        taken = getattr(known, "__file__", None) or "a module without a file"
        raise InputError(
            f"pages import their parts as `analyses`, which is {taken} here.\nRename that, or import it after the report."
        )


def chosen_pages(
    names: Sequence[str], runs: Sequence[str | Run], trust: bool = False, say: Callable[[str], None] = lambda line: None
) -> list[str]:
    """Return which pages to make: those named, else all; where `runs` are given, all that have something to show of them.

    trust: execute the code that recipes name beside their runs. say: told, in one line, which pages about runs of their kind are
    left out because these runs give them nothing to show. Raises InputError where there is no page, or none of this name, and
    where one that is named is asked to study runs that it cannot.
    """
    chosen = list(names) or page_names()
    if not chosen:
        raise InputError("report: there are no pages; run from a copy of the source tree, which holds analyses/.")
    for name in chosen:
        page_file(name)
    if not runs:
        return chosen
    opened = opened_runs(runs, trust)
    pages = {name: load_page(name) for name in chosen}
    foreign = {name: reason for name, page in pages.items() if (reason := _of_another_kind(page, opened))}
    bare = {
        name: reason for name, page in pages.items() if name not in foreign and page.why_not and (reason := page.why_not(opened))
    }
    refused = foreign | {name: f"has nothing to show of these runs: it {reason}" for name, reason in bare.items()}
    if refused and (names or len(refused) == len(chosen)):
        name, reason = next(iter(refused.items()))
        raise InputError(
            f"report: {name} {reason}.\nName other pages, or let it study its own runs."
            if names
            else f"report: no page here studies these runs; {name}, for one, {reason}. Give other runs, or none."
        )
    if bare:
        told = "; ".join(f"{name} {reason}" for name, reason in bare.items())
        count = "1 page is" if len(bare) == 1 else f"{len(bare)} pages are"
        say(f"{count} left out, with nothing to show of the runs given: {told}.")
    return [name for name in chosen if name not in refused]


def left_out(names: Sequence[str]) -> dict[str, str]:
    """Return the pages that cannot be made here, each with the reason: runs, or packages and recorded numbers, are missing."""
    from mechbp.models.run_folder import find_run, runs_root

    def absent(run: str) -> bool:
        try:
            find_run(run)
        except InputError:
            return True
        return False

    found = {}
    for name in names:
        page = load_page(name)
        if missing := [run for run in page.runs if absent(run)]:
            found[name] = f"its runs ({missing[0]}{', …' if len(missing) > 1 else ''}) are not in {runs_root()}"
        elif missing_packages(page.needs) and not record_of(name).is_file():
            found[name] = f"it needs pip install 'mechbp[{page.extra}]'"
    return found


def opened_runs(runs: Sequence[str | Run], trust: bool = False, device: str = "cpu") -> list[Run]:
    """Return the runs, those that are named opened."""
    from mechbp.models.runs import load as load_run

    return [load_run(run, trust=trust, device=device) if isinstance(run, str | os.PathLike) else run for run in runs]


def _of_another_kind(page: Page, runs: Sequence[Run]) -> str:
    """Why a page is about other things than these runs; empty where it is about such."""
    if page.family is None:
        return "studies no trained run, so --run does not apply to it"
    other = [run.name for run in runs if page.family not in (run.family, ANY)]
    return f"studies runs of the family {page.family}, and {other[0]} is of another" if other else ""


def studied_runs(page: Page, runs: Sequence[str]) -> Sequence[str]:
    """Return the names or folders of the runs that a page studies: `runs`, or its own where there are none."""
    return () if page.family is None else runs or page.runs


def studied_names(page: Page, runs: Sequence[str]) -> list[str]:
    """Return the names of the runs that a page studies. Raises InputError where one is not there."""
    from mechbp.models.run_folder import find_run

    return [find_run(run).name for run in studied_runs(page, runs)]


def command_line() -> str:
    """Return the command that this process executes."""
    return "mechbp " + " ".join(sys.argv[1:])


def analyse(name: str, study: Study, command: str | None = None) -> Document:
    """Make the page `name` and return its document with provenance; `command` is what the user typed in another process."""
    import torch

    page = load_page(name)
    if absent := missing_packages(page.needs):
        study.stage("recorded numbers")
        return recorded_page(name, record_of(name), page.extra, absent)
    started = time.monotonic()
    utc = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    commit, dirty = _git_state()
    claims, sections = page.study(study)
    provenance = Provenance(
        command=command or command_line(),
        utc=utc,
        wall_s=time.monotonic() - started,
        device=", ".join(sorted({str(run.device) for run in study.runs})) or "cpu",
        threads=torch.get_num_threads(),
        git_commit=commit,
        git_dirty=dirty,
        versions=versions((*PACKAGES, *page.needs)),
        seeds={"study": study.seed},
        runs={run.name: _describe(run) for run in study.runs},
    )
    return _document(name, page, claims, sections, provenance, _replaced(study.runs))


def merged(name: str, parts: Sequence[Document]) -> Document:
    """Return the page of all runs from the pages of each, in their order; seconds add up."""
    page = load_page(name)
    claims = {claim.id: claim for part in parts for claim in part.claims}
    sections = {section.id: section for part in parts for section in part.sections}
    first = parts[0].provenance
    provenance = replace(
        first,
        utc=min(part.provenance.utc for part in parts),
        wall_s=sum(part.provenance.wall_s for part in parts),
        runs={run: told for part in parts for run, told in part.provenance.runs.items()},
    )
    replaced = {(entry["run"], entry["commit"]): entry for part in parts for entry in part.replaced}
    entries = sorted(replaced.values(), key=lambda entry: entry["date"])
    return _document(name, page, list(claims.values()), list(sections.values()), provenance, entries)


def _document(
    name: str,
    page: Page,
    claims: Sequence[Claim],
    sections: Sequence[Section],
    provenance: Provenance,
    replaced: Sequence[dict[str, Any]],
) -> Document:
    kept = [section for section in sections if section.id != WITHDRAWN]
    has_criteria = page_file(name).with_name("criteria.toml").is_file()
    if has_criteria and (texts := criteria_of(name).withdrawn()):
        kept.append(Section(WITHDRAWN, "Claims made no longer", texts))
    document = Document(name, page.title, page.lead, tuple(claims), tuple(kept), provenance, replaced=tuple(replaced))
    return opened(document, page.opening)


def _replaced(runs: Sequence[Run]) -> Sequence[dict[str, Any]]:
    """What the log of replaced runs says of those that are shipped; a run of one's own may share a name."""
    from mechbp.models.run_folder import runs_root

    root = runs_root().resolve()
    shipped = [run.name for run in runs if run.folder.resolve().parent == root]
    return used_by(replaced_runs(root / REPLACED_LOG), shipped) if shipped else ()


def _describe(run: Run) -> dict[str, object]:
    training, objective = run.config.training, run.config.objective
    process = run.config.process.provenance()
    if run.given:
        return {"weights_sha256": run.config.start.given, "task": objective.task, "trained_on": "not known", **process}
    return {
        "checkpoint_sha256": run.digest,
        "step": run.steps[-1],
        "sequences": run.steps[-1] * training.batch_size,
        "task": objective.task,
        "trained_on": objective.targets,
        **process,
        "training_seed": training.seed,
    }


def _git_state() -> tuple[str, bool]:
    """Return the commit of the source tree and whether tracked files differ from it; ("unknown", True) where there is none.

    reports/ does not count: it holds products, and a page that is done would make the next one's source look changed.
    A package that was installed may lie in somebody's repository, whose commit says nothing of it.
    """
    if not (Path(__file__).resolve().parents[1] / "pyproject.toml").is_file():
        return "unknown", True
    return git_state(Path(__file__).resolve().parents[1], *SOURCES)
