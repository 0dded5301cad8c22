"""A process whose code stands beside a run: kind = "python:FILE:FUNCTION" in the [process] table of its recipe.

FUNCTION takes the other keys of the table and returns (process, tasks): a process as `mechbp.Process` says, and what models of
it can be asked, {name: mechbp.Task}. The file's SHA-256 belongs to the recipe. Code is executed only for whoever trusts it, and
what is executed are the bytes that were hashed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.abc import SourceLoader
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeGuard

import numpy as np

from mechbp.errors import ContractError, InputError, LimitExceeded
from mechbp.models.recipe_tables import shown
from mechbp.models.tasks.task import Family, Task, own_oracle
from mechbp.processes.check import check_process
from mechbp.randomness import rng
from mechbp.storage import NAME, inside, open_regular

Code = Literal["refuse", "execute", "leave"]
"""What becomes of code that a recipe names: an error that says so; it is executed; or it is hashed and left alone."""
PREFIX = "python:"
OWN = "own"
"""The family of every process whose code stands beside its run."""
MAX_CODE_BYTES = 2**20
CHECK_SEED = 30_000_000
"""Of the laws and answers that are checked before a training and by `mechbp verify`."""


@dataclass(frozen=True)
class CodeRecipe:
    """The data: a process that a function beside the run returns."""

    kind: str
    """"python:FILE:FUNCTION"."""
    sha256: str
    """Of the file."""
    arguments: tuple[tuple[str, Any], ...] = ()
    """What the function is given, by name; lists as tuples."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_made", None)

    @property
    def file(self) -> str:
        """Name of the file, which stands beside run.toml."""
        return self.kind.split(":")[1]

    @property
    def function(self) -> str:
        """Name of the function in it."""
        return self.kind.split(":")[2]

    @property
    def made(self) -> tuple[Any, Mapping[str, Task]] | None:
        """The process and its tasks; None where the code has not been executed."""
        return self._made  # type: ignore[attr-defined]

    @property
    def own_family(self) -> Family:
        """Its family, with the tasks that the code brings."""
        return Family(OWN, (CodeRecipe,), self.tasks)

    @property
    def tasks(self) -> Mapping[str, Task]:
        """What a model of it can be asked."""
        return self._trusted()[1]

    @property
    def n_tokens(self) -> int:
        """Most tokens that a model reads."""
        self._trusted()
        return self._n_tokens  # type: ignore[attr-defined]

    @property
    def name(self) -> str:
        """What it is, in a few words."""
        return ", ".join([f"{self.file}:{self.function}", *(f"{name} {value}" for name, value in self.arguments)])

    def provenance(self) -> dict[str, str | int]:
        """Return what a page says about the process of a run."""
        return {"process": self.name, "code_sha256": self.sha256}

    def build(self) -> Any:
        """Return the process. Raises InputError where its code has not been executed."""
        return self._trusted()[0]

    def to_table(self) -> dict[str, Any]:
        """Return the [process] table that says the same."""
        return {"kind": self.kind, "sha256": self.sha256, **dict(self.arguments)}

    def executed(self, folder: Path) -> CodeRecipe:
        """Return the recipe with what its function returns. Raises InputError where code or function fail, or return other."""
        found = replace(self)
        process, tasks = _made(self, folder)
        try:
            n_tokens = max(int(task.n_positions(process)) for task in tasks.values())
        except Exception as error:
            raise _failed(self.file, f"a sequence of {self.file}:{self.function}", error) from error
        object.__setattr__(found, "_made", (process, tasks))
        object.__setattr__(found, "_n_tokens", n_tokens)
        return found

    def refusal(self, folder: Path) -> InputError:
        """Return what is said where code would have to be executed that nobody has said to be trusted."""
        return InputError(
            f"its process is code: {self.function} of {folder / self.file} (SHA-256 {self.sha256[:16]}…) would be executed.\n"
            f"Read that file. If you trust it, say so: --trust on the command line, trust=True in Python."
        )

    def _trusted(self) -> tuple[Any, Mapping[str, Task]]:
        if self.made is None:
            raise InputError(f"process: {self.file} has not been executed. If you trust it: --trust, or trust=True in Python.")
        return self.made


