"""Several runs or pages at once: the same bytes as one after the other, failures named and the others done, signals obeyed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_runs import Child, products, write_run
from test_cli import call, check_refusal, listing
from tiny_pages import write_page

from mechbp import fanout, jobs, study, terminal
from mechbp.errors import InputError
from mechbp.models.checkpoint import load_checkpoint
from mechbp.models.runs import load
from mechbp.models.training import train
from mechbp.storage import InUse, exclusive

pytestmark = pytest.mark.early

REPORTS = Path(__file__).resolve().parents[1] / "reports"
MECHBP = str(Path(sys.executable).with_name("mechbp"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = write_run(tmp_path_factory.mktemp("alone") / "run")
    train(folder)
    return folder


@pytest.fixture
def three(tmp_path, monkeypatch):
    """Three runs; ./foreign holds a step of another recipe, which only its training finds out."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(terminal, "set_threads", lambda count: None)
    folders = [write_run(tmp_path / name) for name in ("one", "two", "foreign")]
    train(write_run(tmp_path / "other", training__steps=1))
    (tmp_path / "other" / "step-0000000.safetensors").rename(folders[2] / "step-0000000.safetensors")
    return folders


@pytest.mark.parametrize("options", [[], pytest.param(["--jobs", "2"], id="two processes", marks=pytest.mark.slow)])
def test_a_failure_is_named_and_the_others_end_with_the_bytes_they_have_alone(options, three, alone, capsys, monkeypatch):
    code, out, err = call(capsys, monkeypatch, "train", "./one", "./foreign", "./two", *options)
    assert code == 2 and out == ""
    assert products(three[0]) == products(three[1]) == products(alone)
    failures = [line for line in err.splitlines() if line.startswith("mechbp: ")]
    assert len(failures) == 2 and failures[0].startswith("mechbp: foreign: train: ") and "another recipe" in failures[0]
    assert failures[1] == "mechbp: train: 1 of 3 failed: foreign."
    assert bool(options) == bool(re.search(r"^two: done in \d+\.\d s \([123] of 3\)$", err, re.MULTILINE))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["train", "./one", "./two", "./one"], "'./one' and './one' are the same run"),
        (["train", "./one", "./two", "./two/../one"], "'./one' and './two/../one' are the same run"),
        (["train", "./one", "./bad"], "bad/run.toml"),
        (["train", "./one", "./bad", "--jobs", "2"], "bad/run.toml"),
        (["train", "./one", "./nope", "--jobs", "2"], "'./nope'"),
        (["train", "./one", "--jobs", "0"], "--jobs"),
        (["train", "./one", "--jobs", "x"], "--jobs"),
        (["train", "./one", "--jobs", "1e9"], "--jobs"),
        (["train", "./one", "--backend", "nope"], "--backend"),
        (["train", "./one", "--backend", "dask"], "--scheduler ADDRESS"),
        (["train", "./one", "--scheduler", "tcp://127.0.0.1:8786"], "--backend dask"),
        (["train", "./one", "--backend", "dask", "--scheduler", "x", "--jobs", "2"], "--jobs"),
        (["report", "--backend", "dask"], "--scheduler ADDRESS"),
        (["report", "--scheduler", ""], "--backend dask"),
    ],
)
def test_a_wrong_call_is_refused_before_anything_starts(words, named, three, capsys, monkeypatch):
    write_run(three[0].parent / "bad", training__steps=0)
    before = listing(three[0].parent)
    code, out, err = call(capsys, monkeypatch, *words)
    assert code == 2 and named in err and out == "", (out, err)
    check_refusal(code, err, words)
    assert listing(three[0].parent) == before


