"""Activation patching: replace one activation of a run by another run's, and measure what changes.

A patch at position p anywhere between the attention scores of block l and its end changes the residual stream after block l
at p and nowhere else, because everything from there to the end of the block acts on each position by itself. So one pass through
block l with the site patched at every position yields the residuals of all single-position patches, and each of them is
finished by restarting at block l + 1. This is exact and needs hooks only; many cells share one forward pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float64, Int
from torch import Tensor

from mechbp.errors import HookError, InputError
from mechbp.hooks import HookedModel, accepts, capture, check_model, edit, forward, layer_of, matching_hooks, to_tokens
from mechbp.methods.intervals import Interval, bootstrap_mean, bootstrap_ratio
from mechbp.methods.metric import Metric, score
from mechbp.randomness import rng as named_rng

Direction = Literal["denoising", "noising"]
Position = int | tuple[int, ...] | None


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


class PatchCell(NamedTuple):
    """One patched activation."""

    hook: str
    position: Position
    """Position patched, or several jointly; the query position for a pattern; None = all of them."""
    head: int | None
    """Head patched; None where the activation has no head axis, or all heads jointly."""


@dataclass(frozen=True, eq=False)
class PatchEffects:
    """Metric of every patched run, per example and cell, with bootstrap intervals over examples.

    The base run is the one patched into, the donor the one patched from: corrupted and clean when denoising, clean and
    corrupted when noising.
    """

    direction: Direction
    cells: tuple[PatchCell, ...]
    values: Float64[np.ndarray, "n cell"]
    """Metric of the patched run."""
    base: Float64[np.ndarray, " n"]
    """Metric of the base run, unpatched."""
    donor: Float64[np.ndarray, " n"]
    """Metric of the donor run."""
    gap: Interval
    """Mean of donor - base: what `normalized` divides by. If it is not clear of 0, normalised effects mean little."""
    effect: Interval
    """Mean of `effects` over examples, one per cell."""
    normalized_effect: Interval
    """Mean effect / mean gap, one per cell: a ratio of means whose resamples redraw both."""

    @property
    def hooks(self) -> tuple[str, ...]:
        """Hook of each cell, along the cell axis."""
        return tuple(cell.hook for cell in self.cells)

    @property
    def positions(self) -> tuple[Position, ...]:
        """Position label of each cell, along the cell axis."""
        return tuple(cell.position for cell in self.cells)

    @property
    def heads(self) -> tuple[int | None, ...]:
        """Head of each cell, along the cell axis."""
        return tuple(cell.head for cell in self.cells)

    @property
    def effects(self) -> Float64[np.ndarray, "n cell"]:
        """Patched minus base metric, in the metric's own unit."""
        return self.values - self.base[:, None]

    @property
    def normalized(self) -> Float64[np.ndarray, "n cell"]:
        """Effects divided by the mean gap: averaged over examples, 0 is the base run and 1 the donor run.

        One divisor serves all examples, so that examples whose own two runs barely differ do not blow up; single values may
        lie outside 0..1. NaN if the mean gap is 0.
        """
        return self.effects / self.gap.mean if self.gap.mean != 0 else np.full_like(self.values, np.nan)

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per cell: hook, layer, position, head, and both mean effects with their interval's ends."""
        frame = pd.DataFrame(self.cells, columns=list(PatchCell._fields), dtype=object)
        frame.insert(1, "layer", [layer_of(hook) for hook in self.hooks])
        for name, interval in (("effect", self.effect), ("normalized", self.normalized_effect)):
            frame[name], frame[f"{name}_low"], frame[f"{name}_high"] = interval.mean, interval.low, interval.high
        frame["n"] = len(self.base)
        return frame

    def to_dict(self, *, per_example: bool = False) -> dict[str, object]:
        """Return everything for JSON; metric values of single examples only if asked for, since they are many."""
        summary: dict[str, object] = {
            "direction": self.direction,
            "cells": [cell._asdict() for cell in self.cells],
            "gap": self.gap.to_dict(),
            "effect": self.effect.to_dict(),
            "normalized_effect": self.normalized_effect.to_dict(),
        }
        if per_example:
            summary |= {"values": self.values.tolist(), "base": self.base.tolist(), "donor": self.donor.tolist()}
        return summary


