"""Names stay inside their folder. (Atomic writes and locks: models/test_crash_safety.py.)"""

import fcntl
import os
import threading
from pathlib import Path

import pytest

from mechbp.errors import InputError, MechbpError
from mechbp.models.run_folder import RUNS_VARIABLE, find_run, run_names, runs_root
from mechbp.storage import InUse, checked_name, exclusive, in_turn, inside, make_folder, read_regular

WORDS = [
    "",
    ".",
    "..",
    "/",
    "a/b",
    "../a",
    "/etc/passwd",
    "a\0",
    "\0",
    "a\n",
    "\na",
    "a b",
    "A",
    "é",
    "\uff41",
    "a" * 65,
    "a" * 300,
]
WORDS += [
    "-a",
    ".a",
    "_a",
    "~",
    "~root",
    "$HOME",
    "`id`",
    "a;b",
    "a|b",
    "a\\b",
    "..\\a",
    "c:",
    "a\u202eb",
    "\u202etxt.exe",
    "a\u200b",
]
WORDS += [
    "%2e%2e",
    "a..b",
    "a\ud800",
    "\x1b[31m",
    "a\t",
    "*",
    "?",
    "[a]",
    "{a}",
    "<script>",
    "'",
    '"',
    "'; --",
    "con:",
    "a=b",
    "a,b",
]
HOSTILE = sorted({*WORDS, *(w + "/.." for w in WORDS), *("../" + w for w in WORDS)})


def listing(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_there_are_150_hostile_names_or_nearly():
    assert len(HOSTILE) >= 130


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_hostile_names_are_refused_and_touch_nothing(name, tmp_path, monkeypatch):
    root = tmp_path / "work" / "checkpoints"
    root.mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    before = listing(tmp_path)
    with pytest.raises(InputError, match="run: .* is not a valid name; use up to 64 of"):
        inside(root, name, "run")
    with pytest.raises(InputError) as caught:
        find_run(name)
    assert len(str(caught.value).splitlines()) <= 3 and "\x1b" not in str(caught.value)
    assert listing(tmp_path) == before


@pytest.mark.parametrize("name", ["a", "tree-mlm-k0", "0", "a.b_c-d", "a" * 64])
def test_plain_names_are_accepted(name, tmp_path):
    assert checked_name(name, "run") == name
    assert inside(tmp_path, name, "run") == tmp_path / name


def test_links_that_lead_out_or_round_in_circles_are_refused(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "out").symlink_to(tmp_path)
    (root / "loop").symlink_to("loop")
    (root / "home").symlink_to(".")
    for name in ("out", "loop"):
        with pytest.raises(InputError, match=f"run: {name} leads outside"):
            inside(root, name, "run")
    assert inside(root, "home", "run") == root / "home"


def test_a_lock_never_writes_through_a_link(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("data")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(precious)
    with pytest.raises(MechbpError, match="train: cannot create"), exclusive(tmp_path / "run", "train"):
        pass
    assert precious.read_text() == "data"


def test_a_missing_folder_cannot_be_locked(tmp_path):
    with pytest.raises(MechbpError, match="train: cannot create .*No such file"), exclusive(tmp_path / "absent", "train"):
        pass


def test_a_lock_is_released_by_an_error_inside(tmp_path):
    with pytest.raises(ZeroDivisionError), exclusive(tmp_path, "train"):
        assert (tmp_path / ".lock").read_text() == str(os.getpid())
        raise ZeroDivisionError
    with exclusive(tmp_path, "train"):
        pass


def test_runs_are_found_by_name_and_by_path(tmp_path, monkeypatch):
    for name in ("checkpoints/one", "checkpoints/BAD NAME", "own"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "run.toml").touch()
    (tmp_path / "checkpoints" / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    assert run_names() == ["one"]
    assert find_run("one") == tmp_path / "checkpoints" / "one"
    assert find_run("./own") == find_run(tmp_path / "own") == find_run("own/") == tmp_path / "own"
    assert find_run("own") == tmp_path / "own"  # of the working directory, where no named run is called so
    with pytest.raises(InputError, match=r"no run 'two' in .*working directory\.\nGive one of those that .*, or the path"):
        find_run("two")


def test_the_folder_of_named_runs_can_be_chosen(tmp_path, monkeypatch):
    for name in ("elsewhere/one", "checkpoints/two"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "run.toml").touch()
    monkeypatch.chdir(tmp_path)
    assert run_names(tmp_path / "elsewhere") == ["one"] and run_names() == ["two"]
    assert find_run("one", tmp_path / "elsewhere") == tmp_path / "elsewhere" / "one"
    monkeypatch.setenv("MECHBP_RUNS", str(tmp_path / "elsewhere"))
    assert run_names() == ["one"] and find_run("one") == tmp_path / "elsewhere" / "one"
    monkeypatch.setenv("MECHBP_RUNS", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"nowhere holds no run, nor is there .*\nShipped runs .* set \$MECHBP_RUNS"):
        find_run("one")


def test_a_file_is_read_up_to_and_with_its_limit(tmp_path):
    path = tmp_path / "file"
    for size in (0, 9, 10):
        path.write_bytes(bytes(size))
        assert read_regular(path, 10) == bytes(size)
    path.write_bytes(bytes(11))
    with pytest.raises(OSError, match="more than 10 bytes"):
        read_regular(path, 10)


def test_a_writer_waits_for_the_one_before(tmp_path):
    entered = threading.Event()

    def enter():
        with in_turn(tmp_path):
            entered.set()

    other = threading.Thread(target=enter)
    with in_turn(tmp_path):
        other.start()
        assert not entered.wait(0.3)
    assert entered.wait(10)
    other.join()


def test_writers_take_turns_in_folders_alone(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError), in_turn(tmp_path / "file"):
        pass


def test_a_pipe_is_refused_at_once(tmp_path):
    """Nobody writes into it: an ordinary `open` would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    found = []

    def read():
        with pytest.raises(OSError) as raised:
            read_regular(tmp_path / "pipe", 10)
        found.append(raised.value)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(20)
    assert found, "reading a pipe waits"


def test_a_lock_whose_file_its_last_holder_removed_is_taken_anew(tmp_path, monkeypatch):
    """Between opening and locking: the file that was locked is no longer the one that others will find."""
    locked = fcntl.flock

    def late(descriptor, how):
        monkeypatch.setattr(fcntl, "flock", locked)
        (tmp_path / ".lock").unlink()
        locked(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with exclusive(tmp_path, "test"):
        assert (tmp_path / ".lock").read_text() == str(os.getpid())
        with pytest.raises(InUse), exclusive(tmp_path, "other"):
            pass


def test_runs_are_named_in_the_working_directory_or_shipped(tmp_path, monkeypatch):
    monkeypatch.delenv(RUNS_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    assert runs_root() == Path(__file__).parents[1] / "checkpoints"
    (tmp_path / "checkpoints").mkdir()
    assert runs_root() == tmp_path / "checkpoints"
    assert runs_root(tmp_path) == tmp_path


def test_a_folder_is_made_with_those_above_it_and_one_that_is_there_stays(tmp_path):
    for _ in range(2):
        make_folder(tmp_path / "a" / "b")
        (tmp_path / "a" / "b" / "kept").touch()
    (tmp_path / "file").touch()
    with pytest.raises(MechbpError, match="cannot make .*: Not a directory. Choose a writable folder."):
        make_folder(tmp_path / "file" / "b")
    with pytest.raises(MechbpError, match="cannot make .*: File exists. Choose a writable folder."):
        make_folder(tmp_path / "file")