def test_without_dask_the_error_says_what_to_install(three, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    code, _, err = call(capsys, monkeypatch, "train", "./one", "--backend", "dask", "--scheduler", "tcp://127.0.0.1:9")
    assert code == 2 and "pip install 'mechbp[dask]'" in err and len(err.splitlines()) == 1


def test_a_page_made_by_a_job_has_the_same_content_and_the_command_that_was_typed(tmp_path, alone, monkeypatch):
    write_page(tmp_path, "tiny", runs=("tiny",))
    monkeypatch.setattr(study, "analyses_root", lambda: tmp_path)
    here = study.analyse("tiny", study.Study((load(alone),), True, lambda text: None))
    told = json.loads(jobs._analyse(lambda: None, "tiny", [str(alone)], True, 1, "mechbp report tiny"))
    assert told["sections"][0]["text"] == list(here.sections[0].text) and told["provenance"]["command"] == "mechbp report tiny"
    assert told["provenance"]["runs"] == here.provenance.runs
    monkeypatch.chdir(tmp_path)
    shutil.copytree(alone, tmp_path / "checkpoints" / "tiny")
    own = json.loads(jobs._analyse(lambda: None, "tiny", None, True, 1, "mechbp report"))  # finds the runs it names
    assert list(own["provenance"]["runs"]) == ["tiny"]


def test_a_page_says_on_which_device_its_runs_computed(tmp_path, alone, monkeypatch):
    write_page(tmp_path, "tiny", runs=("tiny",))
    monkeypatch.setattr(study, "analyses_root", lambda: tmp_path)
    for device in ("cpu", "cuda:0"):  # the page reads no weights
        run = replace(load(alone), device=torch.device(device))
        assert study.analyse("tiny", study.Study((run,), True, lambda text: None)).provenance.device == device


def test_a_job_for_an_analysis_that_studies_no_run_looks_for_none(tmp_path, monkeypatch):
    write_page(tmp_path, "alone", family=None)
    monkeypatch.setattr(study, "analyses_root", lambda: tmp_path)
    cluster = Written(1, "tcp://127.0.0.1:1", 1)
    assert not list(jobs.analyse_all(jobs.parts_of(["alone"], [], cluster), True, "x", cluster))
    for folders in (None, cluster.__dict__["jobs"][0][1]):
        told = json.loads(jobs._analyse(lambda: None, "alone", folders, True, 1, "x"))
        assert " [] " in told["sections"][0]["text"][0]


class Written(jobs.Fan):
    """Writes down the jobs instead of running them."""

    def outcomes(self, work, jobs, *, storing):
        self.__dict__["jobs"] = [(name, folders) for name, folders, *_ in jobs]
        return iter(())


def test_the_page_that_took_longest_starts_first_and_each_job_knows_its_runs(alone, monkeypatch):
    names = ["tree_beyond", "tree_levels", "tree_samples"]
    monkeypatch.setattr(study, "recorded_seconds", dict(zip(names, (2.0, 9.0, 5.0), strict=True)).get)
    here, cluster = Written(2, None, 1), Written(1, "tcp://127.0.0.1:1", 1)
    assert not list(jobs.analyse_all(jobs.parts_of(names, [], here), True, "x", here))
    assert here.__dict__["jobs"] == [("tree_levels", None), ("tree_samples", None), ("tree_beyond", None)]
    assert not list(jobs.analyse_all(jobs.parts_of(names[:1], [str(alone)], here), True, "x", here))
    assert here.__dict__["jobs"] == [("tree_beyond", [str(alone.resolve())])]
    assert not list(
        jobs.analyse_all(jobs.parts_of(names[:1], [], cluster), True, "x", cluster)
    )  # a worker may stand in another folder
    assert all(Path(folder).is_absolute() for folder in cluster.__dict__["jobs"][0][1])


def test_runs_that_are_studied_one_by_one_have_a_job_each_and_one_page(tmp_path, alone, monkeypatch):
    write_page(tmp_path, "tiny", runs=("own", "other"), by_run=True)
    monkeypatch.setattr(study, "analyses_root", lambda: tmp_path)
    fan = Written(2, None, 1)
    assert not list(jobs.analyse_all(jobs.parts_of(["tiny"], [], fan), True, "x", fan))
    assert fan.__dict__["jobs"] == [("tiny", ["own"]), ("tiny", ["other"])]
    twin = shutil.copytree(alone, tmp_path / "twin")
    (document,) = jobs.analyse_all(
        jobs.parts_of(["tiny"], [str(alone), str(twin)], Here(2, None, 1)), True, "x", Here(2, None, 1)
    )
    assert list(document.provenance.runs) == [alone.name, "twin"] and len(document.sections) == 1


def test_two_runs_of_one_name_are_no_parts_of_one_page(tmp_path, alone, monkeypatch):
    write_page(tmp_path, "tiny", runs=("own",), by_run=True)
    monkeypatch.setattr(study, "analyses_root", lambda: tmp_path)
    twin = shutil.copytree(alone, tmp_path / "elsewhere" / alone.name)
    here = Here(2, None, 1)
    (part,) = jobs.parts_of(["tiny"], [str(alone), str(twin)], here)
    with pytest.raises(InputError, match="two runs are named"):
        list(jobs.analyse_all([part], True, "x", here))


class Here(jobs.Fan):
    """Runs the jobs one after the other in this process, the last one first."""

    def outcomes(self, work, jobs, *, storing):
        for index in reversed(range(len(jobs))):
            yield fanout.Outcome(index, 0.0, work(lambda: None, *jobs[index]))


def test_how_long_a_page_took_is_read_from_its_record(tmp_path, monkeypatch):
    assert study.recorded_seconds("tree_levels") == pytest.approx(study.load(REPORTS / "tree_levels.json").provenance.wall_s)
    monkeypatch.setattr(study, "analyses_root", lambda: tmp_path / "analyses")
    monkeypatch.chdir(tmp_path)
    assert study.recorded_seconds("tree_levels") == 0


def test_a_job_waits_for_a_lost_workers_lock(tmp_path, alone):
    folder = write_run(tmp_path / "run")

    def hold():
        with exclusive(folder, "train"):
            (tmp_path / "held").touch()
            time.sleep(1)

    holder = Child(hold, tmp_path / "log")
    while not (tmp_path / "held").exists():
        time.sleep(0.01)
    with pytest.raises(InUse, match=f"in use by process {holder.pid}"):
        jobs._train(lambda: None, str(folder), 1, patience_s=0)
    jobs._train(lambda: None, str(folder), 1, patience_s=60)
    assert holder.wait() == 0 and products(folder) == products(alone)


def test_whatever_a_job_raises_becomes_one_line():
    def work(check, error):
        raise error

    outcome = fanout._outcome(work, lambda: None, 3, (ZeroDivisionError("a\nb"),))
    assert (outcome.index, outcome.value) == (3, None) and outcome.failure.startswith("ZeroDivisionError: a b (")


LONG = 100_000
"""Steps of a run that a test stops: minutes, so that nothing goes on for hours where the test itself is killed."""


@pytest.fixture
def start(tmp_path):
    """Start `mechbp train ...` in a session of its own, whose processes do not outlive the test."""
    # An interactive shell leaves SIGINT to Python; what starts tests in the background may not.
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "from mechbp.cli import main; sys.argv[0] = 'mechbp'; main()"
    started = []

    def begin(*words):
        command = [sys.executable, "-c", code, "train", *words]
        started.append(subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True))
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:  # only then its group is surely still its own
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def wait_for(condition, process):
    give_up = time.monotonic() + 240
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < give_up
        time.sleep(0.05)


