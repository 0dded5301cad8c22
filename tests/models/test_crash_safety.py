"""Killed, interrupted, refused or out of disk: nothing stored is lost, and the run ends as if nothing had happened."""

import errno
import os
import re
import resource
import signal
import sys
import time

import pytest
import torch
from small_runs import Child, products, recipe, write_run
from tampered_os import TamperedOs

from mechbp import cli, storage
from mechbp.errors import CheckpointError, MechbpError
from mechbp.models import training
from mechbp.models.checkpoint import load_checkpoint
from mechbp.models.metrics import read_metrics
from mechbp.models.run_folder import stored_steps
from mechbp.models.runs import load
from mechbp.models.training import Interrupted, train
from mechbp.models.verify import verify_run
from mechbp.randomness import rng

STEPS, EVERY = 40, 7


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = write_run(tmp_path_factory.mktemp("reference") / "run")
    began = time.monotonic()
    train(folder)
    return products(folder), time.monotonic() - began


def kill_at_random(folder, log, kills, duration_s, draw):
    """Train in real processes, each killed after a random time; return after `kills` kills and one full run."""
    heard = folder / "heard"
    for _ in range(kills):
        heard.write_text("0")
        child = Child(lambda: train(folder, lambda line: heard.write_text(str(line["step"])) and None), log)
        time.sleep(draw.uniform(0, duration_s))
        child.kill()
        assert child.wait() in (-signal.SIGKILL, 0)
        stored = [load_checkpoint(path) for path in folder.glob("*.safetensors")]
        last = recipe()["training"]["steps"]  # a finished run needs no optimiser moments
        resumable = max((c.step for c in stored if c.step == last or any("exp_avg/" in name for name in c.tensors)), default=0)
        taken = int(heard.read_text() or 0)
        assert resumable >= taken - EVERY, "more than one interval was lost"
    assert Child(lambda: train(folder), log).wait() == 0, log.read_text()
    heard.unlink()


def check_kills(tmp_path, uninterrupted, kills, seed):
    reference, duration_s = uninterrupted
    folder = write_run(tmp_path / "run")
    kill_at_random(folder, tmp_path / "log", kills, duration_s, rng(seed, "kills"))
    assert products(folder) == reference
    assert not list(folder.glob("*.tmp-*")) and not (folder / "resume.safetensors").exists()


def test_killed_8_times_at_random(tmp_path, uninterrupted):
    check_kills(tmp_path, uninterrupted, 8, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, *(pytest.param(seed, marks=pytest.mark.long) for seed in (3, 4, 5))])
def test_killed_50_times_at_random(tmp_path, uninterrupted, seed):
    check_kills(tmp_path, uninterrupted, 10, seed)


