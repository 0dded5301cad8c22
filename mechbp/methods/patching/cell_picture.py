"""Effects of cells as heat maps: hooks down, positions across, or heads across where cells are whole heads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mechbp.errors import InputError
from mechbp.figures.picture import Picture
from mechbp.hooks import layer_of
from mechbp.methods.patching.sites import Position
from mechbp.methods.statistics.intervals import Interval
from mechbp.methods.telling import dots, ends

BLOCK = re.compile(r"^blocks\.\d+\.")
"""What comes before the site in the name of a hook."""

Cell = tuple[str, Position, int | None]
"""A PatchCell: hook, position and head."""


def cell_name(cell: Cell) -> str:
    """Return "blocks.0.attn.hook_z, head 1, position 3"."""
    hook, position, head = cell
    return hook + ("" if head is None else f", head {head}") + ("" if position is None else f", position {_at(position)}")


def cells_picture(cells: Sequence[Cell], effect: Interval, title: str, value_title: str, caption: str) -> Picture:
    """Draw one mean per cell, hooks of one kind in one panel; values that all are >= 0 on one scale, others about 0.

    Raises InputError for effects that are not one per cell.
    """
    if effect.mean.shape != (len(cells),):
        raise InputError(f"cells_picture: need one effect per cell, {len(cells)}, got {list(effect.mean.shape)}.")
    sites: dict[str, list[int]] = {}
    for index, (hook, _, _) in enumerate(cells):
        sites.setdefault(BLOCK.sub("", hook), []).append(index)
    panels = [_panel(site, [cells[i] for i in members], effect[members]) for site, members in sites.items()]
    known = effect.mean[np.isfinite(effect.mean)]
    first = panels[0]
    return Picture(
        kind="heatmap",
        title=title,
        caption=f"{caption} Mean over n = {effect.n:,} examples; {effect.level:.0%} bootstrap intervals in hover and table.",
        alt=f"Heat map of {value_title}: {', '.join(sites)}, one row per hook, {len(cells)} cells.",
        data={
            "rows": first["rows"],
            "columns": first["columns"],
            "value_title": value_title,
            "row_title": "block",
            "column_title": "position or head",
            "scale": "diverging" if (known < 0).any() else "sequential",
            "panels": panels,
        },
    )


def joint_picture(effect: Interval, title: str, value_title: str, caption: str) -> Picture:
    """Draw the one mean of all cells together."""
    return Picture(
        kind="dots",
        title=title,
        caption=f"{caption} Mean over n = {effect.n:,} examples with its {effect.level:.0%} bootstrap interval.",
        alt=f"One dot with its interval: {value_title} of all cells together.",
        data=dots(value_title, {"all cells": effect[0]}, references=[{"name": "no change", "x": 0}]),
    )


def cells_frame(cells: Sequence[Cell], **effects: Interval) -> pd.DataFrame:
    """Return one row per cell: hook, layer, position, head, and each mean effect with its interval's ends."""
    table = pd.DataFrame([tuple(cell) for cell in cells], columns=["hook", "position", "head"], dtype=object)
    table.insert(1, "layer", [layer_of(hook) for hook, _, _ in cells])
    for name, interval in effects.items():
        for column, values in ends(name, interval).items():
            table[column] = values
    return table


def _panel(site: str, cells: Sequence[Cell], effect: Interval) -> dict[str, Any]:
    """Rows are hooks and their heads, columns positions; where every cell is a whole head, columns are heads."""
    by_head = all(position is None for _, position, _ in cells)
    places = []
    for hook, position, head in cells:
        beside = "" if head is None else f"head {head}"
        if by_head:
            places.append((_row(hook), beside or "all heads"))
        else:
            places.append((", ".join(filter(None, (_row(hook), beside))), "all" if position is None else _at(position)))
    rows = list(dict.fromkeys(row for row, _ in places))
    columns = list(dict.fromkeys(column for _, column in places))
    grids = {name: np.full((len(rows), len(columns)), np.nan) for name in ("values", "low", "high")}
    where = tuple(np.array([(rows.index(row), columns.index(column)) for row, column in places]).T)
    for name, end in (("values", effect.mean), ("low", effect.low), ("high", effect.high)):
        grids[name][where] = end
    return {"title": site, "rows": rows, "columns": columns, **grids}


def _row(hook: str) -> str:
    """The block of a hook, whose site is named above the panel; the hook itself outside of blocks."""
    layer = layer_of(hook)
    return hook if layer is None else f"block {layer}"


def _at(position: Position) -> str:
    return "+".join(map(str, position)) if isinstance(position, tuple) else str(position)