def children(process):
    """The pids of a process's loky workers."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            stat, line = (path / "stat").read_text(), (path / "cmdline").read_text()
        except OSError:
            continue
        if int(stat.rpartition(")")[2].split()[1]) == process.pid and "popen_loky" in line:
            found.append(int(path.name))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [pytest.param(signal.SIGTERM, 143, marks=pytest.mark.long), (signal.SIGINT, 130)])
def test_a_signal_lets_every_training_store_its_state(signum, code, start, tmp_path):
    """As a terminal does, SIGINT goes to the whole group."""
    for name in "abc":
        write_run(tmp_path / name, training__steps=LONG, training__resume_every=10**6)
    process = start("./a", "./b", "./c", "--jobs", "2")
    wait_for(lambda: all((tmp_path / name / "step-0000032.safetensors").exists() for name in "ab"), process)
    workers = children(process)
    assert len(workers) == 2
    (os.killpg if signum == signal.SIGINT else os.kill)(process.pid, signum)
    err = process.communicate(timeout=300)[1]
    assert process.returncode == code, err
    for name in "ab":
        step = load_checkpoint(tmp_path / name / "resume.safetensors").step
        assert step >= 32 and f"mechbp: {name}: train: stopped at step {step} of {LONG}" in err
    assert "mechbp: c: stopped" in err and [path.name for path in (tmp_path / "c").iterdir()] == ["run.toml"]
    assert "Traceback" not in err and not any(os.path.exists(f"/proc/{pid}/exe") for pid in workers)


@pytest.mark.long
def test_a_signal_before_any_training_starts_ends_cleanly(start, tmp_path):
    for name in "abc":
        write_run(tmp_path / name, training__steps=LONG)
    process = start("./a", "./b", "./c", "--jobs", "2")
    wait_for(lambda: len(children(process)) == 2, process)
    os.killpg(process.pid, signal.SIGINT)
    err = process.communicate(timeout=300)[1]
    assert process.returncode == 130 and "Traceback" not in err, err
    assert listing(tmp_path) == sorted(f"{tmp_path}/{name}{file}" for name in "abc" for file in ("", "/run.toml"))


@pytest.mark.long
def test_a_killed_process_is_an_error_and_a_killed_parent_stops_its_trainings(start, tmp_path):
    for name in "ab":
        write_run(tmp_path / name, training__steps=LONG, training__resume_every=10**6)
    process = start("./a", "./b", "--jobs", "2")
    wait_for(lambda: all((tmp_path / name / "step-0000032.safetensors").exists() for name in "ab"), process)
    os.kill(children(process)[0], signal.SIGKILL)
    err = process.communicate(timeout=300)[1]
    assert process.returncode == 2 and "mechbp: a process was killed from outside" in err and "Traceback" not in err, err

    locks = [tmp_path / name / ".lock" for name in "ab"]
    for lock in locks:
        lock.unlink(missing_ok=True)
    process = start("./a", "./b", "--jobs", "2")
    wait_for(lambda: all(lock.exists() and lock.read_text() for lock in locks), process)
    workers = children(process)
    process.kill()
    process.communicate(timeout=300)
    give_up = time.monotonic() + 60
    while any(os.path.exists(f"/proc/{pid}/exe") for pid in workers):
        assert time.monotonic() < give_up, "the trainings go on without their parent"
        time.sleep(0.05)
    assert all(load_checkpoint(tmp_path / name / "resume.safetensors").step > 0 for name in "ab")


def numbers(folder):
    """Every document of a folder without its provenance."""
    found = {path.name: json.loads(path.read_text()) for path in folder.glob("*.json")}
    return {name: {k: v for k, v in document.items() if k != "provenance"} for name, document in found.items()}


@pytest.mark.long
def test_pages_made_by_two_processes_hold_the_same_numbers(tmp_path, alone):
    words = ["report", "exact_answers", "tree_training", "tree_inference", "--run", str(alone), "--quick", "--threads", "1"]
    for processes in ("1", "2"):
        command = [MECHBP, *words, "--jobs", processes, "--out", str(tmp_path / processes)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == 4
    assert len(numbers(tmp_path / "1")) == 3 and numbers(tmp_path / "1") == numbers(tmp_path / "2")
