"""Activation patching: replace one activation of a run by another run's, and measure what changes.

An effect shows that the activation carries, from the donor run, something that the answer depends on. It does not show what: a
patch moves everything that differs between the two runs. Nor does a small effect show that nothing is there, where another
activation carries the same.

Every number is that of a forward pass with one activation written in. How few blocks and positions are run to get it is the
business of `patch_runs` (restarts at the patched block, by hooks, for any model) and `patch_engine` (from the weights, of models
that it has reproduced, at positions that the metric reads).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, get_args

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float64, Int
from torch import Tensor

from mechbp.arguments import checked_choice, checked_flag
from mechbp.errors import InputError
from mechbp.figures.picture import Picture
from mechbp.finite import check_finite
from mechbp.hook_check import require_sound
from mechbp.hooks import HookedModel, capture, check_batch, matching_hooks, require_hooked, to_tokens
from mechbp.methods.patching.cell_picture import cell_name, cells_frame, cells_picture
from mechbp.methods.patching.metric import Direction, Metric, positions_read, score
from mechbp.methods.patching.restarts import Runs
from mechbp.methods.patching.sites import Position, Site, position_groups, site_of
from mechbp.methods.shown import Shown
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean, bootstrap_ratio
from mechbp.methods.telling import examples, gap_caution, largest, told
from mechbp.randomness import checked_generator
from mechbp.randomness import rng as named_rng


class PatchCell(NamedTuple):
    """One patched activation."""

    hook: str
    position: Position
    """Position patched, or several jointly; the query position for a pattern; None = all of them."""
    head: int | None
    """Head patched; None where the activation has no head axis, or all heads jointly."""


@dataclass(frozen=True, eq=False, repr=False)
class PatchEffects(Shown):
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

    def picture(self, normalized: bool | None = None) -> Picture:
        """Draw the mean effect of every cell: `normalized` in units of the mean gap, else of the metric.

        By default in units of the gap where its interval leaves 0 out; a share of nothing shows nothing.
        """
        normalized = not gap_caution(self.gap) if normalized is None else normalized
        return cells_picture(
            self.cells,
            self.normalized_effect if normalized else self.effect,
            f"Activation patching, {self.direction}",
            "effect / gap (0: base run, 1: donor run)" if normalized else "effect on the metric",
            f"Patched minus base metric, one cell patched at a time; the gap of the two runs is {told(self.gap)}.",
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per cell: hook, layer, position, head, and both mean effects with their interval's ends."""
        return cells_frame(self.cells, effect=self.effect, normalized=self.normalized_effect).assign(n=len(self.base))

    def summary(self) -> str:
        """Return the two runs, the largest effect and n in four lines."""
        name, value = largest(self.effect.mean, [cell_name(cell) for cell in self.cells])
        return "\n".join(
            [
                f"{self.direction}: {len(self.cells)} cells patched one at a time, of {len(set(self.hooks))} hooks",
                f"metric: base run {self.base.mean():.3g}, donor run {self.donor.mean():.3g}, gap {told(self.gap)}",
                f"largest effect {value:.3g}: {name}",
                examples(self.gap, "pairs"),
                *gap_caution(self.gap),
            ]
        )

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
    patches all heads jointly. `rng` resamples examples for the intervals.
    Memory: the base run's residual stream at every block, the donor's activation at every hook, and at a time the activations of
    `batch_size` sequences, or 8 MiB of them where runs are finished from the weights.
    Raises HookError for a hook that is unknown, silent, not in SITES or not what it is called (`check_model`), InputError for
    other arguments that do not fit.

    >>> import mechbp
    >>> run = mechbp.load("tree-root-k0")
    >>> leaves = run.process.sample(64, mechbp.rng(0, "patch")).tokens
    >>> clean = run.task.inputs(run.process, leaves)
    >>> effects = mechbp.patch(
    ...     run.model,
    ...     clean,
    ...     clean[::-1].copy(),
    ...     lambda logits: logits[:, -1].log_softmax(-1)[:, 0],
    ...     hooks="blocks.*.hook_resid_pre",
    ...     positions=[0, -1],
    ... )
    >>> effects.hooks[-1], effects.positions[-1], effects.normalized.shape
    ('blocks.3.hook_resid_pre', 16, (64, 8))
    """
    require_hooked(model)
    checked_choice(direction, "patch", "direction", get_args(Direction))
    checked_flag(heads, "patch", "heads")
    draw = named_rng(0, "patch") if rng is None else checked_generator(rng, "patch")
    if not callable(metric):
        raise InputError(f"patch: metric must be a function of logits [n, position, q] -> [n], got {type(metric).__name__}.")
    clean_tokens, corrupted_tokens = to_tokens(model, clean), to_tokens(model, corrupted)
    if clean_tokens.shape != corrupted_tokens.shape:
        shapes = f"{list(clean_tokens.shape)} and {list(corrupted_tokens.shape)}"
        raise InputError(f"patch: clean and corrupted must pair up row by row in one shape, got {shapes}.")
    batch_size = check_batch("patch", model, len(clean_tokens), batch_size)
    denoising = direction == "denoising"
    base_tokens, donor_tokens = (corrupted_tokens, clean_tokens) if denoising else (clean_tokens, corrupted_tokens)
    names = matching_hooks(model, hooks)
    sites = {name: site_of(name) for name in names}
    require_sound("patch", model, names, base_tokens)
    groups = position_groups(positions, base_tokens.shape[1], "patch")
    runs = Runs(model, base_tokens, donor_tokens, capture(model, donor_tokens, names, batch_size), batch_size)

    base_logits, donor_logits = (check_finite("patch", "logits", runs.logits(rows)) for rows in (base_tokens, donor_tokens))
    base, donor = (score(metric, logits, "patch: the unpatched run") for logits in (base_logits, donor_logits))
    runs.read_only(positions_read(metric, base_logits) | positions_read(metric, donor_logits), base_logits)
    cells: list[PatchCell] = []
    values: list[np.ndarray] = []
    for name, site in sites.items():
        labels: list[Position] = [None] if site.axes == "head query key" and positions is None else list(groups)
        n_heads = {"position": None, "position head": -2, "head query key": 1}[site.axes]
        for head in range(runs.donors[name].shape[n_heads]) if heads and n_heads is not None else [None]:
            cells += [PatchCell(name, label, head) for label in labels]
            values += _scores(runs, metric, name, site, labels, head)
    stacked = np.stack(values, axis=1)
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


def _scores(runs: Runs, metric: Metric, name: str, site: Site, labels: list[Position], head: int | None) -> list[np.ndarray]:
    """Metric of every patched run of one hook and head.

    Should the metric, on some patched run, read a position that it did not read before, it meets NaN there: the hook is then
    computed again at all positions, and so is everything after it.
    """
    values = []
    for label, logits in zip(labels, runs.patched_logits(name, site, labels, head), strict=True):
        try:
            values.append(score(metric, logits, f"patch: {name}, position {label}, head {head}"))
        except InputError:
            if runs.finisher is None:
                raise
            runs.finisher = None
            return _scores(runs, metric, name, site, labels, head)
    return values
