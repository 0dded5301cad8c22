"""Stored steps: what is written is read back; every way a file can be wrong has its own message; limits hold."""

import io
import json
import os
import pickle
import re
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from forged_files import BLANK, assemble, floats, metadata, sealed, sparse, tensor

from mechbp.errors import CheckpointError
from mechbp.models.checkpoint import MAX_FILE_BYTES, load_checkpoint, save_checkpoint


def saved_by_torch() -> bytes:
    buffer = io.BytesIO()
    torch.save({"w": torch.zeros(2)}, buffer)
    return buffer.getvalue()


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", b"x" * 100)
    return buffer.getvalue()


def npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(100))
    return buffer.getvalue()


PAIR = {"a": tensor(0, 8), "b": tensor(8, 16)}
GOOD = sealed(PAIR, floats(1, 2, 3, 4))
TRUNCATED = "is truncated or no safetensors file"
INVALID = "is no valid safetensors file"
NO_METADATA = "its header holds no metadata; another program wrote it."

CATALOGUE = {
    "empty": (b"", TRUNCATED),
    "shorter than the length prefix": (b"\x10\0\0", TRUNCATED),
    "header length 2^63": (assemble({"__metadata__": metadata()}, length=2**63), TRUNCATED),
    "header length one too many": (assemble(b"{}", length=3), TRUNCATED),
    "header length 0": (assemble(b""), "its header is no JSON."),
    "header of 2 MB": (assemble(b" " * 2**21), "header of 2,097,152 bytes; at most 1,048,576 are allowed."),
    "header not UTF-8": (assemble(b'{"\xff": 1}'), "its header is no JSON."),
    "header no JSON": (assemble(b'{"a": '), "its header is no JSON."),
    "header nested 200,000 deep": (assemble(b"[" * 200_000), "its header is no JSON."),
    "integer of 10,000 digits": (assemble(b'{"a":' + b"9" * 10_000 + b"}"), "its header is no JSON."),
    "header a list": (assemble(b"[]"), NO_METADATA),
    "no metadata": (assemble({"a": tensor(0, 4)}, floats(1)), NO_METADATA),
    "metadata a list": (assemble({"__metadata__": []}), NO_METADATA),
    "no digest": (assemble({"__metadata__": {"format": "pt"}}), "its header holds no digest"),
    "two digests": (assemble(b'{"__metadata__":{"sha256":"","sha256":""}}'), "its header holds no digest"),
    "digest too short": (assemble({"__metadata__": metadata(sha256="ab")}), "is damaged: its content has SHA-256"),
    "wrong digest": (GOOD[:-1] + b"\x01", "is damaged: its content has SHA-256"),
    "bytes appended": (GOOD + b"\0", "is damaged: its content has SHA-256"),
    "last byte missing": (GOOD[:-1], "is damaged: its content has SHA-256"),
    "digest of zeros": (assemble({"__metadata__": metadata(sha256=BLANK[1:] + "x")}), "is damaged: its content has SHA-256"),
    "other format": (sealed(PAIR, floats(1, 2, 3, 4), format="pt"), "format is 'pt', expected 'mechbp-step-1'"),
    "step a word": (sealed(PAIR, floats(1, 2, 3, 4), step="last"), "step is 'last', expected a number"),
    "step negative": (sealed(PAIR, floats(1, 2, 3, 4), step="-1"), "step is '-1', expected a number"),
    "step of 5,000 digits": (sealed(PAIR, floats(1, 2, 3, 4), step="9" * 5000), "expected a number"),
    "recipe a number": (sealed(PAIR, floats(1, 2, 3, 4), recipe=5), "its metadata holds no recipe"),
    "metadata value a number": (sealed(PAIR, floats(1, 2, 3, 4), torch=5), INVALID),
    "shape negative": (sealed({"a": tensor(0, 8, [-2])}, floats(1, 2)), INVALID),
    "shape overflowing": (sealed({"a": tensor(0, 8, [2**62, 8])}, floats(1, 2)), INVALID),
    "shape larger than the data": (sealed({"a": tensor(0, 8, [3])}, floats(1, 2)), INVALID),
    "offsets reversed": (sealed({"a": tensor(8, 0, [2])}, floats(1, 2)), INVALID),
    "offsets beyond the file": (sealed({"a": tensor(0, 800)}, floats(1, 2)), INVALID),
    "tensors overlapping": (sealed({"a": tensor(0, 8), "b": tensor(4, 12)}, floats(1, 2, 3)), INVALID),
    "gap between tensors": (sealed({"a": tensor(0, 4), "b": tensor(8, 12)}, floats(1, 2, 3)), INVALID),
    "trailing payload": (sealed(PAIR, floats(1, 2, 3, 4, 5)), INVALID),
    "unknown dtype": (sealed({"a": tensor(0, 8, [2], "F33")}, floats(1, 2)), INVALID),
    "float64": (sealed({"a": tensor(0, 8, [1], "F64")}, bytes(8)), "'a' has type torch.float64, expected torch.float32"),
    "float8": (sealed({"a": tensor(0, 8, [8], "F8_E4M3")}, bytes(8)), "'a' has type torch.float8_e4m3fn, expected torch.float32"),
    "integers": (sealed({"a": tensor(0, 8, [2], "I32")}, bytes(8)), "'a' has type torch.int32, expected torch.float32"),
    "NaN": (sealed(PAIR, floats(1, 2, 3, np.nan)), "'b' holds NaN or infinite values"),
    "infinity": (sealed(PAIR, floats(-np.inf, 2, 3, 4)), "'a' holds NaN or infinite values"),
    "line feeds in a name": (sealed({"a\n" * 50: tensor(0, 4)}, floats(np.inf)), "holds NaN or infinite values"),
    "20,000 tensors": (sealed({str(i): 0 for i in range(20_000)}), "20,001 tensors; at most 10,000 are allowed."),
    "duplicate names": (
        assemble(b'{"__metadata__":' + json.dumps(metadata(), separators=(",", ":")).encode() + b',"a":0,"a":0}'),
        INVALID,
    ),
    "a .pt renamed": (saved_by_torch(), TRUNCATED),
    "a zip renamed": (zipped(), TRUNCATED),
    "a .npy renamed": (npy(), TRUNCATED),
    "text": (b"step = 5\n" * 100, TRUNCATED),
}  # fmt: skip


