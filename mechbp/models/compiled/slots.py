"""Named parts of a residual stream: what each dimension of a hand-compiled model means, and which weights write and read it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from torch import Tensor

from mechbp.errors import InputError, did_you_mean

Array = TypeVar("Array", np.ndarray, Tensor)


@dataclass(frozen=True)
class Slot:
    """Consecutive dimensions of the residual stream that hold one variable."""

    name: str
    meaning: str
    written_by: str
    """"embed", or the part of a block, such as "blocks.1.mlp"."""
    read_by: tuple[str, ...]
    """Parts of blocks, and "unembed"; empty where no weight reads it."""
    dims: slice
    shape: tuple[int, ...]
    """Shape of the variable; its entries lie in C order."""

    @property
    def readable_from(self) -> str:
        """The first hook of the residual stream at which the slot holds its variable."""
        block, _, part = self.written_by.rpartition(".")
        return "blocks.0.hook_resid_pre" if not block else f"{block}.hook_resid_{'mid' if part == 'attn' else 'post'}"

    def of(self, residual: Array) -> Array:
        """Return the slot's part of `residual` [..., d_model] as [..., *shape], a view where possible."""
        return residual[..., self.dims].reshape(*residual.shape[:-1], *self.shape)


@dataclass(frozen=True, repr=False)
class Slots(Mapping[str, Slot]):
    """All slots of a residual stream by name, in the order of their dimensions; prints as an aligned table."""

    rows: tuple[Slot, ...]

    def __getitem__(self, name: str) -> Slot:
        for slot in self.rows:
            if slot.name == name:
                return slot
        hint = did_you_mean(name, [slot.name for slot in self.rows])
        raise InputError(f"no slot {name!r:.60}; {hint}\nprint(compiled.slot_table()) lists all slots.")

    def __repr__(self) -> str:
        return f"Slots({len(self)} slots; print it for the table)"

    def __contains__(self, name: object) -> bool:
        return any(slot.name == name for slot in self.rows)

    def __iter__(self) -> Iterator[str]:
        return (slot.name for slot in self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def d_model(self) -> int:
        """Dimensions of the residual stream; every one belongs to a slot."""
        return self.rows[-1].dims.stop

    def __str__(self) -> str:
        cells = [("slot", "dims", "written by", "read by", "meaning")]
        for slot in self.rows:
            dims = f"{slot.dims.start}..{slot.dims.stop - 1}"
            cells.append((slot.name, dims, slot.written_by, _shortened(slot.read_by) or "nothing", slot.meaning))
        widths = [max(len(row[column]) for row in cells) for column in range(4)]
        lines = ("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]) for row in cells)
        return "\n".join(lines)


def _shortened(parts: tuple[str, ...]) -> str:
    """Name the same part of several blocks once: "blocks.0-3.attn"."""
    blocks: dict[str, list[str]] = {}
    for part in parts:
        prefix, _, rest = part.partition(".")
        number, _, name = rest.partition(".")
        blocks.setdefault(f"{prefix}.{{}}.{name}" if name else part, []).append(number)
    return ", ".join(
        name.format(numbers[0] if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}") for name, numbers in blocks.items()
    )


class SlotAllocator:
    """Hands out the dimensions of a residual stream one slot after another."""

    def __init__(self) -> None:
        self._rows: list[Slot] = []

    def add(self, name: str, shape: tuple[int, ...], written_by: str, read_by: tuple[str, ...], meaning: str) -> None:
        """Append a slot of this shape."""
        start = self._rows[-1].dims.stop if self._rows else 0
        dims = slice(start, start + math.prod(shape))
        self._rows.append(Slot(name, meaning, written_by, read_by, dims, shape))

    def done(self) -> Slots:
        """Return all slots added."""
        return Slots(tuple(self._rows))
