"""A plotly figure that a script drew by itself, shown as it is.

{traces: [plotly trace], layout: plotly layout}

Colours of paper, text and axes come from the page, so that it reads in light and dark; everything else is the script's. The table
has a row per point of every trace, its flat lists side by side; of a grid (`z`), a row per cell.
"""

from __future__ import annotations

import json
from typing import Any

from mechbp.errors import InputError
from mechbp.figures import checking, style
from mechbp.figures.frames import Content
from mechbp.figures.plain import plain
from mechbp.figures.table import Cell, Row

HEIGHT_PX = 420
GRIDS = ("heatmap", "contour", "histogram2d", "histogram2dcontour", "surface")
LEFT_OUT = ("template", "width", "autosize", "updatemenus", "sliders")
"""Of a layout: what the page decides, and controls for which it has its own."""


def data_of(figure: Any) -> dict[str, Any]:
    """Return a plotly figure as data of this kind; dates and what else JSON lacks become text."""
    if figure.frames:
        raise InputError("Report.add: a plotly figure with frames has no place on a page; add one figure per frame.")
    # Trace by trace: arrays of a whole figure's JSON are in base 64.
    traces = [trace.to_plotly_json() for trace in figure.data]
    layout = {key: value for key, value in figure.layout.to_plotly_json().items() if key not in LEFT_OUT}
    found = {"traces": traces, "layout": layout}
    return json.loads(json.dumps(found, default=_as_lists))


def _as_lists(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


def check(data: dict[str, Any], where: str) -> None:
    """Raise InputError naming the first thing wrong with the data."""
    checking.keys(data, {"traces", "layout"}, (), where)
    for index, trace in enumerate(checking.entries(data["traces"], f"{where}.traces", least=1)):
        if not isinstance(trace, dict) or not isinstance(trace.get("type", "scatter"), str):
            raise InputError(f"{where}.traces[{index}]: expected a plotly trace, got {trace!r:.60}.")
    if not isinstance(data["layout"], dict):
        raise InputError(f"{where}.layout: expected a plotly layout, got {data['layout']!r:.60}.")
    for key, value in data["layout"].items():
        if key.startswith(("xaxis", "yaxis")) and not isinstance(value, dict):
            raise InputError(f"{where}.layout.{key:.60}: expected a plotly axis, got {value!r:.60}.")
    plain(data, where)


def draw(data: dict[str, Any], narrow: bool) -> dict[str, Any]:
    """Draw the traces on the page's paper, under the layout that the script gave; where it names no colours, in ours."""
    base = style.base(HEIGHT_PX, narrow, colorway=list(style.PALETTE))
    axes = {key: {"automargin": True} | value for key, value in data["layout"].items() if key.startswith(("xaxis", "yaxis"))}
    title = {"margin": base["margin"] | {"t": 48}} if data["layout"].get("title") else {}
    return {"data": [_colored(trace) for trace in data["traces"]], "layout": base | title | data["layout"] | axes}


def _colored(trace: dict[str, Any]) -> dict[str, Any]:
    if trace.get("type") in GRIDS and not {"colorscale", "coloraxis", "autocolorscale"} & {*trace}:
        return {**trace, "colorscale": style.colorscale(style.SEQUENTIAL)}
    return trace


def rows(data: dict[str, Any], content: Content) -> list[Row]:
    """Return one row per point, or per cell of a grid, trace by trace."""
    found: list[Row] = []
    for index, trace in enumerate(data["traces"]):
        name = str(trace.get("name", f"trace {index}"))
        grid = trace.get("z")
        if isinstance(grid, list) and grid and isinstance(grid[0], list):
            across, down = trace.get("x"), trace.get("y")
            for i, line in enumerate(grid):
                for j, value in enumerate(line):
                    found.append({"trace": name, "y": _at(down, i), "x": _at(across, j), "z": _cell(value)})
            continue
        lists = {key: value for key, value in trace.items() if _is_flat(value)}
        for i in range(max((len(value) for value in lists.values()), default=0)):
            found.append({"trace": name, **{key: _cell(value[i]) for key, value in lists.items() if i < len(value)}})
    return found


def _is_flat(value: Any) -> bool:
    return isinstance(value, list) and not any(isinstance(entry, dict | list) for entry in value)


def _at(labels: Any, index: int) -> Cell:
    return _cell(labels[index]) if isinstance(labels, list) and index < len(labels) else index


def _cell(value: Any) -> Cell:
    return value if value is None or (isinstance(value, str | int | float) and not isinstance(value, bool)) else str(value)
