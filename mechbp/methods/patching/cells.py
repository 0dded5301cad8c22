"""Cells of activations: which part of an activation a method changes or credits, labelled as in `PatchEffects`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor

from mechbp.errors import InputError
from mechbp.methods.patching.patch import PatchCell
from mechbp.methods.patching.sites import SITES, Position, position_groups

Index = tuple[slice | list[int], ...]


def axes_of(hook: str) -> str:
    """Return how the activation is indexed: as SITES says, or "position" for activations [n, position, ...] that it lacks."""
    site = SITES.get(hook.rpartition(".")[2])
    return "position" if site is None else site.axes


def cells_of(
    shapes: dict[str, tuple[int, ...]], length: int, positions: Sequence[int | tuple[int, ...]] | None, heads: bool, where: str
) -> list[PatchCell]:
    """Return the cells of every hook, in the order of `patch`: hook, then head, then position.

    `shapes` are those of the activations, `length` the number of positions of the tokens; `positions` and `heads` are those
    of `patch`. Raises InputError, in the name of `where`, for positions that do not fit.
    """
    groups = position_groups(positions, length, where)
    cells = []
    for hook, shape in shapes.items():
        axes = axes_of(hook)
        labels: list[Position] = [None] if axes == "head query key" and positions is None else list(groups)
        if axes != "head query key" and (len(shape) < 3 or shape[1] != length):
            raise InputError(f"{where}: {hook} has shape {list(shape)}, expected [n, {length} positions, ...].")
        n_heads = {"position": None, "position head": 2, "head query key": 1}[axes]
        each = range(shape[n_heads]) if heads and n_heads is not None else [None]
        cells += [PatchCell(hook, label, head) for head in each for label in labels]
    return cells


def index_of(cell: PatchCell) -> Index:
    """Return the index of the cell in its activation [n, ...], whose position axis (query axis of a pattern) is kept."""
    position = cell.position
    at = slice(None) if position is None else list(position) if isinstance(position, tuple) else [position]
    head = slice(None) if cell.head is None else slice(cell.head, cell.head + 1)
    index: dict[str, Index] = {
        "position": (slice(None), at),
        "position head": (slice(None), at, head),
        "head query key": (slice(None), head, at),
    }
    return index[axes_of(cell.hook)]


def sums_by_cell(values: Tensor, cells: Iterable[PatchCell]) -> list[Tensor]:
    """Return the sum of an activation's entries [n, ...] over each of the cells, [n] each."""
    reduced = values.flatten(3).sum(dim=3) if values.ndim > 3 else values.sum(dim=2, keepdim=True)
    return [reduced[index_of(cell)].flatten(1).sum(dim=1) for cell in cells]
