"""mechbp measure as a command: one run, several, in processes of their own; what is refused, said and left behind."""

import os
import shutil
import signal

import pytest
from measured_runs import FIXED, repeatable, set_settings, write_sorter
from test_cli import call, check_refusal, listing

from mechbp import jobs, terminal
from mechbp.measuring import measure as module
from mechbp.measuring.measure import measure
from mechbp.models.training import train
from mechbp.storage import InUse, exclusive

pytestmark = pytest.mark.early

QUICK = {**FIXED, "steps": "last", "draws": 4}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = write_sorter(tmp_path_factory.mktemp("commands") / "run", QUICK)
    train(folder)
    return folder


@pytest.fixture(scope="module")
def alone(trained):
    folder = shutil.copytree(trained, trained.parent / "alone")
    measure(folder)
    return repeatable(folder)


@pytest.fixture
def runs(trained, tmp_path, monkeypatch):
    """Two runs, and one whose last step is damaged."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(terminal, "set_threads", lambda count: None)
    folders = [shutil.copytree(trained, tmp_path / name) for name in ("one", "two", "damaged")]
    path = folders[2] / "step-0000060.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    return folders


@pytest.mark.parametrize("options", [[], pytest.param(["--jobs", "2"], id="two processes", marks=pytest.mark.long)])
def test_a_failure_is_named_and_the_others_hold_what_they_hold_alone(options, runs, alone, capsys, monkeypatch):
    code, out, err = call(capsys, monkeypatch, "measure", "./one", "./damaged", "./two", *options)
    assert code == 2 and out == "" and "Traceback" not in err
    assert repeatable(runs[0]) == repeatable(runs[1]) == alone and not (runs[2] / "llc.jsonl").exists()
    said = err.splitlines()
    assert any(line.startswith("mechbp: damaged: ") for line in said)
    assert said[-1] == "mechbp: measure: 1 of 3 failed: damaged."
    assert sum("step 60  fixed  llc " in line and "± " in line for line in said) == 2
    if options:
        assert sum(line.startswith(("one: step 60", "two: step 60")) for line in said) == 2


def test_on_a_run_of_ones_own(runs, capsys, monkeypatch):
    code, out, err = call(capsys, monkeypatch, "measure", "./one")
    assert (code, out) == (0, "") and "step 60  fixed  llc " in err
    before = (runs[0] / "llc.jsonl").read_bytes()
    assert call(capsys, monkeypatch, "measure", "./one")[0] == 0 and (runs[0] / "llc.jsonl").read_bytes() == before
    code, out, _ = call(capsys, monkeypatch, "verify", "./one")
    assert "pass   measurements bound to stored steps     llc.jsonl: 2 records, 1 setting" in out
    (runs[0] / "llc.jsonl").write_bytes(before.replace(b'"estimate": ', b'"estimate": -'))
    code, out, err = call(capsys, monkeypatch, "verify", "./one")
    assert code == 1 and "FAIL   measurements bound" in out and err == ""
    code, out, err = call(capsys, monkeypatch, "measure", "./one")
    assert code == 2 and "llc.jsonl is damaged: line 2" in err and len(err.splitlines()) <= 3


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["./one", "./two", "./one"], "measure: './one' and './one' are the same run"),
        (["./one", "./plain"], "plain/run.toml has no table [llc]"),
        (["./one", "./untrained"], "run untrained is not trained to its end"),
        (["./one", "./plain", "--jobs", "2"], "plain/run.toml has no table [llc]"),
        (["./one", "--backend", "dask"], "--scheduler ADDRESS"),
        (["./one", "--jobs", "0"], "--jobs"),
    ],
)
def test_a_wrong_call_is_refused_before_anything_starts(words, named, runs, capsys, monkeypatch):
    set_settings(shutil.copytree(runs[0], runs[0].parent / "plain"))
    write_sorter(runs[0].parent / "untrained", QUICK)
    before = listing(runs[0].parent)
    code, out, err = call(capsys, monkeypatch, "measure", *words)
    assert code == 2 and named in err and out == "", (out, err)
    check_refusal(code, err, words)
    assert listing(runs[0].parent) == before


def test_sigterm_ends_the_command_with_143(runs, capsys, monkeypatch):
    monkeypatch.setattr(module, "digest_of", lambda run, step: os.kill(os.getpid(), signal.SIGTERM) or "ab" * 32)
    code, _, err = call(capsys, monkeypatch, "measure", "./one", "./two")
    assert code == 143 and "measure: stopped in one; the same" in err and not (runs[1] / "llc.jsonl").exists()


def test_a_job_waits_for_a_lost_workers_lock(runs):
    with exclusive(runs[0], "measure"), pytest.raises(InUse, match="in use by process"):
        jobs._measure(lambda: None, str(runs[0]), 1, patience_s=0.3)
    assert any("step 60  fixed  llc" in line for line in jobs._measure(lambda: None, str(runs[0]), 1, patience_s=0))
