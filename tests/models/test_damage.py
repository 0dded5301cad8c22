"""A damaged file is never loaded: thousands of random damages of each kind, every single bit, every truncation."""

import numpy as np
import pytest
import torch

from mechbp.errors import CheckpointError
from mechbp.models.checkpoint import load_checkpoint, save_checkpoint
from mechbp.randomness import rng

pytestmark = pytest.mark.early

TRIALS = 2000


@pytest.fixture
def intact(tmp_path):
    generator = torch.Generator().manual_seed(0)
    tensors = {f"model/{name}": torch.randn(8, 8, generator=generator) for name in "abc"}
    path = tmp_path / "step.safetensors"
    save_checkpoint(path, tensors, 5, '{"recipe": 1}')
    return path


def header_length(data):
    return 8 + int.from_bytes(data[:8], "little")


def flipped(data, byte, bit):
    changed = bytearray(data)
    changed[byte] ^= 1 << bit
    return bytes(changed)


def zeroed(data, draw):
    start = int(draw.integers(len(data) - 512))
    return data[:start] + bytes(512) + data[start + 512 :]


def swapped(data, draw):
    """Two tensors of one shape exchange their values."""
    first, second = draw.choice(3, size=2, replace=False)
    start = header_length(data)
    blocks = [data[start + 256 * i : start + 256 * (i + 1)] for i in range(3)]
    blocks[first], blocks[second] = blocks[second], blocks[first]
    return data[:start] + b"".join(blocks)


def overwritten(data, draw):
    start, size = int(draw.integers(len(data) - 16)), int(draw.integers(1, 17))
    return data[:start] + draw.bytes(size) + data[start + size :]


DAMAGES = {
    "one bit anywhere": lambda data, draw: flipped(data, int(draw.integers(len(data))), int(draw.integers(8))),
    "one bit in the header": lambda data, draw: flipped(data, int(draw.integers(header_length(data))), int(draw.integers(8))),
    "512 bytes zeroed": zeroed,
    "truncated": lambda data, draw: data[: int(draw.integers(len(data)))],
    "bytes appended": lambda data, draw: data + draw.bytes(int(draw.integers(1, 100))),
    "tensors swapped": swapped,
    "random bytes": overwritten,
}


def loads(path, data):
    path.write_bytes(data)
    try:
        load_checkpoint(path)
    except CheckpointError:
        return False
    return True


@pytest.mark.parametrize("kind", DAMAGES)
def test_random_damage_is_always_found(kind, intact):
    data, draw = intact.read_bytes(), rng(0, "damage", kind)
    damaged = (DAMAGES[kind](data, draw) for _ in range(TRIALS))
    assert [i for i, changed in enumerate(damaged) if changed != data and loads(intact, changed)] == []
    assert loads(intact, data)


def test_every_single_bit_counts(tmp_path):
    path = tmp_path / "step.safetensors"
    save_checkpoint(path, {"model/a": torch.tensor([1.5, -2.0])}, 0, "{}")
    data = path.read_bytes()
    assert [place for place in np.ndindex(len(data), 8) if loads(path, flipped(data, *place))] == []


def test_every_truncation_is_found(intact):
    data = intact.read_bytes()
    assert [size for size in range(len(data)) if loads(intact, data[:size])] == []
