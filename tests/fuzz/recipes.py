"""Recipes: templates and shipped ones with values, keys, tables or bytes changed; code and tables of numbers beside them."""

from __future__ import annotations

import functools
import io
import json
import os
import tomllib
from pathlib import Path

import numpy as np
import tomlkit

from mechbp.listing import listing
from mechbp.models.config import read_recipe
from mechbp.models.recipe_edits import Setting, changed, combinations
from mechbp.models.run_folder import shipped_root
from mechbp.models.starting import TEMPLATES
from mechbp.randomness import rng
from mechbp.storage import RUNS_VARIABLE
from tests.fuzz.outcome import Surprise, refusal_or_answer, snapshot
from tests.fuzz.trees import mutated, pick, scrambled
from tests.support.small_runs import recipe

WORDS = (
    *("masked", "root", "next-token", "sort", "tree", "mess3", "rrxor", "hmm", "sorting", "topics", "causal", "bidirectional"),
    *(
        "table.json",
        "table.npy",
        "python:evil.py:make",
        "last",
        "all",
        4,
        8,
        16,
        64,
        1024,
        10**6,
        0.1,
        0.5,
        [0.5, 0.5],
        [[0.5, 0.5]],
    ),
)
EVIL = "from pathlib import Path\nPath(__file__).with_name('EXECUTED').touch()\n\ndef make():\n    return None\n"
NEW = ("start", "requirement", "llc", "training", "process", "model", "objective")


def one(draw: np.random.Generator, folder: Path) -> str:
    """Write one changed recipe among whole ones, read it in every way a command does, and say what became of it."""
    run = folder / "run"
    run.mkdir(exist_ok=True)
    (run / "evil.py").write_text(EVIL)
    numbers = mutated([[[0.5, 0.25], [0.125, 0.125]], [[0.25, 0.25], [0.25, 0.25]]], draw)
    (run / "table.json").write_bytes(json.dumps(numbers).encode("utf-8", "surrogatepass"))
    (run / "table.npy").write_bytes(scrambled(_npy(), draw))
    (run / "run.toml").write_bytes(content(draw))
    before, found = snapshot(folder), []
    told = refusal_or_answer(lambda: found.append(read_recipe(run / "run.toml", "refuse")))
    for config in found:
        if not refusal_or_answer(lambda config=config: _must(config.trained_by(config.trained_recipe()))) == "answer":
            raise Surprise("a recipe that is not its own")
    refusal_or_answer(lambda: read_recipe(run / "run.toml", "leave"))
    text = f"training.{pick(draw, ('steps', 'seed', 'x'))}={pick(draw, ('1', 'nan', '[', '1,2', '0..3', 'x', '{}', chr(0)))}"
    refusal_or_answer(lambda: changed(run / "run.toml", [c for _, cs in combinations([Setting.of(text)]) for c in cs]))
    if refusal_or_answer(lambda: _must(len(_listing_of(folder)) == 1)) != "answer":
        raise Surprise("one recipe keeps all from being listed")
    if snapshot(folder) != before:
        raise Surprise("reading changed a file")
    return told


def _listing_of(folder: Path):
    kept = os.environ.get(RUNS_VARIABLE)
    os.environ[RUNS_VARIABLE] = str(folder)
    try:
        return listing().runs
    finally:
        os.environ.pop(RUNS_VARIABLE) if kept is None else os.environ.update({RUNS_VARIABLE: kept})


def content(draw: np.random.Generator) -> bytes:
    """The bytes of one recipe."""
    text = pick(draw, _sources())
    if draw.random() < 0.25:
        return scrambled(text.encode(), draw)
    if draw.random() < 0.05:
        return f"{text}\nx = {'[' * 900}1{']' * 900}\n".encode() + b"[x]\n" * int(pick(draw, (0, 1, 30_000)))
    tree = mutated(tomllib.loads(text), draw, WORDS)
    if isinstance(tree, dict) and draw.random() < 0.2:
        tree[pick(draw, NEW)] = mutated(pick(draw, ({"run": "a", "sha256": "b"}, {"name": "main", "n_beta": 1.0}, {}, [])), draw)
    return written(tree).encode("utf-8", "surrogatepass")


def written(tree) -> str:
    """Nested values as TOML, or as nearly TOML as they can be."""
    lines = []
    for name, table in tree.items() if isinstance(tree, dict) else [("x", tree)]:
        if isinstance(table, dict):
            lines += [f"[{_key(name)}]", *(f"{_key(key)} = {_value(value)}" for key, value in table.items())]
        else:
            lines.insert(0, f"{_key(name)} = {_value(table)}")
    return "\n".join(lines) + "\n"


def _key(name) -> str:
    return json.dumps(str(name)) if not str(name).isidentifier() else name


def _value(value) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)} = {_value(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, float):
        return str(value)
    return "[]" if value is None else json.dumps(value, default=str)


def _must(true: bool) -> None:
    if not true:
        raise Surprise("it is not so")


@functools.cache
def _sources() -> tuple[str, ...]:
    templates = [path.read_text(encoding="utf-8") for path in sorted(TEMPLATES.glob("*.toml"))]
    shipped = sorted(shipped_root().glob("*/run.toml"))[::12]
    tables = {"process": {"kind": "hmm", "transitions": "table.json", "length": 4}}
    own = {"process": {"kind": "python:evil.py:make"}}
    tiny = [tomlkit.dumps(recipe() | extra) for extra in ({}, tables, own)]
    return (*templates, *(path.read_text(encoding="utf-8") for path in shipped), *tiny)


@functools.cache
def _npy() -> bytes:
    file = io.BytesIO()
    np.save(file, rng(0, "npy").random((2, 2, 2)))
    return file.getvalue()
