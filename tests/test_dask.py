"""Runs on a real Dask cluster of two worker processes: a lost worker costs at most one interval, and nothing else is lost."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dask_cluster import KILLED_AT
from small_runs import RECIPE, products, write_run
from test_fanout import LONG, MECHBP, numbers, wait_for

from mechbp.models.training import train

pytestmark = pytest.mark.slow
EVERY = RECIPE["training"]["resume_every"]


@pytest.fixture(scope="module")
def cluster(request):
    """Start a cluster outside this process, where the loopback is not blocked; return the scheduler's address."""
    command = [
        sys.executable,
        str(Path(__file__).parent / "support/dask_cluster.py"),
        str(getattr(request, "param", 2)),
        "watched",
    ]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdin and process.stdout
        yield process.stdout.readline().strip()
        process.stdin.close()


@pytest.fixture
def start(tmp_path):
    """Start a command on the cluster; it does not outlive the test."""
    started = []

    def begin(address, *words):
        command = [MECHBP, *words, "--backend", "dask", "--scheduler", address]
        started.append(subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def updates(folder):
    """(pid, step) of every update of a run, as its workers counted them."""
    path = folder.with_suffix(".updates")
    return [tuple(map(int, line.split())) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_worker_killed_in_mid_training_costs_less_than_an_interval(cluster, start, tmp_path):
    alone = write_run(tmp_path / "alone")
    train(alone)
    folders = [write_run(tmp_path / name) for name in ("killed", "unharmed")]
    foreign = write_run(tmp_path / "foreign", training__learning_rate=0.5)
    (foreign / "step-0000000.safetensors").write_bytes((alone / "step-0000000.safetensors").read_bytes())
    process = start(cluster, "train", "./killed", "./foreign", "./unharmed")
    err = process.communicate(timeout=300)[1]
    assert process.returncode == 2 and "mechbp: foreign: train: " in err and "Traceback" not in err, err
    assert "killed: done in" in err and "unharmed: done in" in err and "1 of 3 failed: foreign." in err
    assert products(folders[0]) == products(folders[1]) == products(alone)

    steps = [step for _, step in updates(folders[0])]
    resumed_at = KILLED_AT - KILLED_AT % EVERY
    assert steps == [*range(KILLED_AT + 1), *range(resumed_at, RECIPE["training"]["steps"])]
    assert len({pid for pid, _ in updates(folders[0])}) == 2
    assert [step for _, step in updates(folders[1])] == list(range(RECIPE["training"]["steps"]))
    print(f'{{"repeated_updates": {KILLED_AT + 1 - resumed_at}, "resume_every": {EVERY}}}')


def held(folder):
    if not (folder / ".lock").exists():
        return False
    with (folder / ".lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@pytest.mark.long
def test_the_cluster_is_left_alone_when_the_command_is_stopped_or_dies(cluster, start, tmp_path):
    for signum, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        folders = [write_run(tmp_path / f"{signum}-{name}", training__steps=LONG) for name in "ab"]
        process = start(cluster, "train", *map(str, folders))
        wait_for(lambda folders=folders: all(len(updates(folder)) > 2 * EVERY for folder in folders), process)
        process.send_signal(signum)
        err = process.communicate(timeout=300)[1]
        assert process.returncode == code and "Traceback" not in err, err
        give_up = time.monotonic() + 60
        while any(map(held, folders)):
            assert time.monotonic() < give_up, "the trainings go on without their parent"
            time.sleep(0.05)
        assert all((folder / "resume.safetensors").exists() for folder in folders)


def test_a_worker_that_closes_hands_its_run_on(cluster, start, tmp_path):
    """Asked to end, a worker stops training at once, so that the run's lock is free when another takes it up."""
    folder = write_run(tmp_path / "run", training__steps=LONG)
    process = start(cluster, "train", "./run")
    wait_for(lambda: len(updates(folder)) > 2 * EVERY, process)
    first = updates(folder)[0][0]
    os.kill(first, signal.SIGTERM)
    wait_for(lambda: updates(folder)[-1][0] != first, process)
    process.terminate()
    process.communicate(timeout=300)
    assert process.returncode == 143


@pytest.mark.long
def test_pages_made_by_a_cluster_hold_the_same_numbers(cluster, start, tmp_path):
    run = write_run(tmp_path / "run")
    train(run)
    words = ["report", "tree_training", "tree_inference", "--run", str(run), "--quick", "--threads", "1"]
    done = subprocess.run([MECHBP, *words, "--out", str(tmp_path / "here")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    process = start(cluster, *words, "--out", str(tmp_path / "there"))
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0 and len(out.splitlines()) == 3, err
    assert numbers(tmp_path / "here") == numbers(tmp_path / "there")


@pytest.mark.long
@pytest.mark.parametrize("cluster", [0], indirect=True)
def test_a_scheduler_without_workers_or_none_at_all_is_named_within_seconds(cluster, start, tmp_path):
    write_run(tmp_path / "run")
    for address, named in ((cluster, "has no worker"), ("tcp://127.0.0.1:9", "no Dask scheduler answers"), ("x", "'x'")):
        process = start(address, "train", "./run")
        err = process.communicate(timeout=300)[1]
        assert process.returncode == 2 and err.startswith("mechbp: --scheduler: ") and named in err, err
        assert len(err.splitlines()) <= 3
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["run.toml"]
