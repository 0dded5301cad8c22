"""Grouped bars with error bars and reference ticks.

{y_title, x_title?, y_range?, categories: [c],
 series: [{name, y: [c], low?: [c], high?: [c], reference?: [c], color?, control?}],
 references?: [{name, y: [c]}]}

`reference` in a series is a tick across its own bars, `references` are ticks across the whole category.
"""

from __future__ import annotations

from typing import Any

from mechbp.figures import checking, style
from mechbp.figures.frames import Content
from mechbp.figures.style import GROUP
from mechbp.figures.table import Row, distinct

CHARACTER_PX, LINE_PX = 7, 15
"""Of labels of categories."""
AXIS_PX = 80
"""Of a figure's width, beside the bars."""
TURNED_ROOM, MOST_ROOM = 18, 60
"""Characters after which labels that are turned are wrapped: at least, and at most however long their words are."""


def check(data: dict[str, Any], where: str) -> None:
    """Raise InputError naming the first thing wrong with the data."""
    checking.keys(data, {"y_title", "categories", "series"}, {"x_title", "y_range", "references"}, where)
    categories = checking.labels(data["categories"], f"{where}.categories")
    checking.ranges(data, where, "y_range")
    for index, series in enumerate(checking.entries(data["series"], f"{where}.series", least=1)):
        here = f"{where}.series[{index}]"
        checking.keys(series, {"name", "y"}, {"low", "high", "reference", "color", "control"}, here)
        checking.series(series, here, "y", length=len(categories), others=("reference",))
    checking.references(data, where, "y", len(categories))


def rows(data: dict[str, Any], content: Content) -> list[Row]:
    """Return, category by category, one row per series and one per reference."""
    title = distinct(data["y_title"], "category", "series", "low", "high", "reference")[0]
    found: list[Row] = []
    for index, category in enumerate(data["categories"]):
        for part in content:
            extra = {key: part[key][index] for key in ("low", "high", "reference") if key in part}
            found.append({"category": category, "series": part["name"], title: part["y"][index], **extra})
        for reference in data.get("references", []):
            found.append({"category": category, "series": reference["name"], title: reference["y"][index]})
    return found


def draw(data: dict[str, Any], narrow: bool) -> dict[str, Any]:
    """Draw one group of bars per category; a series' reference is a tick across its bars, references are ticks across groups."""
    categories = data["categories"]
    series = data["series"]
    width = GROUP / len(series)
    heights = [v for s in series for key in ("y", "low", "high", "reference") for v in s.get(key, [])]
    heights += [v for r in data.get("references", []) for v in r["y"]]
    y_span = tuple(data["y_range"]) if "y_range" in data else style.span(heights, include=(0.0,))
    room, turned = _room(categories, narrow)
    layout = style.base(
        (300 if narrow else 390) + (CHARACTER_PX * (room - TURNED_ROOM) if turned else 0),
        narrow,
        xaxis=style.axis(data.get("x_title", ""), narrow),
        yaxis=style.axis(data["y_title"], narrow, span=y_span, room=44),
        barmode="overlay",
    )
    layout["xaxis"] |= {
        "range": [-0.5, len(categories) - 0.5],
        "tickvals": list(range(len(categories))),
        "ticktext": [style.label(name, room) for name in categories],
        "ticks": "",
        "showgrid": False,
        "tickangle": turned,
    }
    layout["shapes"] = []
    offsets = [-GROUP / 2 + index * width for index in range(len(series))]
    for part, offset in zip(series, offsets, strict=True):
        if "reference" in part:
            left = [i + offset + 0.04 * width for i in range(len(categories))]
            layout["shapes"] += _ticks(
                "reference", part["reference"], left, 0.92 * width, "solid", legend=not _named(layout, "reference")
            )
    for index, reference in enumerate(data.get("references", [])):
        left = [i - GROUP / 2 - 0.03 for i in range(len(categories))]
        layout["shapes"] += _ticks(
            reference["name"],
            reference["y"],
            left,
            GROUP + 0.06,
            style.REFERENCE_DASHES[index % len(style.REFERENCE_DASHES)],
            legend=True,
        )
    named = [part["name"] for part in [*layout["shapes"], *series] if part.get("showlegend", True)]
    style.fit_legend(layout, named, narrow)
    colors = style.colors_of(series)
    traces = [_bar(part, color, categories, offset, width) for part, color, offset in zip(series, colors, offsets, strict=True)]
    return {"data": traces, "layout": layout}


def _room(categories: list[str], narrow: bool) -> tuple[int, int]:
    """Return after how many characters labels are wrapped, and by which angle they are turned, so that none lies on another."""
    each_px = (style.NOMINAL_WIDTH[narrow] - AXIS_PX) / len(categories)
    room = int(each_px / CHARACTER_PX)
    if all(len(word) <= room for name in categories for word in name.split()):
        return room, 0
    room = max(TURNED_ROOM, *(len(word) for name in categories for word in name.split()))
    lines = max(style.label(name, room).count("<br>") + 1 for name in categories)
    if lines * LINE_PX > each_px:
        room = max(map(len, categories))
    return min(room, MOST_ROOM), -90 if narrow else -45


def _bar(part: dict[str, Any], color: str, categories: list[str], offset: float, width: float) -> dict[str, Any]:
    notes = [f"<br>reference {style.number(v)}" for v in part["reference"]] if "reference" in part else [""] * len(categories)
    return {
        "type": "bar",
        "x": list(range(len(categories))),
        "y": part["y"],
        "name": style.label(part["name"], style.LEGEND_ROOM),
        "offset": offset + 0.04 * width,
        "width": 0.92 * width,
        "error_y": style.arms(part, "y"),
        "marker": {"color": style.faded(color, 0.35) if part.get("control") else color, "line": {"color": color, "width": 1}},
        "customdata": [[style.label(name, 40), style.interval(part, i), notes[i]] for i, name in enumerate(categories)],
        "hovertemplate": "%{customdata[0]}<br>%{y:.4g}%{customdata[1]}%{customdata[2]}",
        "showlegend": True,
    }


def _ticks(
    name: str, heights: list[float | None], left: list[float], width: float, dash: str, legend: bool
) -> list[dict[str, Any]]:
    """Return one short horizontal line per category; only the first stands in the legend."""
    shapes: list[dict[str, Any]] = []
    for height, start in zip(heights, left, strict=True):
        if height is not None:
            ends = {"x0": round(start, 6), "x1": round(start + width, 6), "y0": height, "y1": height}
            shown = {"name": style.label(name, style.LEGEND_ROOM), "showlegend": legend and not shapes}
            shapes.append({"type": "line", **ends, "line": {"width": 2, "dash": dash}, "layer": "above", **shown})
    return shapes


def _named(layout: dict[str, Any], name: str) -> bool:
    return any(shape["name"] == name for shape in layout["shapes"])
