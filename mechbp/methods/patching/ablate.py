"""Ablation: take away what activations say, and measure how much the answer needed it.

What an ablation removes depends on what stands in instead, so the stand-in is an argument without a default. Zero may be a
value the model never meets; the mean of a reference set removes what varies over it and keeps what all of it shares, though
the mean itself may be met by no input; resampling keeps each activation typical and adds another example's message. It shows
that the ablated cells are needed given that stand-in. It cannot show what they compute, and a small change may mean that
another part does the same work.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float64, Int
from torch import Tensor

from mechbp.brief import Brief
from mechbp.errors import InputError
from mechbp.figures.picture import Picture
from mechbp.hook_check import require_sound
from mechbp.hooks import HookedModel, capture, edit, forward, matching_hooks, require_hooked, to_tokens
from mechbp.methods.patching.cell_picture import cell_name, cells_frame, cells_picture, joint_picture
from mechbp.methods.patching.cells import cells_of, index_of
from mechbp.methods.patching.metric import Metric, score
from mechbp.methods.patching.patch import PatchCell
from mechbp.methods.shown import Shown
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.methods.telling import ends, examples, largest, told
from mechbp.randomness import checked_generator
from mechbp.randomness import rng as named_rng

Tokens = Int[np.ndarray, "n position"] | Int[Tensor, "n position"]


@dataclass(frozen=True, eq=False, repr=False)
class Mean(Brief):
    """Stand-in: the mean activation over reference sequences, each position (and head) by itself."""

    reference_tokens: Int[np.ndarray, "m position"] | Int[Tensor, "m position"]


@dataclass(frozen=True, eq=False, repr=False)
class Resample(Brief):
    """Stand-in: the activation of another sequence, one partner per example and the same one in all of its cells.

    Partners are drawn with equal chances from the reference sequences that differ from the example, or are given as row
    numbers in `partners`.
    """

    reference_tokens: Int[np.ndarray, "m position"] | Int[Tensor, "m position"]
    rng: np.random.Generator | None = None
    partners: Int[np.ndarray, " n"] | None = None


Ablation = Literal["zero"] | Mean | Resample


@dataclass(frozen=True, eq=False, repr=False)
class AblationEffects(Shown):
    """Metric without and with each ablation, per example."""

    distribution: str
    """What stood in, in words."""
    cells: tuple[PatchCell, ...]
    jointly: bool
    """Whether all cells were ablated at once: then there is one column for all of them, else one per cell."""
    base: Float64[np.ndarray, " n"]
    """Metric of the unedited run."""
    ablated: Float64[np.ndarray, "n ablation"]
    change: Interval
    """Mean of ablated - base over examples, one per column."""
    partners: Int[np.ndarray, " n"] | None
    """Row of the reference set whose activations each example was given; None unless resampled."""

    @property
    def changes(self) -> Float64[np.ndarray, "n ablation"]:
        """Ablated minus base metric, in the metric's own unit."""
        return self.ablated - self.base[:, None]

    def picture(self) -> Picture:
        """Draw the mean change of the metric by every ablation."""
        caption = f"Ablated minus base metric; what stood in: {self.distribution}. Base metric {self.base.mean():.3g}."
        if self.jointly:
            title = f"Ablation of {len(self.cells)} cells at once, by {self.distribution}"
            return joint_picture(self.change, title, "change of the metric", caption)
        return cells_picture(self.cells, self.change, f"Ablation by {self.distribution}", "change of the metric", caption)

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per cell, or one for all of them at once, with the mean change and its interval's ends."""
        if self.jointly:
            table = pd.DataFrame({"cells": [len(self.cells)], **ends("change", self.change)})
        else:
            table = cells_frame(self.cells, change=self.change)
        return table.assign(n=len(self.base))

    def summary(self) -> str:
        """Return what stood in, the base metric, the change, the largest one of several, and n."""
        cells = "cell" if len(self.cells) == 1 else "cells"
        lines = [
            f"{len(self.cells)} {cells} ablated {'at once' if self.jointly else 'one by one'}; stand-in: {self.distribution}",
            f"metric unablated {self.base.mean():.3g}",
        ]
        if self.jointly:
            lines.append(f"change {told(self.change[0])}")
        else:
            name, value = largest(self.change.mean, [cell_name(cell) for cell in self.cells])
            lines.append(f"largest change {value:.3g}: {name}")
        return "\n".join([*lines, examples(self.change)])

    def to_dict(self) -> dict[str, object]:
        """Return plain numbers for JSON, without single examples."""
        cells = [cell._asdict() for cell in self.cells]
        summary = {"distribution": self.distribution, "cells": cells, "jointly": self.jointly}
        return {**summary, "base": float(self.base.mean()), "change": self.change.to_dict()}


