"""Stored steps: the table of tensors, the metadata, offsets and bytes changed, most of them with a digest that is right."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import torch

from mechbp.models.checkpoint import load_checkpoint, load_parameters
from tests.fuzz.outcome import Surprise, refusal_or_answer, snapshot
from tests.fuzz.trees import mutated, pick, scrambled
from tests.support.forged_files import BLANK, assemble, metadata, tensor

DTYPES = ("F64", "F32", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "F4", "C64", "f32", "", "x")
NUMBERS = (-1, 0, 1, 3, 4, 5, 8, 2**16, 2**31, 2**32, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30)
EXTRA = (*DTYPES, *NUMBERS, *([n] for n in NUMBERS), *([0, n] for n in NUMBERS), *([n, n] for n in NUMBERS))
SPECIAL = (b"\x00\x00\xc0\x7f", b"\x00\x00\x80\x7f", b"\x00\x00\x80\xff", b"\x01\x00\x00\x00", b"", bytes(4000))
"""NaN, infinities, a subnormal number, nothing, and too much."""


class Small(torch.nn.Module):
    """What the intact file fits."""

    def __init__(self) -> None:
        super().__init__()
        self.a = torch.nn.Parameter(torch.zeros(2, 3))
        self.b = torch.nn.Parameter(torch.zeros(4))


def one(draw: np.random.Generator, folder: Path) -> str:
    """Write one changed file, read it, and say what became of it; what is read is held against the bytes."""
    path = folder / "step-0000000.safetensors"
    path.write_bytes(data := content(draw))
    before, found = snapshot(folder), []

    def read() -> None:
        found.append(load_checkpoint(path))
        load_parameters(Small(), found[0], path)

    told = refusal_or_answer(read)
    if snapshot(folder) != before:
        raise Surprise("reading changed a file")
    for checkpoint in found:
        _check(checkpoint, data)
    return told


def content(draw: np.random.Generator) -> bytes:
    """The bytes of one file."""
    payload = draw.normal(size=10).astype("<f4").tobytes()
    tensors = {"model/a": tensor(0, 24, [2, 3]), "model/b": tensor(24, 40)}
    header = {"__metadata__": metadata(), **tensors}
    if draw.random() < 0.05:
        return assemble(header, payload)
    if draw.random() < 0.8:
        header = mutated(header, draw, EXTRA)
    for _ in range(int(draw.integers(3))):
        table = header.get(f"model/{pick(draw, 'ab')}")
        if isinstance(table, dict):
            table[pick(draw, ("dtype", "shape", "data_offsets"))] = pick(
                draw, (pick(draw, DTYPES), [pick(draw, NUMBERS)], [pick(draw, NUMBERS), pick(draw, NUMBERS)])
            )
    if draw.random() < 0.2:
        header = dict(pick(draw, (sorted(header.items()), sorted(header.items(), reverse=True))))
    if draw.random() < 0.3:
        special = pick(draw, SPECIAL)
        payload = pick(draw, (payload + special, special + payload[4:], payload[: -len(special) or None]))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=bool(draw.integers(2)), default=str).encode(
        "utf-8", "surrogatepass"
    )
    rewritten = _rewritten(text, draw)
    length = None if draw.random() < 0.95 else int(pick(draw, [n for n in NUMBERS if 0 <= n < 2**64]))
    data = assemble(rewritten, payload, length)
    return scrambled(data, draw) if draw.random() < 0.15 else data


def _rewritten(text: bytes, draw: np.random.Generator) -> bytes:
    """The header as JSON that other writers might make: padded, with a key twice, in another encoding, cut, too deep."""
    how = int(draw.integers(20))
    if how == 0:
        return text + b" " * int(pick(draw, (1, 7, 5000)))
    if how == 1:
        return b"{" + b'"model/a":' + json.dumps(tensor(0, 4)).encode() + b"," + text[1:]
    if how == 2:
        return b"{" + b'"__metadata__":{"sha256":"' + BLANK.encode() + b'"},' + text[1:]
    if how == 3:
        return pick(draw, (b"\xef\xbb\xbf" + text, text.decode("utf-8", "replace").encode("utf-16"), text + b"\0", text + text))
    if how == 4:
        return scrambled(text, draw)
    if how == 5:
        return b'{"x":' + b"[" * int(pick(draw, (10, 500, 100_000))) + text
    return text


def _check(checkpoint, data: bytes) -> None:
    """Hold what was read against the bytes, by a parser of our own."""
    end = 8 + int.from_bytes(data[:8], "little")
    table = json.loads(data[8:end])
    if hashlib.sha256(data.replace(checkpoint.digest.encode(), BLANK.encode(), 1)).hexdigest() != checkpoint.digest:
        raise Surprise("a digest that is not that of the file")
    for name, read in checkpoint.tensors.items():
        low, high = table[name]["data_offsets"]
        expected = np.frombuffer(data[end + low : end + high], "<f4").reshape(table[name]["shape"])
        if read.dtype != torch.float32 or not np.isfinite(expected).all() or not np.array_equal(read.numpy(), expected):
            raise Surprise(f"tensor {name!r} is not what the file holds")
    if set(checkpoint.tensors) != set(table) - {"__metadata__"}:
        raise Surprise("other tensors than the file holds")
