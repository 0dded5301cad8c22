"""The commands that store something, each in a tiny world of its own: how it starts, how far it is, and what it ends with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mechbp
from mechbp.models.checkpoint import load_checkpoint
from mechbp.models.llc_records import read_records
from mechbp.models.metrics import read_metrics
from mechbp.models.training import train
from mechbp.report.document import load
from mechbp.report.folder import render_folder
from tests.support.small_runs import products, toml, write_run
from tests.support.tiny_pages import write_page

PAGES = ("one", "three", "two")
FEW = {"localization": 50.0, "chains": 2, "burn_in": 2, "draws": 4, "batch_size": 4, "n_batches": 2}
MEASURED = {"name": "main", "n_beta": 10.0, **FEW, "step_size": 1e-4, "steps": [0, 8]}
UNREPEATABLE = ("seconds", "sha256")
OF_THE_MOMENT = ("utc", "wall_s", "command", "git_commit", "git_dirty", "threads")
"""Of a page's provenance: what no two computations share."""


@dataclass(frozen=True)
class World:
    """One command; its folders are below a home that is new for every history of kills."""

    words: tuple[str, ...]
    prepare: Callable[[Path], None]
    final: Callable[[Path], dict[str, str]]
    """Everything that it makes, without what no two computations share."""
    progress: Callable[[Path], int]
    """How much is stored; reading it fails where a file is torn."""


def package(folder: Path) -> Path:
    """A copy of the package with tiny pages, for processes that import it anew; returns what to put on PYTHONPATH."""
    shutil.copytree(Path(mechbp.__file__).parent, folder / "mechbp", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "analyses" / "shared").mkdir(parents=True)
    (folder / "analyses" / "__init__.py").touch()
    for name in PAGES:
        write_page(folder / "analyses", name)
    return folder


def _two_runs(home: Path) -> None:
    for name in "ab":
        write_run(home / name, training__seed=ord(name))


def _two_trained(home: Path) -> None:
    for name in "ab":
        write_run(home / name, training__steps=8, training__stored_steps=2, training__measured_steps=2, training__seed=ord(name))
        train(home / name)
        with (home / name / "run.toml").open("a") as file:
            file.write(toml({"llc": MEASURED}).replace("[llc]", "[[llc]]"))


def _one_trained(home: Path) -> None:
    train(write_run(home / "a", training__steps=2))


def _one_run(home: Path) -> None:
    write_run(home / "base", training__steps=20)


def _runs_made(*names: str) -> Callable[[Path], dict[str, str]]:
    def final(home: Path) -> dict[str, str]:
        found = {f"{name}/{what}": told for name in names for what, told in products(home / name).items()}
        recipes = {f"{name}/run.toml": (home / name / "run.toml").read_text() for name in names}
        return found | recipes | {"files": _files(home)}

    return final


def _measured(home: Path) -> dict[str, str]:
    found = {}
    for name in "ab":
        lines = [json.loads(line) for line in (home / name / "llc.jsonl").read_text().splitlines()]
        found[name] = json.dumps([{key: value for key, value in line.items() if key not in UNREPEATABLE} for line in lines])
    return found | {"files": _files(home)}


def _pages(home: Path) -> dict[str, str]:
    found = {}
    for path in sorted((home / "pages").glob("*.json")):
        tree = json.loads(path.read_text())
        for name in OF_THE_MOMENT:
            del tree["provenance"][name]
        found[path.name] = json.dumps(tree)
    again = shutil.copytree(home / "pages", home / "again")
    for page in again.glob("*.html"):
        page.unlink()
    render_folder(again, bundled=True)
    differ = [path.name for path in again.iterdir() if path.read_bytes() != (home / "pages" / path.name).read_bytes()]
    found["pages that are not those of their JSON"] = str(differ)
    shutil.rmtree(again)
    return found | {"files": _files(home)}


def _files(home: Path) -> str:
    return json.dumps(sorted(str(path.relative_to(home)) for path in home.rglob("*")))


def _steps(home: Path) -> int:
    """The furthest stored step of every run, added up; recipes count too."""
    total = 0
    for recipe in home.glob("*/run.toml"):
        stored = [load_checkpoint(path).step for path in recipe.parent.glob("*.safetensors")]
        read_metrics(recipe.parent / "metrics.jsonl")
        total += 1 + max(stored, default=0)
    return total


def _lines(home: Path) -> int:
    return sum(len(read_records(path)) for path in home.glob("*/llc.jsonl"))


def _documents(home: Path) -> int:
    return len([load(path) for path in (home / "pages").glob("*.json")])


WORLDS = {
    "train": World(("train", "./a", "./b"), _two_runs, _runs_made("a", "b"), _steps),
    "measure": World(("measure", "./a", "./b"), _two_trained, _measured, _lines),
    "report": World(("report", "--quick", "--bundle", "--run", "./a", "--out", "pages"), _one_trained, _pages, _documents),
    "sweep": World(
        ("sweep", "./base", "--set", "training.seed=0,1"),
        _one_run,
        _runs_made("base-seed0", "base-seed1"),
        _steps,
    ),
}
