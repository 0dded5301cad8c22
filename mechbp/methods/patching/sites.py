"""What can be patched: how each activation is indexed, and how far a patch at one position spreads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from torch import Tensor

from mechbp.arguments import told
from mechbp.errors import HookError, InputError

Position = int | tuple[int, ...] | None
"""A position, several jointly, or None: all of them."""


class Site(NamedTuple):
    """How an activation is indexed, and how far a patch at one position spreads inside its block."""

    axes: Literal["position", "position head", "head query key"]
    local: bool
    """Whether the patch changes the residual stream after the block at its own position only."""


SITES = {
    "hook_resid_pre": Site("position", local=False),
    "hook_resid_mid": Site("position", local=True),
    "hook_resid_post": Site("position", local=True),
    "hook_attn_out": Site("position", local=True),
    "hook_mlp_out": Site("position", local=True),
    "hook_q": Site("position head", local=True),
    "hook_k": Site("position head", local=False),
    "hook_v": Site("position head", local=False),
    "hook_z": Site("position head", local=True),
    "hook_pattern": Site("head query key", local=True),
}
"""Activations that can be patched, by the last part of the hook name."""


class Write(NamedTuple):
    """Where the donor's activations go: into a hook, or into the forward pass's own input if `hook` is None."""

    hook: str | None
    site: Site
    head: int | None
    donors: Tensor


def write_donor(tiled: Tensor, donor: Tensor, positions: list[Position], site: Site, head: int | None) -> Tensor:
    """Write the donor [n, ...] into the g-th of the stacked copies [g * n, ...] at the g-th position; return the stack."""
    copies = tiled.unflatten(0, (len(positions), len(donor)))
    which_head = slice(None) if head is None else head
    for copy, position in zip(copies, positions, strict=True):
        where = slice(None) if position is None else list(position) if isinstance(position, tuple) else position
        index = {
            "position": (slice(None), where),
            "position head": (slice(None), where, which_head),
            "head query key": (slice(None), which_head, where),
        }[site.axes]
        copy[index] = donor[index]
    return tiled


def site_of(name: str) -> Site:
    site = SITES.get(name.rpartition(".")[2])
    if site is None:
        raise HookError(f"patch: {name} is no site for patching. Sites: {', '.join(SITES)}.")
    return site


def position_groups(positions: Sequence[int | tuple[int, ...]] | None, length: int, where: str) -> list[int | tuple[int, ...]]:
    """Return the positions asked for, negative ones counted from the end, or every position.

    Raises InputError, in the name of `where`, for positions that do not fit.
    """
    if positions is not None and (isinstance(positions, str) or not isinstance(positions, Iterable)):
        raise InputError(f"{where}: positions must be a list of positions or tuples of them, got {told(positions)}.")
    groups: list[int | tuple[int, ...]] = []
    for wanted in range(length) if positions is None else positions:
        members = wanted if isinstance(wanted, tuple) else (wanted,)
        if not members or not all(_is_position(member, length) for member in members):
            raise InputError(f"{where}: positions must name positions 0..{length - 1}, or tuples of them, got {told(wanted)}.")
        resolved = tuple(range(length)[p] for p in members)
        groups.append(resolved if isinstance(wanted, tuple) else resolved[0])
    if not groups:
        raise InputError(f"{where}: positions is empty. Pass None for every position.")
    return groups


def _is_position(value: object, length: int) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and -length <= int(value) < length
