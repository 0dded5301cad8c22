"""One stored step: a safetensors file whose every bit is covered by a SHA-256 digest in its own metadata.

safetensors checks structure, not values: a flipped bit in a weight loads silently. The digest is taken over the whole file
with its own 64 characters written as zeros, so damage anywhere (header, padding, digest, weights) is found. It finds damage,
not forgery: whoever rewrites the file can rewrite the digest.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from mechbp.errors import CheckpointError, reason
from mechbp.storage import atomic_write, open_regular

FORMAT = "mechbp-step-1"
MAX_FILE_BYTES = 512 * 2**20
MAX_HEADER_BYTES = 2**20
MAX_TENSORS = 10_000
BLANK = "0" * 64
PIECE = 2**20


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The verified content of one file."""

    tensors: dict[str, Tensor]
    """"model/<parameter>"; where training can resume also "exp_avg/<parameter>" and "exp_avg_sq/<parameter>"."""
    step: int
    recipe: str
    """Canonical JSON of everything that determined the weights."""
    digest: str
    """SHA-256 of the file, hexadecimal."""


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], step: int, recipe: str) -> str:
    """Write one step atomically and return its digest."""
    metadata = {"format": FORMAT, "step": str(step), "recipe": recipe, "torch": torch.__version__, "sha256": BLANK}
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    blank = _in_fixed_order(safetensors.torch.save(contiguous, metadata))
    digest = hashlib.sha256(blank).hexdigest()
    start = _digest_position(blank[: 8 + int.from_bytes(blank[:8], "little")], path)
    atomic_write(path, blank[:start] + digest.encode() + blank[start + 64 :])
    return digest


def load_checkpoint(path: Path) -> Checkpoint:
    """Read one step, recomputing its digest before anything is used.

    Nothing in the file is executed. Raises CheckpointError with the reason: missing, too large, truncated, damaged, foreign.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_FILE_BYTES:
                raise CheckpointError(f"{path}: {size:,} bytes; a stored step has at most {MAX_FILE_BYTES:,}.")
            header = _read_header(file.read(8), file, size, path)
            found = hashlib.sha256()
            start = _digest_position(header, path)
            stored = header[start : start + 64].decode("ascii", "replace")
            found.update(header[:start] + BLANK.encode() + header[start + 64 :])
            while piece := file.read(PIECE):
                found.update(piece)
            if found.hexdigest() != stored:
                raise CheckpointError(
                    f"{path} is damaged: its content has SHA-256 {found.hexdigest()[:16]}…, it was stored as {stored[:16]!r}….\n"
                    f"Restore it from a copy, or remove it and train again."
                )
            metadata = _checked_metadata(header, path)
            file.seek(0)
            data = file.read()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}.") from error
    try:
        tensors = safetensors.torch.load(data)
    except (safetensors.SafetensorError, KeyError, ValueError, OverflowError) as error:
        raise CheckpointError(f"{path} is no valid safetensors file: {reason(error)}.") from error
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32:
            raise CheckpointError(
                f"{path}: {name!r:.80} has type {tensor.dtype}, expected torch.float32; another program wrote it."
            )
        if not tensor.isfinite().all():
            raise CheckpointError(f"{path}: {name!r:.80} holds NaN or infinite values; training diverged or the file was forged.")
    return Checkpoint(tensors, int(metadata["step"]), metadata["recipe"], stored)


def load_parameters(module: torch.nn.Module, checkpoint: Checkpoint, path: Path) -> None:
    """Copy the weights in. Raises CheckpointError naming `path` where a tensor is missing, surplus or of another shape."""
    stored = {name.removeprefix("model/"): t for name, t in checkpoint.tensors.items() if name.startswith("model/")}
    wanted = dict(module.named_parameters())
    problems = [f"lacks {name}" for name in wanted.keys() - stored.keys()]
    problems += [f"has the unknown tensor {name!r:.80}" for name in stored.keys() - wanted.keys()]
    problems += [
        f"has {name} of shape {list(stored[name].shape)}, expected {list(parameter.shape)}"
        for name, parameter in wanted.items()
        if name in stored and stored[name].shape != parameter.shape
    ]
    if problems:
        raise CheckpointError(f"{path} does not fit the model of its recipe: it {sorted(problems)[0]} ({len(problems)} in all).")
    with torch.no_grad():
        for name, parameter in wanted.items():
            parameter.copy_(stored[name])


def _in_fixed_order(data: bytes) -> bytes:
    """Sort the metadata of a safetensors file: its writer leaves them in random order, and equal steps must be equal bytes."""
    end = 8 + int.from_bytes(data[:8], "little")
    table = json.loads(data[8:end])
    table["__metadata__"] = dict(sorted(table["__metadata__"].items()))
    header = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[end:]


def _checked_metadata(header: bytes, path: Path) -> dict[str, str]:
    """Return the metadata of a header whose digest was right, after checking what the package itself relies on."""
    metadata = json.loads(header[8:])["__metadata__"]
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path}: format is {metadata.get('format')!r:.40}, expected {FORMAT!r}; another program wrote it.")
    if not re.fullmatch("[0-9]{1,9}", str(metadata.get("step"))):
        raise CheckpointError(f"{path}: step is {metadata.get('step')!r:.40}, expected a number; another program wrote it.")
    if not isinstance(metadata.get("recipe"), str):
        raise CheckpointError(f"{path}: its metadata holds no recipe; another program wrote it.")
    return metadata


def _read_header(length_bytes: bytes, file: BinaryIO, size: int, path: Path) -> bytes:
    """Return the length prefix and the JSON header, after checking that they fit the file and the limits."""
    length = int.from_bytes(length_bytes, "little")
    if len(length_bytes) < 8 or length > size - 8:
        raise CheckpointError(f"{path} is truncated or no safetensors file: {size} bytes do not hold its header of {length}.")
    if length > MAX_HEADER_BYTES:
        raise CheckpointError(f"{path}: header of {length:,} bytes; at most {MAX_HEADER_BYTES:,} are allowed.")
    header = length_bytes + file.read(length)
    try:
        table = json.loads(header[8:])
    except (ValueError, RecursionError) as error:  # not UTF-8, no JSON, an integer of thousands of digits, too deep
        raise CheckpointError(f"{path} is damaged or no safetensors file: its header is no JSON.") from error
    if not isinstance(table, dict) or not isinstance(table.get("__metadata__"), dict):
        raise CheckpointError(f"{path}: its header holds no metadata; another program wrote it.")
    if len(table) > MAX_TENSORS:
        raise CheckpointError(f"{path}: {len(table):,} tensors; at most {MAX_TENSORS:,} are allowed.")
    return header


def _digest_position(header: bytes, path: Path) -> int:
    """Return where the 64 digest characters start."""
    key = b'"sha256":"'
    if header.count(key) != 1:
        raise CheckpointError(f"{path}: its header holds no digest; another program wrote it, or it is damaged.")
    return header.index(key) + len(key)
