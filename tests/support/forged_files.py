"""Build stored steps byte by byte, well-formed or not, with a digest that is right for the bytes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

BLANK = "0" * 64


def metadata(**changes: object) -> dict[str, object]:
    return {"format": "mechbp-step-1", "step": "0", "recipe": "{}", "torch": "2", "sha256": BLANK} | changes


def tensor(start: int, end: int, shape: list[int] | None = None, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": [(end - start) // 4] if shape is None else shape, "data_offsets": [start, end]}


def assemble(header: dict[str, object] | bytes, payload: bytes = b"", length: int | None = None) -> bytes:
    """Header length, header, payload; the header's digest field, if it has one, is filled in."""
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    blank = (len(text) if length is None else length).to_bytes(8, "little") + text + payload
    return blank.replace(BLANK.encode(), hashlib.sha256(blank).hexdigest().encode(), 1)


def sealed(tensors: dict[str, object], payload: bytes = b"", **changes: object) -> bytes:
    """A file whose digest is right and whose table of tensors is as given."""
    return assemble({"__metadata__": metadata(**changes), **tensors}, payload)


def floats(*values: float) -> bytes:
    return np.asarray(values, dtype="<f4").tobytes()


def sparse(path: Path, size: int, start: bytes = b"") -> None:
    """A file of `size` bytes that takes no room on the disk."""
    with path.open("wb") as file:
        file.write(start)
        file.truncate(size)
