"""Patched runs of any hooked model: restart at the patched block where the model can, many cells in one forward pass.

A patch at position p anywhere between the attention scores of block l and its end changes the residual stream after block l
at p and nowhere else, because everything from there to the end of the block acts on each position by itself. So one pass through
block l with the site patched at every position yields the residuals of all single-position patches, and each of them is
finished by restarting at block l + 1. This is exact and needs hooks only.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import torch
from einops import repeat
from jaxtyping import Bool, Float
from torch import Tensor

from mechbp.hook_check import can_restart
from mechbp.hooks import HookedModel, capture, edit, forward, layer_of
from mechbp.methods.patching.finisher import Finisher
from mechbp.methods.patching.inside_block import after_block
from mechbp.methods.patching.sites import SITES, Position, Site, Write, write_donor


class Done(NamedTuple):
    """Patched runs that need not be made again."""

    start: int
    positions: list[int | None]
    patched: Tensor
    logits: list[Tensor]


class Runs:
    """The base run, ready to be restarted at any block, and the donor's activations to patch into it."""

    def __init__(self, model: HookedModel, base: Tensor, donor: Tensor, donors: dict[str, Tensor], batch_size: int) -> None:
        self.model, self.base, self.donor, self.donors, self.batch_size = model, base, donor, donors, batch_size
        self.residuals = self._residuals()
        self.finisher: Finisher | None = None
        self._done: list[Done] = []

    def read_only(self, read: Bool[Tensor, "n position"], logits: Float[Tensor, "n position q"]) -> None:
        """Compute logits from now on only where `read`, from the weights if they reproduce `logits`, those of the base run.

        Everywhere else logits are then NaN.
        """
        if self.residuals is not None:
            width = int(read.sum(dim=1).max().clamp_min(1))
            first = read.int().argmax(dim=1, keepdim=True)  # rows that read fewer positions read their first one again
            order = read.int().sort(dim=1, descending=True, stable=True).indices[:, :width]
            reads = torch.where(read.gather(1, order), order, first).to(logits.device)
            self.finisher = Finisher.of(self.model, self.residuals, reads, logits)

    def logits(self, tokens: Tensor) -> Tensor:
        """Logits [n, position, q] of an unpatched run."""
        return torch.cat([forward(self.model, rows) for rows in tokens.split(self.batch_size)])

    def patched_logits(self, name: str, site: Site, positions: list[Position], head: int | None) -> Iterator[Tensor]:
        """Logits [n, position, q] of every patched run at one hook and head, in the order of `positions`."""
        layer, donors = layer_of(name), self.donors[name]
        # Joint patches of several positions stay with the model itself: patched everywhere, it is the donor to the last bit.
        single = [position for position in positions if not isinstance(position, tuple)]
        finisher = self.finisher if len(single) == len(positions) else None
        if self.residuals is None or layer is None:
            return self._finish(self.base, {}, Write(name, site, head, donors), positions)
        if name.endswith("hook_resid_pre"):
            start, patched = layer, donors
        else:
            start, patched = layer + 1, self._residual_after(layer, name, site, head, finisher) if site.local else None
        if patched is None:
            return self._finish(self.base, {}, Write(name, site, head, donors), positions)
        if finisher is not None:
            return self._from_weights(finisher, start, patched, single)
        write = Write(None, SITES["hook_resid_post"], None, patched)
        return self._finish(self.residuals[start], {"start_at_layer": start}, write, positions)

    def _from_weights(self, finisher: Finisher, start: int, patched: Tensor, positions: list[int | None]) -> Iterator[Tensor]:
        """The same from the weights, NaN where nothing is read; equal patches, as of z and of a lone head's output, run once."""
        same = (done for done in self._done if done.start == start and done.positions == positions)
        found = next((done.logits for done in same if torch.equal(done.patched, patched)), None)
        if found is None:
            found = finisher.patched(start, positions, patched)
            self._done.append(Done(start, positions, patched, found))
        for logits in found:
            whole = logits.new_full((*self.base.shape, logits.shape[-1]), torch.nan)
            yield whole.scatter_(1, repeat(finisher.reads, "n read -> n read q", q=logits.shape[-1]), logits)

    def _residuals(self) -> list[Tensor] | None:
        """Base residual stream before every block and after the last; None where the model cannot restart from it."""
        blocks = [name for name in self.model.hook_dict if name.endswith(".hook_resid_pre")]
        if not blocks or not can_restart(self.model, self.base):
            return None
        last = f"blocks.{len(blocks) - 1}.hook_resid_post"
        captured = capture(self.model, self.base, [*blocks, last], self.batch_size)
        residuals = [*(captured[f"blocks.{layer}.hook_resid_pre"] for layer in range(len(blocks))), captured[last]]
        few = slice(0, 2)  # believe the signature only after a restart has reproduced the run
        restarted = forward(self.model, residuals[-2][few], start_at_layer=len(blocks) - 1)
        return residuals if torch.allclose(restarted, forward(self.model, self.base[few]), rtol=1e-4, atol=1e-4) else None

    def _residual_after(self, layer: int, name: str, site: Site, head: int | None, finisher: Finisher | None) -> Tensor | None:
        """Residual stream after the block when the site is patched at every position, which is each position's own patch.

        None if patching a single position of a pair that differs, any of them, shows that this model's block spreads it.
        """
        assert self.residuals is not None
        if name == f"blocks.{layer}.hook_resid_post":  # and no hook that shows a part of it
            return self.donors[name]
        write = Write(name, site, head, self.donors[name])
        starts = range(0, len(self.base), self.batch_size)
        kind = name.rpartition(".")[2]
        patched = after_block(finisher, layer, kind, head, write.donors) if finisher is not None else None
        if finisher is not None and patched is not None:  # to the last bit, so that these runs keep the unpatched answer
            patched = patched.where(~self._equal_so_far(finisher)[..., None], self.residuals[layer + 1])
        else:
            batches = (slice(start, start + self.batch_size) for start in starts)
            patched = torch.cat([self._through_block(layer, write, rows, [None]) for rows in batches])
        differing = (self.donor != self.base).any(dim=1).nonzero()[:, 0]  # equal runs would show no spread
        few = slice(int(differing[0]), int(differing[0]) + 1) if len(differing) else slice(0, 1)
        every: list[Position] = list(range(self.base.shape[1]))
        expected = self.residuals[layer + 1][few].repeat(len(every), 1, 1)
        expected[every, every] = patched[few][0]
        return patched if torch.allclose(self._through_block(layer, write, few, every), expected, rtol=1e-4, atol=1e-4) else None

    def _equal_so_far(self, finisher: Finisher) -> Bool[Tensor, "n position"]:
        """Positions at which both runs have seen the same tokens, so that nothing there differs in any block."""
        equal = self.base == self.donor
        if finisher.network.causal:
            return equal.int().cumprod(dim=1).bool()
        return repeat(equal.all(dim=1), "n -> n position", position=equal.shape[1])

    def _through_block(self, layer: int, write: Write, rows: slice, positions: list[Position]) -> Tensor:
        """Residual stream of these rows after the block, patched inside it; one stacked copy of the rows per position."""
        assert self.residuals is not None and write.hook is not None
        into = partial(write_donor, donor=write.donors[rows], positions=positions, site=write.site, head=write.head)
        tiled = self.residuals[layer][rows].repeat(len(positions), 1, 1)
        with edit(self.model, {write.hook: into}):
            return forward(self.model, tiled, start_at_layer=layer, stop_at_layer=layer + 1)

    def _finish(self, inputs: Tensor, start: dict[str, int], write: Write, positions: list[Position]) -> Iterator[Tensor]:
        """Run `inputs` once per entry of `positions`, many at a time, with the donor written in at that position."""
        n = len(inputs)
        cells_per_batch, rows_per_cell = max(1, self.batch_size // n), min(n, self.batch_size)
        for first in range(0, len(positions), cells_per_batch):
            group = positions[first : first + cells_per_batch]
            parts = []
            for rows, donor in zip(inputs.split(rows_per_cell), write.donors.split(rows_per_cell), strict=True):
                tiled = rows.repeat(len(group), *[1] * (rows.ndim - 1))
                into = partial(write_donor, donor=donor, positions=group, site=write.site, head=write.head)
                if write.hook is None:
                    logits = forward(self.model, into(tiled), **start)
                else:
                    with edit(self.model, {write.hook: into}):
                        logits = forward(self.model, tiled, **start)
                parts.append(logits.unflatten(0, (len(group), len(rows))))
            yield from torch.cat(parts, dim=1)