def names_code(table: Any) -> TypeGuard[dict[str, Any]]:
    """Whether a [process] table names code."""
    return isinstance(table, dict) and isinstance(table.get("kind"), str) and table["kind"].startswith(PREFIX)


def read_code_recipe(table: Mapping[str, Any], folder: Path | None) -> CodeRecipe:
    """Return the recipe of a [process] table that names code; its file is hashed and not executed.

    Without a `folder` the digest is what the table says. Raises InputError for a kind of another form, a name that leads out of
    the folder, a file that cannot be read, and one that is not what the table says.
    """
    kind = table["kind"]
    parts = kind.split(":")
    if len(parts) != 3 or not NAME.fullmatch(parts[1]) or not parts[1].endswith(".py") or not parts[2].isidentifier():
        raise InputError(f'process.kind names code as "python:FILE.py:FUNCTION", a file beside run.toml, got {shown(kind)}.')
    arguments = tuple(sorted((key, _frozen(value)) for key, value in table.items() if key not in ("kind", "sha256")))
    if folder is None:
        return CodeRecipe(kind, str(table.get("sha256")), arguments)
    found = hashlib.sha256(_read(inside(folder, parts[1], "process.kind"))).hexdigest()
    if "sha256" in table and table["sha256"] != found:
        raise InputError(
            f"process.sha256: {folder / parts[1]} has SHA-256 {found[:16]}…, the recipe says {shown(table['sha256'])[:20]}….\n"
            f"Restore that file, or change process.sha256."
        )
    return CodeRecipe(kind, found, arguments)


def check_code(recipe: CodeRecipe, task_name: str) -> None:
    """Raise InputError where an executed process breaks a law of `mechbp.check_process`, or its task does not fit it."""
    process, tasks = recipe.build(), recipe.tasks
    try:
        check_process(process, rng(CHECK_SEED, "check_process"))
    except ContractError as error:
        kind = type(process).__name__
        raise InputError(f"{recipe.file}: {kind} breaks {error.counted} of mechbp.check_process: {error}") from error
    except Exception as error:
        raise _failed(recipe.file, f"mechbp.check_process of {recipe.file}:{recipe.function}", error) from error
    try:
        check_task(tasks[task_name], process, f"{recipe.file}, task {task_name!r}")
    except InputError:
        raise
    except Exception as error:
        raise _failed(recipe.file, f"task {task_name!r} of {recipe.file}", error) from error


def check_task(task: Task, process: Any, where: str, n: int = 64) -> None:
    """Raise InputError unless a task's exact answers to its own questions are distributions [n, query, q], and calibrated.

    Where stated probabilities are true, the surprise at the true symbols is on average the entropy of the answers; a difference
    of more than six standard errors is refused.
    """
    asked = task.questions(process, task.draw(process, n, rng(CHECK_SEED, "check_task")))
    exact = np.asarray(task.exact(process, asked.tokens))
    expected = (*asked.truth.shape, exact.shape[-1] if exact.ndim == 3 else 0)
    if exact.shape != expected:
        raise InputError(
            f"{where}: exact returns an array of shape {list(exact.shape)}, expected [n, query, q] = "
            f"{list(asked.truth.shape)} and the symbols."
        )
    if not np.isfinite(exact).all() or (exact < 0).any() or np.abs(exact.sum(-1) - 1).max() > 1e-9:
        raise InputError(f"{where}: exact returns what is no distribution over symbols: nothing below 0, sums of 1.")
    if asked.truth.min() < 0 or asked.truth.max() >= exact.shape[-1]:
        raise InputError(f"{where}: it asks for symbol {asked.truth.max()}, its exact answers have {exact.shape[-1]} symbols.")
    stated = np.take_along_axis(exact, asked.truth[..., None], -1)[..., 0]
    if (stated == 0).any():
        raise InputError(f"{where}: exact gives probability 0 to a symbol that was drawn. Are its positions shifted?")
    entropy = -np.where(exact > 0, exact * np.log(np.where(exact > 0, exact, 1)), 0).sum(-1)
    over = (-np.log(stated) - entropy).mean(axis=1)
    spread = float(over.std(ddof=1)) / len(over) ** 0.5
    if abs(float(over.mean())) > 6 * spread + 1e-9:
        raise InputError(
            f"{where}: exact is not calibrated: the surprise at what was drawn differs from its entropy by "
            f"{float(over.mean()):.3f} ± {spread:.3f} nats (n = {n}). Are its positions shifted?"
        )
    own_oracle(task, process)


