"""What only looks like a file, or says too much, is refused at once, and costs nothing but itself."""

import contextlib
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from demo import provenance
from small_runs import recipe, toml, write_run

from mechbp import storage
from mechbp.errors import CheckpointError, InputError, MechbpError
from mechbp.listing import listing
from mechbp.models.checkpoint import load_checkpoint
from mechbp.models.config import read_recipe
from mechbp.models.llc_records import read_records
from mechbp.models.metrics import read_metrics
from mechbp.models.numbers import read_numbers
from mechbp.models.recipe_edits import Setting, changed
from mechbp.models.run_folder import stored_steps
from mechbp.models.starting import new_run, sweep
from mechbp.models.training import train
from mechbp.report.criteria import Criteria
from mechbp.report.document import Document, FigureData, Section, dumps, load, loads
from mechbp.report.folder import check_folder, render_folder, write_documents
from mechbp.report.replaced import replaced_runs


class Hang(BaseException):
    """Not an Exception: nothing may swallow it."""


@contextlib.contextmanager
def at_once(seconds=10):
    """Fail where the block waits for something that never comes."""

    def give_up(*_):
        raise Hang

    previous = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def document(slug="page", value=1.0):
    data = {"y_title": "y", "categories": ["a", "b"], "series": [{"name": "s", "y": [value, 2.0]}]}
    figure = FigureData("fig-one", "bars", "One", "A number.", "Bars.", data)
    return Document(slug, "A page", "It asks.", (), (Section("one", "One", ("Text.",), (figure,)),), provenance())


READERS = {
    "step-0000001.safetensors": load_checkpoint,
    "resume.safetensors": load_checkpoint,
    "metrics.jsonl": read_metrics,
    "llc.jsonl": read_records,
    "run.toml": read_recipe,
    "edited.toml": lambda path: changed(path, []),
    "table.json": lambda path: read_numbers(path.parent, path.name, "here"),
    "page.json": load,
    "criteria.toml": Criteria.read,
    "replaced.toml": replaced_runs,
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_regular_file_is_refused_at_once(name, kind, tmp_path):
    path = tmp_path / name
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with at_once(), pytest.raises(MechbpError, match="Is a directory|it is no regular file|leads outside") as caught:
        READERS[name](path)
    assert path.name in str(caught.value) and str(caught.value).count("\n") <= 2


@pytest.mark.parametrize("name", [name for name in READERS if "safetensors" not in name])
def test_a_file_of_a_terabyte_is_refused_unread(name, tmp_path):
    with (tmp_path / name).open("wb") as file:
        file.truncate(2**40)
    with at_once(), pytest.raises(MechbpError):
        READERS[name](tmp_path / name)


def test_a_pipe_that_has_a_writer_is_refused_too(tmp_path):
    os.mkfifo(tmp_path / "run.toml")
    writer = os.open(tmp_path / "run.toml", os.O_RDWR | os.O_NONBLOCK)
    with at_once(), pytest.raises(InputError, match="no regular file"):
        read_recipe(tmp_path / "run.toml")
    os.close(writer)


@pytest.mark.parametrize("name", ["step-0000032.safetensors", "resume.safetensors", "metrics.jsonl", ".lock"])
def test_training_beside_a_pipe_refuses_and_adds_nothing(name, tmp_path):
    folder = write_run(tmp_path / "run")
    os.mkfifo(folder / name)
    if name == "metrics.jsonl":
        train(write_run(tmp_path / "done"))
        for path in (tmp_path / "done").glob("*.safetensors"):
            path.rename(folder / path.name)
    before = sorted(folder.iterdir())
    with at_once(60), pytest.raises(MechbpError, match="no regular file"):
        train(folder)
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to("/dev/zero"), lambda path: os.mkfifo(path)])
def test_a_lock_that_is_no_file_is_refused(make, tmp_path):
    make(tmp_path / ".lock")
    with at_once(), pytest.raises(MechbpError, match="train: .*/.lock"), storage.exclusive(tmp_path, "train"):
        pass


def test_who_holds_a_lock_is_told_as_a_number_or_not_at_all(tmp_path):
    with storage.exclusive(tmp_path, "train"):
        (tmp_path / ".lock").write_text("\x1b[31mme")
        with pytest.raises(storage.InUse, match="by process unknown"), storage.exclusive(tmp_path, "train"):
            pass


def test_a_lock_is_gone_once_it_is_released_and_never_another_s(tmp_path):
    with storage.exclusive(tmp_path, "train"):
        assert (tmp_path / ".lock").exists()
    assert not list(tmp_path.iterdir())
    with storage.exclusive(tmp_path, "train"):
        (tmp_path / ".lock").unlink()
        with storage.exclusive(tmp_path, "measure"):
            inner = (tmp_path / ".lock").stat().st_ino
    with storage.exclusive(tmp_path, "train"):
        (tmp_path / ".lock").unlink()
        (tmp_path / ".lock").write_text("another's")
        inner = (tmp_path / ".lock").stat().st_ino
    assert (tmp_path / ".lock").stat().st_ino == inner


