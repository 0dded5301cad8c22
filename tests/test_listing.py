"""`mechbp list`: read from recipes and names of files, without a model; where nothing is found it says where it looked."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from small_runs import recipe, toml

from mechbp import cli
from mechbp.listing import listing
from mechbp.models.run_folder import find_run
from mechbp.study import analyses_root


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A folder of a run that is trained, one that is not, and one that cannot be read."""
    root = tmp_path / "runs"
    for name, text in (("done", toml(recipe())), ("fresh", toml(recipe())), ("odd", "[process]\nkind = 'none'\n")):
        (root / name).mkdir(parents=True)
        (root / name / "run.toml").write_text(text)
    steps = recipe()["training"]["steps"]
    for step in (0, steps):
        (root / "done" / f"step-{step:07d}.safetensors").touch()
    monkeypatch.setenv("MECHBP_RUNS", "")  # --runs sets it: taken back after every test
    monkeypatch.chdir(tmp_path)
    return root


def call(capsys, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["mechbp", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code, *capsys.readouterr()


def test_every_run_is_listed_with_the_state_of_its_training(runs, capsys, monkeypatch):
    code, out, err = call(capsys, monkeypatch, "list", "--runs", str(runs), "--json")
    told = json.loads(out)
    assert code == 0 and err == "" and told["root"] == str(runs)
    done, fresh, odd = told["runs"]
    assert done["complete"] and done["steps"][0] == 0 and len(done["steps"]) == 2 and not done["unreadable"]
    assert not fresh["complete"] and fresh["steps"] == [] and fresh["task"] == done["task"]
    assert odd["unreadable"] and odd["name"] == "odd"
    assert "tree_inference" in told["pages"]


def test_lines_and_json_tell_the_same(runs, monkeypatch):
    monkeypatch.setenv("MECHBP_RUNS", str(runs))
    lines = list(listing().lines())
    assert sum(line.startswith("run ") for line in lines) == 3 and "unreadable" in lines[2]
    assert "not trained yet (incomplete)" in lines[1] and "2 stored steps, last 40" in lines[0]
    assert str(replace(listing().runs[0], steps=(4_000,))).endswith("; 1 stored step, 4,000")


def test_runs_of_the_working_directory_are_listed_too_unless_a_folder_is_named(runs, monkeypatch):
    shutil.copytree(runs / "fresh", "mine")
    shutil.copytree(runs / "fresh", "done")
    shutil.copytree(runs, "checkpoints")
    found = {run.name: run.folder for run in listing().runs}
    assert found == {name: str(Path.cwd() / "checkpoints" / name) for name in ("done", "fresh", "odd")} | {
        "mine": str(Path.cwd() / "mine")
    }
    for name in ("done", "mine"):
        assert str(find_run(name)) == found[name]
    monkeypatch.setenv("MECHBP_RUNS", str(runs))
    assert [run.name for run in listing().runs] == ["done", "fresh", "odd"]


def test_where_nothing_is_found_it_says_where_it_looked(tmp_path, monkeypatch):
    monkeypatch.setenv("MECHBP_RUNS", str(tmp_path))
    where, cure = list(listing().lines())[:2]
    assert where.startswith(f"no run in {tmp_path}: begin one with `mechbp new NAME`") and "$MECHBP_RUNS" in cure


def test_a_folder_that_is_none_is_refused(tmp_path, capsys, monkeypatch):
    code, out, err = call(capsys, monkeypatch, "list", "--runs", str(tmp_path / "absent"))
    assert code == 2 and out == "" and "--runs" in err and "is no folder" in err


def test_no_model_library_is_loaded(runs, monkeypatch):
    program = "import sys; from mechbp.listing import listing; list(listing().lines()); print('torch' in sys.modules)"
    monkeypatch.setenv("MECHBP_RUNS", str(runs))
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=analyses_root().parent)
    assert found.stdout.strip() == "False", found.stderr
