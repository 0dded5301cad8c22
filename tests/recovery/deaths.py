"""Ways to end: killed after a while, inside the writer, at import, two at once, on a full disk, with workers, on a cluster."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mechbp import cli, storage, study
from mechbp.storage import RUNS_VARIABLE
from tests.support.small_runs import Child
from tests.support.tampered_os import TamperedOs

MOMENTS = ("open", "half a write", "write", "fsync", "replace", "after replace")
KILLED = -signal.SIGKILL
SHARES = {"time": 9, "writer": 6, "two at once": 3, "full disk": 3, "import": 1, "jobs": 1, "cluster": 1}
"""How often each way is drawn; those that start interpreters cost seconds."""


@dataclass(frozen=True)
class Place:
    """Where a command runs."""

    home: Path
    package: Path
    """A copy of the package, with tiny pages, for new interpreters."""
    log: Path


def fork(place: Place, words: tuple[str, ...], tampered: TamperedOs | None = None, log: str = "log") -> Child:
    """The command in a forked process, which need not import anything."""

    def work() -> None:
        os.setpgid(0, 0)
        os.chdir(place.home)
        os.environ[RUNS_VARIABLE] = str(place.home)
        study.analyses_root = lambda: place.package / "analyses"
        if tampered:
            storage.os = tampered  # type: ignore[assignment]
        sys.argv = ["mechbp", *words]
        cli.main()

    return Child(work, place.log / log)


def start(place: Place, words: tuple[str, ...]) -> subprocess.Popen:
    """The command in an interpreter of its own."""
    environment = os.environ | {"PYTHONPATH": str(place.package), RUNS_VARIABLE: str(place.home)}
    with (place.log / "log").open("w") as log:
        return subprocess.Popen([sys.executable, "-m", "mechbp", *words], cwd=place.home, env=environment, stdout=log, stderr=log)


def dying_os(moment: str, number: int) -> TamperedOs:
    """os, but the process is killed at the `number`-th call of that kind."""
    calls = iter(range(10**6))

    def now() -> bool:
        return next(calls) == number

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)

    def before(function):
        def call(*arguments):
            if now():
                if moment == "half a write":
                    os.write(arguments[0], arguments[1][: len(arguments[1]) // 2])
                die()
            return function(*arguments)

        return call

    def after(*arguments):
        os.replace(*arguments)
        if now():
            die()

    name = {"half a write": "write", "after replace": "replace"}.get(moment, moment)
    return TamperedOs(**{name: after if moment == "after replace" else before(getattr(os, name))})


def full_os(number: int) -> TamperedOs:
    """os, but from the `number`-th write on the disk is full."""
    calls = iter(range(10**6))

    def write(descriptor, data):
        if next(calls) < number:
            return os.write(descriptor, data)
        os.write(descriptor, data[: len(data) // 3])  # what still fits
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return TamperedOs(write=write)


def once(way: str, place: Place, words: tuple[str, ...], took_s: float, address: str, draw: np.random.Generator) -> str:
    """Run the command once, ending it in this way; return what became of it. Raises AssertionError where it failed otherwise."""
    nth = int(draw.integers(12))
    if way in ("time", "two at once"):
        children = [fork(place, words, log=f"log{i}") for i in range(1 + (way == "two at once"))]
        for child, at in zip(children, np.sort(draw.uniform(0, 1.1 * took_s, len(children))), strict=True):
            time.sleep(at)
            child.kill()
        return " and ".join(_ended(child.wait(), child.output) for child in children)
    if way in ("writer", "full disk"):
        tampered = full_os(nth) if way == "full disk" else dying_os(str(draw.choice(MOMENTS)), nth)
        child = fork(place, words, tampered)
        return _ended(child.wait(), child.output)
    options = {"import": (), "jobs": ("--jobs", "2"), "cluster": ("--backend", "dask", "--scheduler", address)}[way]
    process = start(place, (*words, *options))
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(draw.uniform(0, 2.0 if way == "import" else 12.0))
    process.kill()
    return _ended(process.wait(), (place.log / "log").read_text())


def finish(place: Place, words: tuple[str, ...], at_most_s: float = 120.0) -> None:
    """Run the command to its end, undisturbed; workers of a killed one may still be about to stop."""
    give_up = time.monotonic() + at_most_s
    while True:
        child = fork(place, words)
        code = child.wait()
        if code == 0:
            return
        assert code == 2 and "is in use by process" in child.output and time.monotonic() < give_up, child.output
        time.sleep(0.2)


@contextlib.contextmanager
def cluster(package: Path) -> Iterator[str]:
    """A Dask cluster of two worker processes; yields its address."""
    script = Path(__file__).parents[1] / "support" / "dask_cluster.py"
    pipe = subprocess.PIPE
    environment = os.environ | {"PYTHONPATH": str(package)}
    command = [sys.executable, str(script), "2"]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=environment) as process:
        assert process.stdin and process.stdout
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


def _ended(code: int, output: str) -> str:
    assert "Traceback" not in output, output[-3000:]
    if code == KILLED:
        return "killed"
    if code == 0:
        return "finished before"
    assert code == 2, (code, output[-3000:])
    for reason in ("is in use by process", "No space left on device", "is there already"):
        if reason in output:
            return f"refused: {reason}"
    raise AssertionError(output[-3000:])
