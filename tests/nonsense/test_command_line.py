"""Command lines drawn at random, none of them one that could run: exit code 2, a message of a few lines, and nothing written."""

import os
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mechbp.cli import main

COMMANDS = ("new", "report", "train", "sweep", "measure", "verify", "judge", "export", "nothing", "")
WORDS = (
    "no-such-run",
    "../x",
    "",
    "\u2026",
    "-1",
    "nan",
    "x" * 3000,
    "a\nb",
    "*",
    "--",
    "--nothing",
    "--jobs",
    "--set",
    "training.steps=",
)
NEVER = "--no-such-option"
"""No command has it, so that none of these lines can be right."""


@st.composite
def command_lines(draw):
    words = draw(st.lists(st.sampled_from(WORDS), max_size=4))
    words.insert(draw(st.integers(0, len(words))), draw(st.sampled_from((NEVER, f"{NEVER}=1"))))
    return [draw(st.sampled_from(COMMANDS)), *[word for word in words if word != "--"]]


def refused(line, capsys):
    before = set(os.listdir())
    sys.argv = ["mechbp", *line]
    with pytest.raises(SystemExit) as left:
        main()
    told = capsys.readouterr()
    assert left.value.code == 2, line
    assert "Traceback" not in told.err and len(told.err.splitlines()) <= 12, told.err
    assert set(os.listdir()) == before


@pytest.mark.parametrize("examples", [60, pytest.param(400, marks=pytest.mark.slow)])
def test_drawn_command_lines_are_refused(examples, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    quiet = settings(
        max_examples=examples, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    quiet(given(command_lines())(lambda line: refused(line, capsys)))()


@pytest.mark.parametrize(
    "line",
    [
        ["report", "no-such-page"],
        ["train", "no-such-run"],
        ["verify", "no-such-run"],
        ["measure", "\u2026"],
        ["export", "no-such-run", "out"],
        ["judge", "--methods", "no-such-method"],
        ["judge", "--grammars", "0"],
        ["new", "here", "--like", "nothing"],
        ["sweep", "no-such-run", "--set", "training.seed=0..4"],
    ],
)
def test_lines_without_a_meaning_are_refused(line, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    refused(line, capsys)