def test_a_lock_that_its_holder_removed_between_open_and_lock_is_taken_anew(tmp_path, monkeypatch):
    real, calls = storage.fcntl.flock, []

    def flock(descriptor, how):
        if not calls:
            (tmp_path / ".lock").unlink()
        calls.append(how)
        real(descriptor, how)

    monkeypatch.setattr(storage.fcntl, "flock", flock)
    with storage.exclusive(tmp_path, "train"):
        assert (tmp_path / ".lock").read_text() == str(os.getpid()) and len(calls) == 2


def test_a_start_that_is_not_there_leaves_nothing(tmp_path):
    folder = write_run(tmp_path / "run", start__run="nope", start__sha256="a" * 64)
    with pytest.raises(InputError, match="start.run: .*nope holds no stored step"):
        train(folder)
    assert [path.name for path in folder.iterdir()] == ["run.toml"]


def test_a_run_starts_from_the_last_step_by_number_not_by_name(tmp_path):
    source = write_run(tmp_path / "source", training__steps=2)
    train(source)
    last = load_checkpoint(source / "step-0000002.safetensors")
    (source / "step-0000002.safetensors").rename(source / "step-10000000.safetensors")
    (source / "step-0000000.safetensors").rename(source / "step-9999999.safetensors")
    assert stored_steps(source) == (9_999_999, 10_000_000)
    other = write_run(tmp_path / "other", start__run="source", start__sha256=last.digest, training__steps=1)
    train(other)
    assert (other / "step-0000001.safetensors").exists()


def test_step_files_that_no_step_is_called_are_none(tmp_path):
    for name in (
        "step-00000001.safetensors",
        "step-mine.safetensors",
        "step-\u0660000001.safetensors",
        "step-0000003.safetensors",
    ):
        (tmp_path / name).touch()
    assert stored_steps(tmp_path) == (3,) and stored_steps(tmp_path / "absent") == ()


BAD_RECIPES = {
    "a list as kind": "[process]\nkind = [nan]\n",
    "a table as kind": "[process]\nkind = {a = 1}\n[model]\nkind = {}\n",
    "no text": "\udcff\0",
    "too deep": "[process]\nx = " + "[" * 900 + "]" * 900 + "\n",
    "a number of thousands of digits": "[training]\nsteps = 1" + "0" * 5000 + "\n",
}