@pytest.mark.parametrize("attack", CATALOGUE)
def test_every_way_to_be_wrong_has_its_message(attack, tmp_path):
    data, message = CATALOGUE[attack]
    path = tmp_path / "step.safetensors"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=re.escape(message)) as caught:
        load_checkpoint(path)
    said = str(caught.value)
    assert str(path) in said and len(said) < 600
    assert said.count("\n") <= 2


def test_the_forged_files_differ_from_good_ones_only_in_their_fault(tmp_path):
    path = tmp_path / "step.safetensors"
    path.write_bytes(GOOD)
    assert load_checkpoint(path).tensors["b"].tolist() == [3, 4]


def test_write_then_read(tmp_path):
    path = tmp_path / "step.safetensors"
    tensors = {"model/w": torch.arange(6.0).reshape(2, 3).T, "model/empty": torch.zeros(0, 3)}
    recipe = '{"name":"sha256\\":\\"ö","a":[1,2]}'
    digest = save_checkpoint(path, tensors, 7, recipe)
    found = load_checkpoint(path)
    assert (found.step, found.recipe, found.digest) == (7, recipe, digest)
    assert {name: t.tolist() for name, t in found.tensors.items()} == {name: t.tolist() for name, t in tensors.items()}
    before = path.read_bytes()
    assert save_checkpoint(path, tensors, 7, recipe) == digest
    assert path.read_bytes() == before


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(CheckpointError, match="cannot read .*absent: No such file"):
        load_checkpoint(tmp_path / "absent")
    with pytest.raises(CheckpointError, match="Is a directory"):
        load_checkpoint(tmp_path)


class Exploit:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("wrap", [lambda p: p, lambda p: len(p).to_bytes(8, "little") + p])
def test_a_pickle_is_never_executed(wrap, tmp_path):
    target = tmp_path / "made-by-the-pickle"
    data = pickle.dumps(Exploit(target))
    path = tmp_path / "step.safetensors"
    path.write_bytes(wrap(data))
    with pytest.raises(CheckpointError):
        load_checkpoint(path)
    assert not target.exists()
    pickle.loads(data)
    assert target.exists(), "the control must work, or this test shows nothing"


HUGE = {
    "more than 512 MB": (MAX_FILE_BYTES + 1, b"", "536,870,913 bytes; a stored step has at most 536,870,912."),
    "header of 100 MB": (101 * 2**20, (100 * 2**20).to_bytes(8, "little"), "at most 1,048,576 are allowed."),
    "100 MB of zeros": (100 * 2**20, b"", "its header is no JSON."),
    "wrong digest over 100 MB": (100 * 2**20, GOOD, "is damaged"),
    "10^5 overlapping tensors": (0, lambda: assemble({str(i): tensor(0, 4) for i in range(100_000)}), "are allowed."),
    "10^6 keys": (0, lambda: assemble({str(i): 0 for i in range(1_000_000)}), "are allowed."),
}


@pytest.mark.parametrize("attack", HUGE)
def test_huge_files_are_refused_within_64_megabytes(attack, tmp_path):
    size, made, message = HUGE[attack]
    start = made() if callable(made) else made
    path = tmp_path / "step.safetensors"
    sparse(path, max(size, len(start)), start)
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=re.escape(message)):
            load_checkpoint(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 64 * 2**20


@pytest.mark.parametrize("other", ["pt", "", "mechbp-step-0"])
def test_a_forged_file_of_another_format_is_refused_before_its_data_are_read(other, tmp_path):
    path = tmp_path / "step.safetensors"
    path.write_bytes(sealed({"a": tensor(0, 2**27)}, bytes(2**27), format=other))
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match="another program wrote it"):
            load_checkpoint(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 64 * 2**20
