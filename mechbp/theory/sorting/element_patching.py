"""Patching one value of a list: along which activations does the change reach the answer?

Pairs of kind "answer" move the value asked for, which keeps its place: a head that finds it by its order and copies it passes the
change on through its value vectors, and its pattern need not change. Pairs of kind "overtaken" move the answer to another place:
now the pattern has to change, through the keys. The other kinds say how much a value moves the logits that is not asked for.
Effects run from the base list (0) to the source list (1) in the metric logit(new) - logit(old), and are divided by the mean
distance of base and source of pairs that move the answer.

What a sorter does that puts all attention on the answer and copies it, all heads together:

    pairs of kind   keys, pattern   values   both
    answer                0            1       1     the place keeps all attention, and what is copied from there changes
    overtaken             1           1/2      1     attention moves to the new answer; values alone take the old one away only
    further, below        0            0       0     what is not attended to says nothing
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int

from mechbp.errors import InputError
from mechbp.figures.intervals import points
from mechbp.figures.picture import Picture
from mechbp.hooks import HookedModel
from mechbp.methods.patching.patch import PatchEffects, patch
from mechbp.methods.shown import Shown
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean, bootstrap_ratio
from mechbp.methods.telling import examples, told
from mechbp.randomness import rng as named_rng
from mechbp.theory.sorting.list_pairs import ListPairs

AT_PLACE = ("hook_resid_pre", "attn.hook_k", "attn.hook_v")
"""Patched where the value that changes stands in the list."""
AT_QUERY = ("attn.hook_q", "attn.hook_pattern", "attn.hook_z", "hook_attn_out")
"""Patched at the position asked at; of a pattern, the row of that query."""


class ElementCell(NamedTuple):
    """One activation, patched where each pair differs or is asked."""

    site: str
    """Hook name within its block."""
    head: int | None
    """None: all heads together, or no heads."""


@dataclass(frozen=True, eq=False, repr=False)
class ElementEffects(Shown):
    """Metric of the patched runs of all pairs."""

    cells: tuple[ElementCell, ...]
    values: Float64[np.ndarray, "n cell"]
    """logit(new) - logit(old) with one activation of the source list in the run of the base list."""
    base: Float64[np.ndarray, " n"]
    """The same of the base list unpatched."""
    source: Float64[np.ndarray, " n"]
    """The same of the source list."""

    @property
    def effects(self) -> Float64[np.ndarray, "n cell"]:
        """Patched minus base metric."""
        return self.values - self.base[:, None]

    @property
    def gap(self) -> Float64[np.ndarray, " n"]:
        """Source minus base metric."""
        return self.source - self.base

    def normalized(self, rng: np.random.Generator, scale: float | None = None) -> Interval:
        """Return mean effect / mean gap per cell, or mean effect / `scale`, with an interval over pairs.

        scale: the mean gap of pairs that move the answer, so that controls are measured in the same unit; it counts as known.
        """
        return bootstrap_ratio(self.effects, self.gap, rng) if scale is None else bootstrap_mean(self.effects / scale, rng)

    def turned(self, rng: np.random.Generator) -> Interval:
        """Return the share of pairs whose patched run prefers `new` to `old`, per cell, with an interval over pairs."""
        return bootstrap_mean((self.values > 0).astype(np.float64), rng)

    def picture(self, rng: np.random.Generator | None = None, scale: float | None = None) -> Picture:
        """Draw the normalised effect of every cell; `scale` as in `normalized`."""
        found = self.normalized(named_rng(0, "ElementEffects") if rng is None else rng, scale)
        names = [cell.site if cell.head is None else f"{cell.site}, head {cell.head}" for cell in self.cells]
        return Picture(
            kind="dots",
            title="Patching one value of a list",
            caption=f"Effect on logit(new) - logit(old) over the gap of the two lists, mean {self.gap.mean():.3g}: 0 is the "
            "base list, 1 "
            f"the source list. {found.level:.0%} bootstrap intervals over n = {found.n:,} pairs.",
            alt=f"Dots with intervals: normalised effects of {len(names)} activations.",
            data={
                "x_title": "effect / gap",
                "categories": names,
                "series": [{"name": "effect", **points(found, "x")}],
                "references": [{"name": "base list", "x": 0}, {"name": "source list", "x": 1}],
            },
        )

    def to_dataframe(self, rng: np.random.Generator | None = None, scale: float | None = None) -> pd.DataFrame:
        """Return one row per cell: site, head, normalised effect and the ends of its interval."""
        table = pd.DataFrame(self.cells, columns=list(ElementCell._fields), dtype=object)
        found = self.normalized(named_rng(0, "ElementEffects") if rng is None else rng, scale)
        table["normalized"], table["low"], table["high"] = found.mean, found.low, found.high
        return table

    def summary(self, rng: np.random.Generator | None = None, scale: float | None = None) -> str:
        """Return the gap of the two lists, the largest effect with its interval, and n."""
        found = self.normalized(named_rng(0, "ElementEffects") if rng is None else rng, scale)
        where = int(np.abs(found.mean).argmax())
        cell = self.cells[where]
        place = cell.site if cell.head is None else f"{cell.site}, head {cell.head}"
        return (
            f"{len(self.cells)} activations patched from source to base lists; gap {self.gap.mean():.3g} of logits\n"
            f"largest effect {told(found[where])} of the gap: {place}\n{examples(found, 'pairs')}"
        )


def element_patching(model: HookedModel, pairs: ListPairs, *, layer: int = 0, batch_size: int = 256) -> ElementEffects:
    """Patch every site of one block, head by head and all heads together, from the source lists into the base lists.

    Raises InputError for pairs of kind "current", whose patched lists would not fit the token asked at, else as `patch` does.
    """
    _check_kind(pairs, "element_patching")
    length = pairs.base.shape[1] // 2
    cells: list[ElementCell] = []
    values: list[np.ndarray] = []
    ends = (np.empty(0), np.empty(0))
    for sites, first, at in ((AT_PLACE, 0, pairs.place), (AT_QUERY, length, pairs.query)):
        for heads in (True, False):
            chosen = sites if heads else [site for site in sites if site.startswith("attn.")]
            found = patch(
                model,
                pairs.base[:, :-1],
                pairs.source[:, :-1],
                pairs.metric,
                [f"blocks.{layer}.{site}" for site in chosen],
                direction="noising",
                positions=range(first, first + length),
                heads=heads,
                batch_size=batch_size,
            )
            ends = (found.base, found.donor)
            for cell, column in _own_positions(found, at, layer).items():
                cells.append(cell)
                values.append(column)
    return ElementEffects(tuple(cells), np.stack(values, axis=1), *ends)


def _check_kind(pairs: ListPairs, where: str) -> None:
    if pairs.kind == "current":
        raise InputError(f"{where}: pairs of kind 'current' differ in the token asked at. Pass pairs of another kind.")


def _own_positions(found: PatchEffects, at: Int[np.ndarray, " n"], layer: int) -> Mapping[ElementCell, np.ndarray]:
    """Of every hook and head, each pair's value with the patch at that pair's own position."""
    columns: dict[ElementCell, np.ndarray] = {}
    rows = np.arange(len(at))
    for number, cell in enumerate(found.cells):
        key = ElementCell(cell.hook.removeprefix(f"blocks.{layer}."), cell.head)
        column = columns.setdefault(key, np.full(len(rows), np.nan))
        mine = at == cell.position
        column[mine] = found.values[mine, number]
    return columns
