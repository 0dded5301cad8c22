"""Tiny runs for the tests, and real processes in which to train and kill them."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

RECIPE = {
    "process": {"vocab_size": 3, "depth": 2},
    "model": {"n_layers": 1, "n_heads": 2, "d_model": 8, "d_mlp": 8},
    "objective": {"task": "masked", "mask": "rate"},
    "training": {
        "steps": 40,
        "batch_size": 8,
        "learning_rate": 1e-2,
        "warmup_steps": 5,
        "stored_steps": 3,
        "measured_steps": 4,
        "resume_every": 7,
    },
}


def recipe(**changes: object) -> dict[str, dict[str, object]]:
    """RECIPE with some values replaced: recipe(training__steps=10)."""
    tables = copy.deepcopy(RECIPE)
    for path, value in changes.items():
        table, key = path.split("__")
        tables.setdefault(table, {})[key] = value
    return tables  # type: ignore[return-value]


def toml(tables: dict[str, dict[str, object]]) -> str:
    lines = []
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def write_run(folder: Path, **changes: object) -> Path:
    """Create a run folder that holds only its recipe."""
    folder.mkdir(parents=True)
    (folder / "run.toml").write_text(toml(recipe(**changes)))
    return folder


def products(folder: Path) -> dict[str, str]:
    """Everything training made: SHA-256 of each stored step, and the metrics without their wall times."""
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.safetensors"))}
    rows = [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]
    return found | {"metrics": json.dumps([{k: v for k, v in row.items() if k != "wall_s"} for row in rows])}


class Child:
    """A forked process that runs `work()`; forking spares it the seconds that importing torch takes."""

    def __init__(self, work: Callable[[], object], log: Path) -> None:
        self.log = log
        self.pid = os.fork()
        if self.pid == 0:
            _run_and_exit(work, log)

    def kill(self, signum: int = signal.SIGKILL) -> None:
        os.kill(self.pid, signum)

    @staticmethod
    def kill_self(signum: int = signal.SIGKILL) -> None:
        os.kill(os.getpid(), signum)

    def wait(self, at_most_s: float = 120.0) -> int:
        """Return the exit code, negative for a signal; a child that hangs is killed and fails the test."""
        give_up = time.monotonic() + at_most_s
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > give_up:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise AssertionError(f"the child process hangs; it wrote: {self.log.read_text()[-2000:]}")
            time.sleep(0.002)

    @property
    def output(self) -> str:
        return self.log.read_text()


def _run_and_exit(work: Callable[[], object], log: Path) -> None:
    code = 70
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        result = work()
        code = result if isinstance(result, int) else 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