@torch.no_grad()
def ablate(
    model: HookedModel,
    tokens: Tokens,
    metric: Metric,
    hooks: str | Iterable[str],
    ablation: Ablation,
    *,
    jointly: bool,
    positions: Sequence[int | tuple[int, ...]] | None = None,
    heads: Sequence[int] | None = None,
    batch_size: int = 512,
    rng: np.random.Generator | None = None,
) -> AblationEffects:
    """Replace cells of the matching hooks' activations by the stand-in, all at once or one by one, and compare the metric.

    `ablation` is "zero", Mean(reference_tokens) or Resample(reference_tokens, rng): there is no default, since a number
    without its stand-in means nothing (see above). Cells are labelled as in `patch`: a position (or tuple of positions) of
    an activation [n, position, ...], and a head where it has a head axis; `heads` picks heads, default all. A pattern is
    ablated whole, or by query where positions are given. `metric` maps logits [n, position, q] of all examples, in order, to
    one number each. `rng` resamples examples for the interval.
    Raises HookError for a hook that is unknown, never fires or is not what it is called (`check_model`), InputError for other
    arguments that do not fit.
    """
    require_hooked(model)
    rows = to_tokens(model, tokens)
    if batch_size < 1:
        raise InputError(f"ablate: batch_size must be >= 1, got {batch_size}.")
    names = matching_hooks(model, hooks)
    require_sound("ablate", model, names, rows)
    stand_ins, distribution, partners = _stand_ins(model, rows, names, ablation, batch_size)
    shapes = {name: tuple(stand_ins[name].shape) for name in names}
    cells = cells_of(shapes, rows.shape[1], positions, True, "ablate")
    if heads is not None:
        known = {cell.head for cell in cells} - {None}
        if not heads or not set(heads) <= known:
            raise InputError(f"ablate: heads must be among {sorted(known) or 'none'}, at least one, got {list(heads)}.")  # type: ignore[type-var]
        cells = [cell for cell in cells if cell.head is None or cell.head in heads]

    def logits(cut: Sequence[PatchCell]) -> Tensor:
        found = []
        for start in range(0, len(rows), batch_size):
            part = slice(start, start + batch_size)
            by_hook: dict[str, list[PatchCell]] = {}
            for cell in cut:
                by_hook.setdefault(cell.hook, []).append(cell)
            edits = {name: partial(_replaced, stand_ins[name], members, part) for name, members in by_hook.items()}
            if edits:
                with edit(model, edits):
                    found.append(forward(model, rows[part]))
            else:
                found.append(forward(model, rows[part]))
        return torch.cat(found)

    base = score(metric, logits([]), "ablate: the unedited run")
    groups = [cells] if jointly else [[cell] for cell in cells]
    ablated = np.stack([score(metric, logits(group), f"ablate: {_named(group)}") for group in groups], axis=1)
    draw = named_rng(0, "ablate") if rng is None else rng
    change = bootstrap_mean(ablated - base[:, None], draw)
    return AblationEffects(distribution, tuple(cells), jointly, base, ablated, change, partners)


def draw_partners(
    tokens: Int[np.ndarray, "n position"], reference: Int[np.ndarray, "m position"], rng: np.random.Generator
) -> Int[np.ndarray, " n"]:
    """Return for each row of `tokens` a row of `reference` that differs from it, each such row with the same chance.

    Raises InputError where some row has none: its ablation would change nothing by construction.
    """
    _, group = np.unique(np.vstack([tokens, reference]), axis=0, return_inverse=True)
    mine, theirs = np.split(group.ravel(), [len(tokens)])
    if len(np.unique(theirs)) == 1 and (mine == theirs[0]).any():
        raise InputError("ablate: no reference sequence differs from some example. Give a larger reference set.")
    partners = rng.integers(len(reference), size=len(tokens))
    while (same := theirs[partners] == mine).any():
        partners[same] = rng.integers(len(reference), size=int(same.sum()))
    return partners


def _stand_ins(
    model: HookedModel, rows: Tensor, names: Sequence[str], ablation: Ablation, batch_size: int
) -> tuple[Mapping[str, Tensor], str, Int[np.ndarray, " n"] | None]:
    """What stands in at every hook, [n or 1, ...], what that is in words, and the partners if there are any."""
    if isinstance(ablation, str) and ablation == "zero":
        return {name: torch.zeros_like(value) for name, value in capture(model, rows[:1], names).items()}, "zero", None
    if not isinstance(ablation, Mean | Resample):
        raise InputError(
            f"ablate: ablation must be 'zero', Mean(reference_tokens) or Resample(reference_tokens, rng), got {ablation!r:.60}."
        )
    reference = to_tokens(model, ablation.reference_tokens)
    if reference.shape[1] != rows.shape[1]:
        raise InputError(
            f"ablate: reference sequences must have {rows.shape[1]} positions like the tokens, got {reference.shape[1]}."
        )
    m = len(reference)
    captured = capture(model, reference, names, batch_size)
    if isinstance(ablation, Mean):
        means = {name: value.mean(dim=0, keepdim=True, dtype=torch.float64).to(value) for name, value in captured.items()}
        return means, f"mean over {m} reference sequences, per position", None
    if (ablation.rng is None) == (ablation.partners is None):
        raise InputError("ablate: Resample needs either rng, to draw partners with, or partners, not both.")
    if ablation.partners is None:
        draw = checked_generator(ablation.rng, "ablate: Resample")
        partners = draw_partners(rows.cpu().numpy(), reference.cpu().numpy(), draw)
    else:
        partners = np.array(ablation.partners)
        if partners.shape != (len(rows),) or partners.dtype.kind not in "iu" or not ((partners >= 0) & (partners < m)).all():
            raise InputError(f"ablate: partners must be {len(rows)} row numbers in 0..{m - 1}, one per example.")
    where = torch.from_numpy(partners).to(rows.device)
    drawn = {name: value[where] for name, value in captured.items()}
    return drawn, f"resampled from {m} reference sequences, one partner per example", partners


def _replaced(stand_in: Tensor, cells: Sequence[PatchCell], part: slice, activation: Tensor) -> Tensor:
    """Put the stand-in [n or 1, ...] into the cells of a private copy of the activation of some rows."""
    theirs = stand_in.expand_as(activation) if len(stand_in) == 1 else stand_in[part]
    for cell in cells:
        activation[index_of(cell)] = theirs[index_of(cell)]
    return activation


def _named(cells: Sequence[PatchCell]) -> str:
    first = cells[0]
    return f"{first.hook}, position {first.position}, head {first.head}" + f" and {len(cells) - 1} more" * (len(cells) > 1)
