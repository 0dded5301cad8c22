"""Tables of numbers in recipes: nested lists in run.toml or a file beside it, tuples in a recipe, arrays in a process."""

from __future__ import annotations

import hashlib
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from mechbp.errors import InputError, LimitExceeded, reason
from mechbp.storage import inside, open_regular

MAX_NUMBERS = 20_000
"""As text they then fit the header of a stored step, which holds the whole recipe."""
MAX_BYTES = 2**20
SUFFIXES = (".json", ".npy")


def nested(array: np.ndarray) -> Any:
    """Return an array as tuples in tuples of floats, of which a frozen recipe can be made."""
    if array.size > MAX_NUMBERS:
        raise LimitExceeded(f"a recipe holds at most {MAX_NUMBERS:,} numbers in a table, got {array.size:,}.")
    return tuple(float(entry) if array.ndim == 1 else nested(entry) for entry in array)


def array_of(table: Any, where: str, axes: str) -> np.ndarray:
    """Return nested tuples as an array. Raises InputError where the rows of one level differ in length."""
    try:
        array = np.array(table, np.float64)
    except ValueError:
        array = np.empty(0)
    if array.ndim != axes.count("[") or not array.size:
        raise InputError(f"{where} must be the numbers {axes}, all rows of one level equally long, and not empty.")
    return array


def digest_of_numbers(*tables: Any) -> str:
    """Return the SHA-256 of tables of numbers as JSON, hexadecimal, by which a page names them."""
    return hashlib.sha256(json.dumps(tables).encode()).hexdigest()


def read_numbers(folder: Path | None, name: str, where: str) -> Any:
    """Return the numbers of a file beside a recipe, .json (nested lists) or .npy, as nested lists.

    Raises InputError for a name that leads out of the folder and for a file that is missing or holds anything else, and
    LimitExceeded for one too large.
    """
    if folder is None:
        raise InputError(f"{where}: {name!r:.60} names a file, but this recipe stands in no folder. Write the numbers there.")
    path = inside(folder, name, where)
    if path.suffix not in SUFFIXES:
        raise InputError(f"{where}: {name!r:.60} is no file of numbers; it must end in {' or '.join(SUFFIXES)}.")
    try:
        with open_regular(path) as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{where}: cannot read {path}: {error.strerror}. Put the file beside run.toml.") from error
    if len(raw) > MAX_BYTES:
        raise LimitExceeded(f"{where}: {path} has more than {MAX_BYTES:,} bytes, which no recipe needs.")
    try:
        found = json.loads(raw) if path.suffix == ".json" else _array(raw).tolist()
    except (ValueError, EOFError, OverflowError, RecursionError, SyntaxError, TypeError) as error:
        raise InputError(f"{where}: {path} holds no numbers: {reason(error, 80)}.") from error
    if not isinstance(found, list):
        raise InputError(f"{where}: {path} must hold a list of numbers, got {found!r:.40}.")
    if _count(found) > MAX_NUMBERS:
        raise LimitExceeded(f"{where}: {path} holds more than {MAX_NUMBERS:,} numbers.")
    return found


def _array(raw: bytes) -> np.ndarray:
    """The array of an .npy file, after checking that its header promises no more than the file holds."""
    file = io.BytesIO(raw)
    headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(file)
    if version not in headers:
        raise ValueError(f"an .npy file of version {version}")
    shape, _, dtype = headers[version](file)
    if dtype.kind not in "fiu":
        raise ValueError(f"an array of {dtype}")
    if math.prod(shape) * dtype.itemsize > len(raw):
        raise ValueError(f"an array of shape {shape}, which {len(raw):,} bytes do not hold")
    return np.load(io.BytesIO(raw), allow_pickle=False).astype(np.float64)


def _count(entries: Any) -> int:
    return sum(map(_count, entries)) if isinstance(entries, list) else 1
