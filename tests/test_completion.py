"""What a shell is offered while a run or a page is typed, asked as the script that `--install-completion` writes asks."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_pages import write_page

from mechbp import cli, study
from mechbp.models.starting import template_names

RUNS = ["tree-a", "tree-b", "chain-a"]


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A working directory with three named runs, one run of its own, and two pages."""
    for folder in (*(f"checkpoints/{name}" for name in RUNS), "elsewhere/far", "mine"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "run.toml").touch()
    (tmp_path / "checkpoints" / "tree-empty").mkdir()
    for page in ("page_one", "page_two"):
        write_page(tmp_path / "analyses", page)
    monkeypatch.setattr(study, "analyses_root", lambda: tmp_path / "analyses")
    monkeypatch.delenv("MECHBP_RUNS", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def offered(workplace, monkeypatch, capsys):
    """What bash is offered for the last of these words."""

    def ask(*words):
        monkeypatch.setattr(sys, "argv", ["mechbp"])
        monkeypatch.setenv("_MECHBP_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", " ".join(["mechbp", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        with pytest.raises(SystemExit):
            cli.main()
        out, err = capsys.readouterr()
        assert err == ""
        return out.split()

    return ask


TAKING_RUNS = [["train"], ["sweep"], ["measure"], ["verify"], ["export"], ["report", "--run"], ["new", "x", "--like"]]


@pytest.mark.parametrize("words", TAKING_RUNS, ids=" ".join)
def test_every_argument_that_takes_a_run_offers_runs(words, offered):
    assert offered(*words, "tree-") == ["tree-a", "tree-b"]
    assert offered(*words, "min") == ["mine"]  # of the working directory
    assert offered(*words, "page") == offered(*words, "./tree-") == []


def test_pages_are_offered_where_pages_are_named(offered):
    assert offered("report", "page") == ["page_one", "page_two"] and offered("report", "tree-") == []


def test_what_is_given_already_is_not_offered_again(offered):
    assert offered("train", "tree-a", "tree-") == ["tree-b"] and offered("report", "page_one", "page") == ["page_two"]
    assert offered("report", "--run", "tree-b", "--run", "tree-") == ["tree-a"]


def test_templates_are_offered_before_runs(offered):
    assert offered("new", "x", "--like", "") == [*template_names(), *sorted(RUNS), "mine"]


def test_the_folder_of_runs_that_was_given_is_read(offered, monkeypatch):
    assert offered("verify", "--runs", "elsewhere", "") == ["far", "mine"]
    monkeypatch.setenv("MECHBP_RUNS", "elsewhere")
    assert offered("train", "f") == ["far"]
    monkeypatch.setenv("MECHBP_RUNS", "no/where")
    assert offered("train", "") == ["mine"]


@pytest.mark.parametrize("words", [["verify", "tree-mlm"], ["report", "tree_"], ["new", "x", "--like", "t"]], ids=" ".join)
def test_completing_loads_no_torch(words):
    code = (
        "import atexit, json, sys; atexit.register(lambda: print('\\n' + json.dumps(sorted(sys.modules))))\n"
        "from mechbp.cli import main; sys.argv = ['mechbp']; main()"
    )
    asked = {"_MECHBP_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(["mechbp", *words]), "COMP_CWORD": str(len(words))}
    root = Path(cli.__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(root), **asked})
    *out, modules = done.stdout.splitlines()
    assert any(line.startswith(words[-1]) for line in out) and done.stderr == ""
    assert not {"torch", "pandas", "plotly", "transformer_lens", "sklearn"} & set(json.loads(modules))