def half_then_die(descriptor, view):
    os.write(descriptor, view[: len(view) // 2])
    die()


def after(function):
    def call_then_die(*arguments):
        function(*arguments)
        die()

    return call_then_die


def fsync_folder_then_die(descriptor):
    os.fsync(descriptor)
    if os.path.isdir(f"/proc/self/fd/{descriptor}"):
        die()


DEATHS = {
    "at open": ({"open": die}, "old"),
    "after open": ({"open": after(os.open)}, "old"),
    "after half the bytes": ({"write": half_then_die}, "old"),
    "after all bytes": ({"write": after(os.write)}, "old"),
    "after fsync": ({"fsync": after(os.fsync)}, "old"),
    "before replace": ({"replace": die}, "old"),
    "after replace": ({"replace": after(os.replace)}, "new"),
    "after the folder's fsync": ({"fsync": fsync_folder_then_die}, "new"),
}


@pytest.mark.parametrize("moment", DEATHS)
def test_death_inside_the_writer_leaves_the_old_file_or_the_new_one(moment, tmp_path):
    replaced, expected = DEATHS[moment]
    folder = tmp_path / "run"
    folder.mkdir()
    path = folder / "resume.safetensors"
    storage.atomic_write(path, b"old" * 1000)

    def write():
        storage.os = TamperedOs(**replaced)  # type: ignore[assignment]
        storage.atomic_write(path, b"new" * 1000)

    assert Child(write, tmp_path / "log").wait() == -signal.SIGKILL
    assert path.read_bytes() == expected.encode() * 1000
    storage.sweep_temporaries(folder)
    storage.atomic_write(path, b"next")
    assert [p.name for p in folder.iterdir()] == ["resume.safetensors"] and path.read_bytes() == b"next"


def test_the_order_of_a_write(tmp_path, monkeypatch):
    calls, names = [], {}

    def recording(name):
        def call(*arguments):
            result = getattr(os, name)(*arguments)
            if name == "open":
                names[result] = "folder" if os.path.isdir(arguments[0]) else "temporary"
            calls.append((name, names.get(result if name == "open" else arguments[0], "temporary onto target")))
            return result

        return call

    monkeypatch.setattr(storage, "os", TamperedOs(**{n: recording(n) for n in ("open", "write", "fsync", "replace", "close")}))
    storage.atomic_write(tmp_path / "file", b"data")
    assert calls == [
        ("open", "temporary"),
        ("write", "temporary"),
        ("fsync", "temporary"),
        ("close", "temporary"),
        ("replace", "temporary onto target"),
        ("open", "folder"),
        ("fsync", "folder"),
        ("close", "folder"),
    ]


def test_short_writes_are_continued(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "os", TamperedOs(write=lambda descriptor, view: os.write(descriptor, view[:3])))
    storage.atomic_write(tmp_path / "file", b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def failing(number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("replaced", "reason"),
    [
        ({"write": failing(errno.ENOSPC)}, "No space left on device"),
        ({"fsync": failing(errno.EIO)}, "Input/output error"),
        ({"open": failing(errno.EROFS)}, "Read-only file system"),
        ({"open": failing(errno.EACCES)}, "Permission denied"),
        ({"replace": failing(errno.ENOSPC)}, "No space left on device"),
    ],
)
def test_a_failing_disk_leaves_the_old_file(replaced, reason, tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(storage, "os", TamperedOs(**replaced))
    with pytest.raises(MechbpError, match=f"cannot write {re.escape(str(path))}: {reason}. Free space or") as caught:
        storage.atomic_write(path, b"new")
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["file"] and path.read_bytes() == b"old"


def test_a_real_limit_on_file_sizes(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    path = folder / "file"
    path.write_bytes(b"old")

    def write():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        try:
            storage.atomic_write(path, b"new" * 1000)
        except MechbpError as error:
            assert "File too large" in str(error)
            return 3
        return 0

    child = Child(write, tmp_path / "log")
    assert child.wait() == 3, child.output
    assert [p.name for p in folder.iterdir()] == ["file"] and path.read_bytes() == b"old"


def test_missing_folder_and_path_that_is_a_folder(tmp_path):
    with pytest.raises(MechbpError, match="cannot write .*: No such file or directory"):
        storage.atomic_write(tmp_path / "absent" / "file", b"")
    (tmp_path / "file").mkdir()
    with pytest.raises(MechbpError, match="cannot write .*: Is a directory"):
        storage.atomic_write(tmp_path / "file", b"")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_during_training_loses_nothing_stored(tmp_path, uninterrupted, monkeypatch):
    folder = write_run(tmp_path / "run")
    writes = iter(range(10**6))

    def fill_up(descriptor, view):
        if next(writes) > 8:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(descriptor, view)

    with monkeypatch.context() as patched:
        patched.setattr(storage, "os", TamperedOs(write=fill_up))
        with pytest.raises(MechbpError, match="No space left"):
            train(folder)
    train(folder)
    assert products(folder) == uninterrupted[0]


def test_only_our_own_stale_temporaries_are_swept(tmp_path):
    dead = Child(lambda: 0, tmp_path / "log")
    dead.wait()
    kept = [
        f"resume.safetensors.tmp-{os.getpid()}",
        f"notes.tmp-{dead.pid}",
        "metrics.jsonl.tmp-99999999999999999999",
        "metrics.jsonl.tmp-",
        "log",
    ]
    for name in [*kept, f"step-0000032.safetensors.tmp-{dead.pid}", f"metrics.jsonl.tmp-{dead.pid}"]:
        (tmp_path / name).touch()
    (tmp_path / f"resume.safetensors.tmp-{dead.pid}").mkdir()
    storage.sweep_temporaries(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {*kept, f"resume.safetensors.tmp-{dead.pid}"}


def test_a_second_trainer_refuses_and_names_the_first(tmp_path):
    folder = write_run(tmp_path / "run", training__steps=10**6)
    child = Child(lambda: train(folder), tmp_path / "log")
    while not (folder / "metrics.jsonl").exists():
        time.sleep(0.01)
    with pytest.raises(MechbpError, match=f"train: .*run is in use by process {child.pid}. Wait for it to end, or stop it."):
        train(folder)
    child.kill()
    child.wait()
    with storage.exclusive(folder, "train"):  # a killed holder holds nothing
        pass


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stores_the_state_and_is_told_by_the_exit_code(signum, code, tmp_path, uninterrupted):
    folder = write_run(tmp_path / "run", training__resume_every=10**6)
    took = tmp_path / "took"

    def command():
        real = training._Trainer._update

        def update(self):
            if self.step == 17:
                os.kill(os.getpid(), signum)
            return real(self)

        training._Trainer._update = update  # type: ignore[method-assign]
        sys.argv = ["mechbp", "train", str(folder)]
        cli.main()

    child = Child(command, took)
    assert child.wait() == code, child.output
    assert "train: stopped at step 18 of 40; the same command resumes it." in child.output
    assert load_checkpoint(folder / "resume.safetensors").step == 18
    train(folder)
    assert products(folder)["metrics"] == uninterrupted[0]["metrics"]  # the files differ: resume_every is in their recipe


def stop_at(step, monkeypatch):
    """From here on every training ends with Interrupted once `step` is reached."""
    real = training._Trainer._update

    def update(self):
        loss = real(self)
        if self.step == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return loss

    monkeypatch.setattr(training._Trainer, "_update", update)


@pytest.mark.parametrize("n", [1, 2, 5, 7, 20])
def test_training_to_2n_equals_n_then_resumed(n, tmp_path, monkeypatch):
    whole = write_run(tmp_path / "whole", training__steps=2 * n)
    train(whole)
    halves = write_run(tmp_path / "halves", training__steps=2 * n)
    with monkeypatch.context() as patched:
        stop_at(n, patched)
        with pytest.raises(Interrupted):
            train(halves)
    train(halves)
    assert products(halves) == products(whole)


def test_sigterm_on_the_last_step_is_a_finished_run(tmp_path, uninterrupted, monkeypatch):
    folder = write_run(tmp_path / "run")
    stop_at(STEPS, monkeypatch)
    train(folder)
    assert products(folder) == uninterrupted[0]


def test_a_finished_run_is_left_alone(tmp_path, uninterrupted):
    folder = write_run(tmp_path / "renamed-by-its-owner")
    train(folder)
    before = {p.name: (p.stat().st_mtime_ns, p.stat().st_ino) for p in folder.iterdir() if p.name != ".lock"}
    train(folder)
    assert before == {p.name: (p.stat().st_mtime_ns, p.stat().st_ino) for p in folder.iterdir() if p.name != ".lock"}
    assert products(folder) == uninterrupted[0]


def test_metrics_are_cut_back_to_the_state_that_is_resumed(tmp_path, uninterrupted, monkeypatch):
    folder = write_run(tmp_path / "run")
    stop_at(14, monkeypatch)
    with pytest.raises(Interrupted):
        train(folder)
    monkeypatch.undo()
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 33, "from": "a future that was lost"}\n')
    train(folder)
    assert products(folder) == uninterrupted[0]


def test_stored_files_of_another_recipe_are_refused(tmp_path, monkeypatch):
    folder = write_run(tmp_path / "run")
    stop_at(3, monkeypatch)
    with pytest.raises(Interrupted):
        train(folder)
    monkeypatch.undo()
    (folder / "resume.safetensors").unlink()
    text = (folder / "run.toml").read_text()
    (folder / "run.toml").write_text(text.replace("learning_rate = 0.01", "learning_rate = 0.02"))
    with pytest.raises(CheckpointError, match="step-0000000.safetensors belongs to another recipe than the run.toml beside it"):
        train(folder)


def test_a_damaged_state_is_named(tmp_path, monkeypatch):
    folder = write_run(tmp_path / "run")
    stop_at(3, monkeypatch)
    with pytest.raises(Interrupted):
        train(folder)
    monkeypatch.undo()
    state = folder / "resume.safetensors"
    state.write_bytes(state.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="resume.safetensors is damaged"):
        train(folder)


@pytest.mark.parametrize(
    "row", ["{", "5", "[]", "{}", '{"step": "x"}', '{"step": true}', '{"step": 1, "wall_s": "x"}', "[" * 100_000]
)
def test_damaged_metrics_are_named(row, tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0}\n' + row + "\n")
    with pytest.raises(CheckpointError, match="metrics.jsonl is damaged: line 2: "):
        training.read_metrics(path)


def test_a_diverging_run_stops_and_says_so(tmp_path):
    folder = write_run(tmp_path / "run", training__learning_rate=10.0, training__gradient_clip=0.0, training__warmup_steps=0)
    real = training.training_loss
    try:
        training.training_loss = lambda read, batch, loss: real(read, batch, loss) * torch.nan
        with pytest.raises(MechbpError, match="train: the loss became nan at step 1 of run"):
            train(folder)
    finally:
        training.training_loss = real


def test_a_second_interrupt_does_not_wait_for_the_state(tmp_path, monkeypatch):
    def interrupt_twice(line):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    folder = write_run(tmp_path / "run", training__resume_every=10**6)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(folder, interrupt_twice)
    assert not (folder / "resume.safetensors").exists() and signal.getsignal(signal.SIGINT) is before


def test_metrics_of_steps_that_stay_stored_stay_too(tmp_path, uninterrupted):
    """Ended twice, the second time sooner: what was stored by then is still told of, and nothing seems damaged."""
    folder = write_run(tmp_path / "run", training__resume_every=10**6)

    def end_at(step):
        def on_step(line):
            if line["step"] == step:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(folder, on_step)

    end_at(STEPS - 1)
    told = [row["step"] for row in read_metrics(folder / "metrics.jsonl") if row["step"] <= stored_steps(folder)[-1]]
    end_at(5)
    assert len(told) > 2 and [row["step"] for row in read_metrics(folder / "metrics.jsonl")] == told
    assert {check.verdict for check in verify_run(load(folder))} <= {"pass", "short"}
    train(folder)
    assert products(folder)["metrics"] == uninterrupted[0]["metrics"]
