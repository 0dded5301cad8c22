"""Files that survive a crash, reading that never waits, and names that stay inside their folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from mechbp.errors import InputError, MechbpError

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""What a run, an analysis or a stored file may be called."""
RUNS_VARIABLE = "MECHBP_RUNS"
"""The environment variable that names the folder of named runs."""
TEMPORARY = re.compile(r"(?:step-[0-9]+\.safetensors|resume\.safetensors|(?:metrics|llc)\.jsonl)\.tmp-([0-9]{1,9})")
"""What `atomic_write` calls the unfinished files of a run; a user's own files never match."""


class InUse(MechbpError):
    """Another process holds the folder."""


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file for reading. Raises OSError at once for a pipe or a device, which could keep a reader waiting."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except ValueError as error:  # a name with NUL
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), os.fspath(path)) from error
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is no regular file", os.fspath(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: str | os.PathLike[str], at_most: int) -> bytes:
    """Return the content of a regular file. Raises OSError as `open_regular`, and for more than `at_most` bytes unread."""
    with open_regular(path) as file:
        found = file.read(at_most + 1) if os.fstat(file.fileno()).st_size <= at_most else b""
        if len(found) > at_most or os.fstat(file.fileno()).st_size > at_most:
            raise OSError(errno.EFBIG, f"it has more than {at_most:,} bytes", os.fspath(path))
    return found


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are not there. Raises MechbpError where that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MechbpError(f"cannot make {folder}: {error.strerror}. Choose a writable folder.") from error


def atomic_write(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that at every instant the path holds the old bytes or the new ones, even after power loss.

    Order: temporary file in the same folder, write, fsync, rename over the target, fsync the folder. Temporary files that killed
    writers of this path left are removed first.
    Raises MechbpError where the folder is missing, read-only or full; the old file is then intact.
    """
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        for leftover in path.parent.glob(f"{glob.escape(path.name)}.tmp-*"):
            _remove_if_stale(leftover)
        temporary.unlink(missing_ok=True)  # of an earlier process of this number
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(descriptor, view) :]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(temporary, path)
        except BaseException:  # an interruption too leaves nothing behind
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        _fsync_folder(path.parent)
    except OSError as error:
        raise MechbpError(f"cannot write {path}: {error.strerror}. Free space or choose a writable folder.") from error


def sweep_temporaries(folder: Path) -> None:
    """Remove the temporary files that dead writers of `atomic_write` left in the run folder `folder`."""
    for leftover in folder.glob("*.tmp-*"):
        if TEMPORARY.fullmatch(leftover.name):
            _remove_if_stale(leftover)


@contextlib.contextmanager
def exclusive(folder: Path, purpose: str) -> Iterator[None]:
    """Hold `folder` for one process; the lock dies with its holder. Raises InUse naming the holder's pid."""
    lock = folder / ".lock"
    while (descriptor := _locked(lock, purpose)) is None:
        pass
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if _is_still(lock, descriptor):
                lock.unlink()
        os.close(descriptor)


@contextlib.contextmanager
def in_turn(folder: Path) -> Iterator[None]:
    """Let other processes that write to `folder` in turn finish first; no file is made, and a killed holder holds nothing."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # some file servers lock no folders: there the last one wins
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def checked_name(name: str, what: str) -> str:
    """Return `name` if it is a plain file name (lower-case letters, digits, '.', '_', '-'), or raise InputError."""
    if not NAME.fullmatch(name) or ".." in name:
        raise InputError(f"{what}: {name!r:.80} is not a valid name; use up to 64 of a-z, 0-9, '.', '_' and '-'.")
    return name


def inside(root: Path, name: str, what: str) -> Path:
    """Return root/name after checking the name and that no link leads out of `root`."""
    path = root / checked_name(name, what)
    try:
        stays = path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # a link that leads to itself
        stays = False
    if not stays:
        raise InputError(f"{what}: {name} leads outside {root}. Replace the link by a real folder.")
    return path


def _locked(lock: Path, purpose: str) -> int | None:
    """The descriptor of a lock that is held now; None where its last holder removed the file meanwhile."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    except OSError as error:
        raise MechbpError(f"{purpose}: cannot create {lock}: {error.strerror}. Choose a writable folder.") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise MechbpError(f"{purpose}: {lock} is no regular file, and cannot be locked. Remove it.")
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _is_still(lock, descriptor):
            os.close(descriptor)
            return None
        with contextlib.suppress(OSError):  # only told to others: a full disk need not keep anyone from reading
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        return descriptor
    except BlockingIOError as error:
        holder = os.read(descriptor, 20).decode(errors="replace").strip()
        os.close(descriptor)
        told = holder if holder.isdecimal() else "unknown"
        raise InUse(f"{purpose}: {lock.parent} is in use by process {told}. Wait for it to end, or stop it.") from error
    except OSError as error:
        os.close(descriptor)
        raise MechbpError(f"{purpose}: cannot lock {lock}: {error.strerror}. Choose a folder that can be locked.") from error
    except MechbpError:
        os.close(descriptor)
        raise


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether `path` names the open file."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _remove_if_stale(temporary: Path) -> None:
    """Remove a file that `atomic_write` made in a process that is dead."""
    pid = temporary.name.rpartition(".tmp-")[2]
    if re.fullmatch("[0-9]{1,9}", pid) and temporary.is_file() and not _alive(int(pid)):
        temporary.unlink(missing_ok=True)


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