@torch.no_grad()
def patch(
    model: HookedModel,
    clean: Int[np.ndarray, "n position"] | Int[Tensor, "n position"],
    corrupted: Int[np.ndarray, "n position"] | Int[Tensor, "n position"],
    metric: Metric,
    hooks: str | Iterable[str],
    direction: Direction = "denoising",
    positions: Sequence[int | tuple[int, ...]] | None = None,
    heads: bool = True,
    batch_size: int = 128,
    rng: np.random.Generator | None = None,
) -> PatchEffects:
    """Patch every matching hook, position by position and head by head, and measure each patched run.

    "denoising" runs `corrupted` with activations of `clean` patched in, "noising" the reverse; row i of one is the partner of
    row i of the other. `metric` maps the logits [n, position, q] of all n pairs, in order, to one number per pair.
    `positions` lists the cells of each hook: a position, or a tuple of positions patched jointly; None means every single
    position, except that an attention pattern is patched whole (with positions given, it is patched by query). `heads=False`
    patches all heads jointly. At most `batch_size` sequences run at a time. `rng` resamples examples for the intervals.
    Raises HookError for a hook that is unknown, silent or not in SITES, InputError for other arguments that do not fit.
    """
    check_model(model)
    if direction not in get_args(Direction):
        raise InputError(f"patch: direction must be one of {', '.join(get_args(Direction))}, got {direction!r}.")
    if batch_size < 1:
        raise InputError(f"patch: batch_size must be >= 1, got {batch_size}.")
    clean_tokens, corrupted_tokens = to_tokens(model, clean), to_tokens(model, corrupted)
    if clean_tokens.shape != corrupted_tokens.shape:
        shapes = f"{list(clean_tokens.shape)} and {list(corrupted_tokens.shape)}"
        raise InputError(f"patch: clean and corrupted must pair up row by row in one shape, got {shapes}.")
    denoising = direction == "denoising"
    base_tokens, donor_tokens = (corrupted_tokens, clean_tokens) if denoising else (clean_tokens, corrupted_tokens)
    names = matching_hooks(model, hooks)
    sites = {name: _site_of(name) for name in names}
    groups = _position_groups(positions, base_tokens.shape[1])
    runs = _Runs(model, base_tokens, donor_tokens, capture(model, donor_tokens, names, batch_size), batch_size)

    base, donor = (score(metric, runs.logits(tokens), "patch: the unpatched run") for tokens in (base_tokens, donor_tokens))
    cells: list[PatchCell] = []
    values: list[np.ndarray] = []
    for name, site in sites.items():
        labels: list[Position] = [None] if site.axes == "head query key" and positions is None else list(groups)
        n_heads = {"position": None, "position head": -2, "head query key": 1}[site.axes]
        for head in range(runs.donors[name].shape[n_heads]) if heads and n_heads is not None else [None]:
            for label, logits in zip(labels, runs.patched_logits(name, site, labels, head), strict=True):
                cells.append(PatchCell(name, label, head))
                values.append(score(metric, logits, f"patch: {name}, position {label}, head {head}"))
    stacked = np.stack(values, axis=1)
    draw = named_rng(0, "patch") if rng is None else rng
    return PatchEffects(
        direction=direction,
        cells=tuple(cells),
        values=stacked,
        base=base,
        donor=donor,
        gap=bootstrap_mean(donor - base, draw),
        effect=bootstrap_mean(stacked - base[:, None], draw),
        normalized_effect=bootstrap_ratio(stacked - base[:, None], donor - base, draw),
    )