@pytest.mark.parametrize("kind", BAD_RECIPES)
def test_one_bad_recipe_is_one_line_of_the_list(kind, tmp_path, monkeypatch):
    for name, text in (("a", toml(recipe())), ("b", BAD_RECIPES[kind]), ("c", toml(recipe()))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.toml").write_text(text, errors="surrogateescape")
    os.mkfifo(tmp_path / "d")  # no run
    (tmp_path / "e").mkdir()
    os.mkfifo(tmp_path / "e" / "run.toml")
    monkeypatch.setenv("MECHBP_RUNS", str(tmp_path))
    with at_once():
        told = listing().runs
    assert [run.name for run in told if not run.unreadable] == ["a", "c"]
    assert [run.name for run in told if run.unreadable] == ["b", "e"]
    assert all("\n" not in str(run) for run in told)


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x05\x06" + bytes(18),
        b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }" + b" " * 40 + b"\n",
        b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }" + b" " * 50 + b"\n",
        b"\x93NUMPY\x03\x00",
        b"\x93NUMPY\x01\x00\x10\x00__import__('os')\n",
    ],
)
def test_arrays_that_promise_too_much_are_refused(content, tmp_path):
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(InputError, match="holds no numbers"):
        read_numbers(tmp_path, "x.npy", "here")
    np.save(tmp_path / "x.npy", np.eye(2))
    assert read_numbers(tmp_path, "x.npy", "here") == [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize("value", [10**400, -(10**400), 1e308, -1e151, 10**151])
def test_numbers_beyond_what_pictures_can_hold_are_refused_before_anything_is_written(value, tmp_path):
    tree = json.loads(dumps(document()))
    tree["sections"][0]["figures"][0]["data"]["series"][0]["y"][0] = value
    (tmp_path / "page.json").write_text(json.dumps(tree))
    for attempt in (render_folder, check_folder):
        with pytest.raises(InputError, match="page.json: .*is beyond 1e[+]150") as caught:
            attempt(tmp_path)
        assert len(str(caught.value)) < 300
    assert [path.name for path in tmp_path.iterdir()] == ["page.json"]


@pytest.mark.parametrize("value", [1e150, -1e150, 1e-300, 10**149])
def test_the_largest_numbers_that_are_accepted_make_a_page(value, tmp_path):
    write_documents([document(value=value)], tmp_path)
    assert (tmp_path / "page.html").exists()


@pytest.mark.parametrize("text", ["1" * 5000, "[" * 100_000, '{"provenance": ' + "[" * 900 + "]" * 900 + "}", "NaN"])
def test_json_that_python_cannot_hold_is_refused(text):
    with pytest.raises(InputError, match="^there: "):
        loads(text, "there")


def test_a_slug_that_is_taken_is_refused_before_anything_is_written(tmp_path):
    (tmp_path / "one.json").write_text(dumps(document("same")))
    (tmp_path / "two.json").write_text(dumps(document("same")))
    for attempt in (render_folder, check_folder, lambda folder: write_documents([document("new")], folder)):
        with pytest.raises(InputError, match="one.json and two.json both have the slug 'same'"):
            attempt(tmp_path)
    (tmp_path / "two.json").unlink()
    with pytest.raises(InputError, match="one.json and same.json both have the slug"):
        write_documents([document("same")], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["one.json"]


def test_the_slug_of_the_index_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match="slug 'index' is that of the page that lists all others"):
        write_documents([document("index")], tmp_path)
    assert not list(tmp_path.iterdir())


class Interrupting:
    """os, but Ctrl-C arrives in the middle of a write."""

    def __getattr__(self, name):
        return getattr(os, name)

    def write(self, descriptor, data):
        os.write(descriptor, data[:10])
        raise KeyboardInterrupt


def test_an_interruption_leaves_no_temporary_file(tmp_path, monkeypatch):
    write_documents([document()], tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with monkeypatch.context() as patched:
        patched.setattr(storage, "os", Interrupting())
        with pytest.raises(KeyboardInterrupt):
            render_folder(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_a_killed_writer_left_goes_with_the_next_write_and_nothing_else(tmp_path):
    dead = os.fork()
    if dead == 0:
        os._exit(0)
    os.waitpid(dead, 0)
    for name in (
        f"page.json.tmp-{dead}",
        f"page.json.tmp-{os.getpid()}",
        f"page.json.tmp-{os.getppid()}",
        f"mine.json.tmp-{dead}",
    ):
        (tmp_path / name).touch()
    storage.atomic_write(tmp_path / "page.json", b"{}")
    assert {path.name for path in tmp_path.iterdir()} == {"page.json", f"page.json.tmp-{os.getppid()}", f"mine.json.tmp-{dead}"}


def test_a_pipe_in_place_of_a_temporary_file_holds_no_writer_up(tmp_path):
    os.mkfifo(tmp_path / f"file.tmp-{os.getpid()}")
    with at_once():
        storage.atomic_write(tmp_path / "file", b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_sweep_over_a_pipe_is_refused_and_one_that_fails_leaves_nothing(tmp_path, monkeypatch):
    base = write_run(tmp_path / "base")
    seeds = [Setting.of("training.seed=0..1")]
    (tmp_path / "base-seed1").mkdir()
    os.mkfifo(tmp_path / "base-seed1" / "run.toml")
    with at_once(), pytest.raises(InputError, match="base-seed1/run.toml holds another recipe"):
        sweep(base, seeds)
    (tmp_path / "base-seed1" / "run.toml").unlink()
    (tmp_path / "base-seed1").rmdir()
    monkeypatch.setattr("mechbp.models.starting.write_recipe", lambda *_: (_ for _ in ()).throw(MechbpError("no space left")))
    with pytest.raises(MechbpError, match="no space left"):
        sweep(base, seeds)
    with pytest.raises(MechbpError, match="no space left"):
        new_run(tmp_path / "a" / "b" / "c", "tree")
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


def test_two_sweeps_at_once_write_the_same_runs(tmp_path, monkeypatch):
    """The second finds that another process has written the recipe after it had looked."""
    base, real = write_run(tmp_path / "base"), Path.exists
    seeds = [Setting.of("training.seed=0..1")]
    folders = sweep(base, seeds)
    before = {path: (path / "run.toml").stat().st_ino for path in folders}
    seen = set()

    def exists(path, **options):
        first = path.name == "run.toml" and (path, sys._getframe(1).f_code.co_name) not in seen
        seen.add((path, sys._getframe(1).f_code.co_name))
        return real(path, **options) and not (first and sys._getframe(1).f_code.co_name == "sweep")

    monkeypatch.setattr(Path, "exists", exists)
    assert sweep(base, seeds) == folders
    assert {path: (path / "run.toml").stat().st_ino for path in folders} == before


def test_metrics_that_are_damaged_say_so_in_three_lines(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1' + b"0" * 5000 + b"}\n")
    with pytest.raises(CheckpointError) as caught:
        read_metrics(tmp_path / "metrics.jsonl")
    assert str(caught.value).count("\n") <= 2
