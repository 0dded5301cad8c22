"""Files that survive a crash and names that stay inside their folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path

from mechbp.errors import InputError, MechbpError

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""What a run, an analysis or a stored file may be called."""
RUNS_VARIABLE = "MECHBP_RUNS"
"""The environment variable that names the folder of named runs."""
TEMPORARY = re.compile(r"(?:step-[0-9]+\.safetensors|resume\.safetensors|(?:metrics|llc)\.jsonl)\.tmp-([0-9]{1,9})")
"""What `atomic_write` calls the unfinished files of a run; a user's own files never match."""


class InUse(MechbpError):
    """Another process holds the folder."""


def atomic_write(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that at every instant the path holds the old bytes or the new ones, even after power loss.

    Order: temporary file in the same folder, write, fsync, rename over the target, fsync the folder.
    Raises MechbpError where the folder is missing, read-only or full; the old file is then intact.
    """
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
        _fsync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise MechbpError(f"cannot write {path}: {error.strerror}. Free space or choose a writable folder.") from error


def sweep_temporaries(folder: Path) -> None:
    """Remove the temporary files that dead writers of `atomic_write` left in the run folder `folder`."""
    for leftover in folder.glob("*.tmp-*"):
        match = TEMPORARY.fullmatch(leftover.name)
        if match and leftover.is_file() and not _alive(int(match[1])):
            leftover.unlink(missing_ok=True)


@contextlib.contextmanager
def exclusive(folder: Path, purpose: str) -> Iterator[None]:
    """Hold `folder` for one process; the lock dies with its holder. Raises InUse naming the holder's pid."""
    lock = folder / ".lock"
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise MechbpError(f"{purpose}: cannot create {lock}: {error.strerror}. Choose a writable folder.") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 20).decode(errors="replace").strip() or "unknown"
            raise InUse(f"{purpose}: {folder} is in use by process {holder}. Wait for it to end, or stop it.") from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
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