class _Runs:
    """The base run, ready to be restarted at any block, and the donor's activations to patch into it."""

    def __init__(self, model: HookedModel, base: Tensor, donor: Tensor, donors: dict[str, Tensor], batch_size: int) -> None:
        self.model, self.base, self.donor, self.donors, self.batch_size = model, base, donor, donors, batch_size
        self.residuals = self._residuals()

    def logits(self, tokens: Tensor) -> Tensor:
        """Logits [n, position, q] of an unpatched run."""
        return torch.cat([forward(self.model, rows) for rows in tokens.split(self.batch_size)])

    def patched_logits(self, name: str, site: Site, positions: list[Position], head: int | None) -> Iterator[Tensor]:
        """Logits [n, position, q] of every patched run at one hook and head, in the order of `positions`."""
        layer, donors = layer_of(name), self.donors[name]
        if self.residuals is not None and layer is not None:
            if name.endswith("hook_resid_pre"):
                start = {"start_at_layer": layer}
                return self._finish(self.residuals[layer], start, _Write(None, site, head, donors), positions)
            if site.local and (after := self._residual_after(layer, name, site, head)) is not None:
                start, residual = {"start_at_layer": layer + 1}, _Write(None, SITES["hook_resid_post"], None, after)
                return self._finish(self.residuals[layer + 1], start, residual, positions)
        return self._finish(self.base, {}, _Write(name, site, head, donors), positions)

    def _residuals(self) -> list[Tensor] | None:
        """Base residual stream before every block and after the last; None where the model cannot restart from it."""
        blocks = [name for name in self.model.hook_dict if name.endswith(".hook_resid_pre")]
        if not blocks or not accepts(self.model, "start_at_layer", "stop_at_layer"):
            return None
        last = f"blocks.{len(blocks) - 1}.hook_resid_post"
        captured = capture(self.model, self.base, [*blocks, last], self.batch_size)
        residuals = [*(captured[f"blocks.{layer}.hook_resid_pre"] for layer in range(len(blocks))), captured[last]]
        few = slice(0, 2)  # believe the signature only after a restart has reproduced the run
        restarted = forward(self.model, residuals[-2][few], start_at_layer=len(blocks) - 1)
        return residuals if torch.allclose(restarted, forward(self.model, self.base[few]), rtol=1e-4, atol=1e-4) else None

    def _residual_after(self, layer: int, name: str, site: Site, head: int | None) -> Tensor | None:
        """Residual stream after the block when the site is patched at every position, which is each position's own patch.

        None if patching a single position of a pair that differs, any of them, shows that this model's block spreads it.
        """
        assert self.residuals is not None
        if name.endswith("hook_resid_post"):
            return self.donors[name]
        write = _Write(name, site, head, self.donors[name])
        starts = range(0, len(self.base), self.batch_size)
        patched = torch.cat([self._through_block(layer, write, slice(start, start + self.batch_size), None) for start in starts])
        differing = (self.donor != self.base).any(dim=1).nonzero()[:, 0]  # equal runs would show no spread
        few = slice(int(differing[0]), int(differing[0]) + 1) if len(differing) else slice(0, 1)
        for position in range(self.base.shape[1]):
            expected = self.residuals[layer + 1][few].clone()
            expected[:, position] = patched[few, position]
            if not torch.allclose(self._through_block(layer, write, few, position), expected, rtol=1e-4, atol=1e-4):
                return None
        return patched

    def _through_block(self, layer: int, write: _Write, rows: slice, position: Position) -> Tensor:
        """Residual stream of these rows after the block, patched inside it."""
        assert self.residuals is not None and write.hook is not None
        into = partial(_write, donor=write.donors[rows], positions=[position], site=write.site, head=write.head)
        with edit(self.model, {write.hook: into}):
            return forward(self.model, self.residuals[layer][rows], start_at_layer=layer, stop_at_layer=layer + 1)

    def _finish(self, inputs: Tensor, start: dict[str, int], write: _Write, positions: list[Position]) -> Iterator[Tensor]:
        """Run `inputs` once per entry of `positions`, many at a time, with the donor written in at that position."""
        n = len(inputs)
        cells_per_batch, rows_per_cell = max(1, self.batch_size // n), min(n, self.batch_size)
        for first in range(0, len(positions), cells_per_batch):
            group = positions[first : first + cells_per_batch]
            parts = []
            for rows, donor in zip(inputs.split(rows_per_cell), write.donors.split(rows_per_cell), strict=True):
                tiled = rows.repeat(len(group), *[1] * (rows.ndim - 1))
                into = partial(_write, donor=donor, positions=group, site=write.site, head=write.head)
                if write.hook is None:
                    logits = forward(self.model, into(tiled), **start)
                else:
                    with edit(self.model, {write.hook: into}):
                        logits = forward(self.model, tiled, **start)
                parts.append(logits.unflatten(0, (len(group), len(rows))))
            yield from torch.cat(parts, dim=1)


class _Write(NamedTuple):
    """Where the donor's activations go: into a hook, or into the forward pass's own input if `hook` is None."""

    hook: str | None
    site: Site
    head: int | None
    donors: Tensor


def _write(tiled: Tensor, donor: Tensor, positions: list[Position], site: Site, head: int | None) -> Tensor:
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


def _site_of(name: str) -> Site:
    site = SITES.get(name.rpartition(".")[2])
    if site is None:
        raise HookError(f"patch: {name} is no site for patching. Sites: {', '.join(SITES)}.")
    return site


def _position_groups(positions: Sequence[int | tuple[int, ...]] | None, length: int) -> list[int | tuple[int, ...]]:
    """The positions asked for, negative ones counted from the end, or every position."""
    if positions is not None and (isinstance(positions, str) or not isinstance(positions, Iterable)):
        raise InputError(f"patch: positions must be a list of positions or tuples of them, got {positions!r:.60}.")
    groups: list[int | tuple[int, ...]] = []
    for wanted in range(length) if positions is None else positions:
        members = wanted if isinstance(wanted, tuple) else (wanted,)
        if not members or not all(_is_position(member, length) for member in members):
            raise InputError(f"patch: positions must name positions 0..{length - 1}, or tuples of them, got {wanted!r:.60}.")
        resolved = tuple(range(length)[p] for p in members)
        groups.append(resolved if isinstance(wanted, tuple) else resolved[0])
    if not groups:
        raise InputError("patch: positions is empty. Pass None for every position.")
    return groups


def _is_position(value: object, length: int) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and -length <= int(value) < length
