"""Command lines: ones that work, with words changed, taken out, doubled and exchanged, beside a tiny run that is trained."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from typer import Exit

from mechbp import cli, study, terminal
from mechbp.commands import runs
from mechbp.models.training import train
from mechbp.report.folder import write_documents
from mechbp.storage import RUNS_VARIABLE
from tests.fuzz.outcome import Surprise, refusal_or_answer, snapshot
from tests.fuzz.trees import pick
from tests.support.demo import demo
from tests.support.small_runs import write_run

WORKING = (
    ["list"],
    ["list", "--json", "--runs", "checkpoints"],
    ["verify", "own"],
    ["verify", "./checkpoints/own", "--json", "--threads", "1"],
    ["verify", "--claims"],
    ["train", "own"],
    ["train", "fresh", "--set", "training.steps=3", "--set", "training.seed=1"],
    ["measure", "own"],
    ["new", "mine", "--like", "tree"],
    ["new", "mine", "--like", "own", "--set", "model.d_model=16"],
    ["sweep", "fresh", "--set", "training.seed=0..2"],
    ["sweep", "fresh", "--set", "training.seed=0,1", "--set", "model.d_model=8,16"],
    ["report", "--render", "--out", "pages"],
    ["report", "--render", "--out", "pages", "--bundle"],
    ["report", "--quick", "--out", "other"],
    ["export", "own", "away"],
    ["--version"],
)
WORDS = (
    *(
        "",
        "own",
        "fresh",
        "nope",
        "pages",
        "away",
        "--set",
        "--out",
        "--runs",
        "--like",
        "--json",
        "--jobs",
        "2",
        "--threads",
        "0",
    ),
    *("-", "--", "..", "/dev/null", "/dev/zero", "/proc/self", "a\0b", "\x1b[31m", "\udcff", "x" * 300, "a\nb\nc\nd\ne\nf"),
    *("training.steps=nan", "training.steps=-1", "model.d_model=1e400", "training.seed=0..99999999", "a.b=c", "="),
    *("process.kind=[nan]", "$(touch HACKED)", "; touch HACKED", "python:evil.py:make", "pages/page.json", "checkpoints"),
    *("pipe", "--trust", "--device", "cuda"),
)


def one(draw: np.random.Generator, folder: Path) -> str:
    """Execute one changed command line and say what became of it; a refusal leaves the folder as it was."""
    home = folder / "home"
    if not home.is_dir():
        _settle(home)
    words, before = changed(draw), snapshot(home)
    code, err = _call(words, home)
    after = snapshot(home)
    if code not in (0, 1, 2) or "Traceback" in err or "\x1b" in err or len(err.splitlines()) > 5:
        raise Surprise(f"{words}: exit code {code}, {err[-2000:]}")
    if code != 0 and after != before:
        raise Surprise(f"{words}: exit code {code}, but it left {sorted(set(after.items()) ^ set(before.items()))[:5]}")
    if after != before:
        shutil.rmtree(home)
    return f"{words[0] if words and words[0] in cli_names() else '?'}: {code}"


def changed(draw: np.random.Generator) -> list[str]:
    """A working command line with up to three changes."""
    words = list(pick(draw, WORKING))
    for _ in range(int(draw.integers(4))):
        at, how = int(draw.integers(len(words) + 1)), int(draw.integers(5))
        if how == 0 or at == len(words):
            words.insert(at, pick(draw, WORDS))
        elif how == 1:
            words[at] = pick(draw, WORDS)
        elif how == 2 and len(words) > 1:
            del words[at]
        elif how == 3:
            words.insert(at, words[at])
        elif words[at]:
            place = int(draw.integers(len(words[at])))
            words[at] = words[at][:place] + pick(draw, ("", "x", "\0", "é", "-", "=", ",", "/", "9")) + words[at][place + 1 :]
    return words


@functools.cache
def _page():
    """The first figure of the demo alone."""
    whole = demo()
    section = replace(whole.sections[0], figures=whole.sections[0].figures[:1])
    return replace(whole, claims=(), sections=(section,), telling="")


def cli_names() -> set[str]:
    return {words[0] for words in WORKING}


def _settle(home: Path) -> None:
    """A folder of a trained run, one that is not, one that is damaged, pages, and a pipe."""
    home.mkdir(parents=True)
    (home / "analyses").mkdir()
    source = home.parent / "trained"
    if not source.is_dir():
        train(write_run(source, training__steps=2))
    shutil.copytree(source, home / "checkpoints" / "own")
    write_run(home / "checkpoints" / "fresh", training__steps=2)
    (home / "checkpoints" / "odd").mkdir()
    (home / "checkpoints" / "odd" / "run.toml").write_text("[process]\nkind = [nan]\n")
    write_documents([_page()], home / "pages")
    os.mkfifo(home / "pipe")


def _call(words: list[str], home: Path) -> tuple[int, str]:
    """Run the command line in this process; nothing is trained, for that would say nothing of the words."""
    kept = (sys.argv, Path.cwd(), study.analyses_root, runs._train, terminal.set_threads, os.environ.get(RUNS_VARIABLE))
    code, err = 0, io.StringIO()

    def work() -> None:
        nonlocal code
        try:
            cli.main()
        except (SystemExit, Exit) as stop:
            code = stop.code if isinstance(stop, SystemExit) and isinstance(stop.code, int) else 0

    try:
        sys.argv = ["mechbp", *words]
        os.chdir(home)
        os.environ.pop(RUNS_VARIABLE, None)
        study.analyses_root = lambda: home / "analyses"
        runs._train = lambda folders, fan: None
        terminal.set_threads = lambda count: None
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
            refusal_or_answer(work)
    finally:
        sys.argv, _, study.analyses_root, runs._train, terminal.set_threads, named = kept
        os.chdir(kept[1])
        os.environ.pop(RUNS_VARIABLE, None) if named is None else os.environ.update({RUNS_VARIABLE: named})
    return code, err.getvalue()