class _Hashed(SourceLoader):
    """Executes bytes that were read before, so that they are those that were hashed; no compiled copy is read or written."""

    def __init__(self, path: Path, source: bytes) -> None:
        self.path, self.source = path, source

    def get_filename(self, fullname: str) -> str:
        return str(self.path)

    def get_data(self, path: str | bytes) -> bytes:
        return self.source


def _made(recipe: CodeRecipe, folder: Path) -> tuple[Any, Mapping[str, Task]]:
    path = inside(folder, recipe.file, "process.kind")
    source = _read(path)
    if hashlib.sha256(source).hexdigest() != recipe.sha256:
        raise InputError(f"process.kind: {path} has changed since it was read. Start again.")
    where = f"{recipe.file}:{recipe.function}"
    make = getattr(_module(path.resolve(), source, recipe.sha256), recipe.function, None)
    if not callable(make):
        raise InputError(f"process.kind: {path} has no function {recipe.function}. It must return (process, {{name: Task}}).")
    arguments = dict(recipe.arguments)
    try:
        inspect.signature(make).bind(**arguments)
    except TypeError as error:
        raise InputError(f"[process] does not fit {where}{inspect.signature(make)}: {error}.") from error
    try:
        found = make(**arguments)
    except Exception as error:
        raise _failed(path.name, where, error) from error
    if not isinstance(found, tuple) or len(found) != 2 or not isinstance(found[1], Mapping) or not found[1]:
        raise InputError(f"{where} must return (process, {{name: Task}}), as Coin(), {{'flip': NextFlip()}}, got {shown(found)}.")
    for name, task in found[1].items():
        if not isinstance(name, str) or isinstance(task, type) or not isinstance(task, Task):
            raise InputError(f"{where}: what it returns as task {shown(name)} is no mechbp.Task, got {shown(task)}.")
    return found


def _module(path: Path, source: bytes, sha256: str) -> ModuleType:
    """The module of a file, executed once for each content of it."""
    name = f"mechbp_own_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}_{sha256[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    loader = _Hashed(path, source)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up here
    try:
        loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise _failed(path.name, path.name, error) from error
    return module


def _failed(file: str, where: str, error: Exception) -> InputError:
    """What is said of an exception in somebody's code: the line there, and the exception."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).name == file]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    at = f" at line {line}" if line else ""
    return InputError(f"{where} fails{at}: {type(error).__name__}: {(str(error).splitlines() or ['no reason given'])[0]:.200}")


def _read(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            source = file.read(MAX_CODE_BYTES + 1)
    except OSError as error:
        raise InputError(f"process.kind: cannot read {path}: {error.strerror}. Put the file beside run.toml.") from error
    if len(source) > MAX_CODE_BYTES:
        raise LimitExceeded(f"process.kind: {path} has more than {MAX_CODE_BYTES:,} bytes.")
    return source


def _frozen(value: Any) -> Any:
    """A value of a table as one that can be compared and hashed."""
    if isinstance(value, list | tuple):
        return tuple(map(_frozen, value))
    if isinstance(value, dict):
        raise InputError("process: what the function is given are numbers, texts and lists, no tables.")
    return value
