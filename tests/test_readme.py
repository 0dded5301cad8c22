"""The README keeps its word: its example runs, and the commands, tests, folders and files it names exist."""

import re
from pathlib import Path

import typer.main

from mechbp.cli import app

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def section(title):
    return README.split(f"## {title}\n")[1].split("\n## ")[0]


def test_the_example_runs_as_printed(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {}
    exec(compile(example, "README.md", "exec"), names)
    said = capsys.readouterr().out
    assert "KL(exact || model)" in said and "of the exact change explained" in said
    assert names["grid"].r2["parent"].max() > 0.9 and (tmp_path / "parent.html").stat().st_size > 10_000


def test_the_commands_and_options_exist():
    commands = typer.main.get_command(app).commands
    named = re.findall(r"mechbp (\w+)([^`\n]*)", "\n".join(re.findall(r"`[^`\n]+`|^mechbp [^\n]+", README, re.MULTILINE)))
    assert {name for name, _ in named} == set(commands)
    for name, rest in named:
        options = {option for parameter in commands[name].params for option in parameter.opts}
        assert set(re.findall(r"--[a-z]+", rest)) <= options, name
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"report", "test"} <= set(re.findall(r"\bmake ([a-z]+)\b", README)) & targets
    assert set(re.findall(r"(?:`|^)make ([a-z]+)", README, re.MULTILINE)) <= targets


def test_every_promise_names_a_test_that_exists():
    rows = [row for row in section("What is promised, and what checks it").splitlines() if row.startswith("| ")][1:]
    assert len(rows) >= 5
    for row in rows:
        paths = re.findall(r"`(tests/[\w/.]+)`", row)
        assert paths, row
        for path in paths:
            assert (ROOT / path).exists(), path


def test_every_place_named_exists():
    for path in re.findall(r"`((?:mechbp|analyses|checkpoints|tests)/[\w/.-]*)`", README):
        assert (ROOT / path).exists(), path
