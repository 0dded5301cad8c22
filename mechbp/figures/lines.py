"""Lines over x with bands and horizontal references, with or without a slider.

{x_title, y_title, x_log?: bool, y_log?: bool, x_range?: [low, high], y_range?: [low, high],
 series: [{name, x: [n], y: [n], low?: [n], high?: [n], dash?: solid|dash|dot|dashdot|longdash,
           markers?: bool, color?: int, control?: bool}],
 references?: [{name, y: number}]}                             horizontal lines, labelled at their right end

With a slider: frames: [{name, series}] in place of series, and frame_title?.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from mechbp.errors import InputError
from mechbp.figures import checking, style
from mechbp.figures.frames import Content, checked_frames, frames_of, picture
from mechbp.figures.table import Row, point_rows, point_titles

DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
HEIGHT_PX = {False: 410, True: 300}
LABEL_GAP_PX = 15


def check(data: dict[str, Any], where: str) -> None:
    """Raise InputError naming the first thing wrong with the data."""
    content = "frames" if "frames" in data else "series"
    optional = {"x_log", "y_log", "x_range", "y_range", "references", "frame_title"}
    checking.keys(data, {"x_title", "y_title", content}, optional, where)
    checking.ranges(data, where, "x_range", "y_range")
    for name, series in checked_frames(data, "series", where):
        for index, line in enumerate(checking.entries(series, f"{name}.series", least=1)):
            here = f"{name}.series[{index}]"
            checking.keys(line, {"name", "x", "y"}, {"low", "high", "dash", "markers", "color", "control"}, here)
            checking.series(line, here, "x", "y")
            checking.choice(line, "dash", DASHES, here)
            for axis in ("x", "y"):
                if data.get(f"{axis}_log") and any(v is not None and v <= 0 for v in line[axis]):
                    raise InputError(
                        f"{here}.{axis}: a logarithmic axis needs positive values; leave {axis}_log out, or move the zero."
                    )
    checking.references(data, where, "y", None)


def rows(data: dict[str, Any], content: Content) -> list[Row]:
    """Return one row per point, then one per reference."""
    x_title, y_title = point_titles(data)
    references = data.get("references", [])
    return point_rows(data, content) + [{"series": r["name"], x_title: None, y_title: r["y"]} for r in references]


def draw(data: dict[str, Any], narrow: bool) -> dict[str, Any]:
    """Draw series over x, with bands, named horizontal references, and one frame per slider position."""
    frames = [series for _, series in frames_of(data)]
    x_log = bool(data.get("x_log"))
    y_log = bool(data.get("y_log"))
    every = [line for series in frames for line in series]
    references = data.get("references", [])
    x_span = tuple(data["x_range"]) if "x_range" in data else style.span((v for s in every for v in s["x"]), x_log, pad=0.02)
    levels = [v for s in every for key in ("y", "low", "high") for v in s.get(key, []) if not (y_log and key == "low")]
    y_span = tuple(data["y_range"]) if "y_range" in data else style.span([*levels, *(r["y"] for r in references)], y_log)
    layout = style.base(
        HEIGHT_PX[narrow],
        narrow,
        xaxis=style.axis(data["x_title"], narrow, x_log, x_span),
        yaxis=style.axis(data["y_title"], narrow, y_log, y_span, room=46),
        hovermode="closest" if narrow else "x unified" if len(frames[0]) <= 8 else "closest",
    )
    layout["xaxis"]["showgrid"] = False
    _reference_lines(layout, references, y_log, y_span, narrow)
    named = [*frames[-1], *(references if narrow else [])]
    style.fit_legend(layout, [part["name"] for part in named], narrow)
    return picture(data, layout, lambda series: _traces(series, y_log, y_span))


def _traces(series: Content, y_log: bool, y_span: tuple[float, ...]) -> list[dict[str, Any]]:
    """Return bands first, then lines over them; series without an x value drawn stay in the legend."""
    bands: list[dict[str, Any]] = []
    drawn: list[dict[str, Any]] = []
    for index, (line, color) in enumerate(zip(series, style.colors_of(series), strict=True)):
        group = f"s{index}"
        if "low" in line:
            bands.append(_band(line, color, group, y_span[0] if y_log else None))
        marked = line.get("markers", len(line["x"]) <= 24)
        marker = {"symbol": "circle-open" if line.get("control") else "circle", "size": 6, "color": color}
        drawn.append(
            {
                "type": "scatter",
                "x": line["x"],
                "y": line["y"],
                "name": style.label(line["name"], style.LEGEND_ROOM),
                "legendgroup": group,
                "mode": "lines+markers" if marked else "lines",
                "line": {"color": color, "width": 2, "dash": line.get("dash", "dot" if line.get("control") else "solid")},
                "marker": marker,
                "customdata": [style.interval(line, i) for i in range(len(line["x"]))],
                "hovertemplate": "%{y:.4g}%{customdata}",
            }
        )
    return bands + drawn


def _band(line: dict[str, Any], color: str, group: str, floor: float | None) -> dict[str, Any]:
    """Return one filled outline per unbroken stretch; on a logarithmic axis an end below the axis is drawn at its foot."""
    x: list[float | None] = []
    y: list[float | None] = []
    stretch: list[tuple[float, float, float]] = []
    for point in [*zip(line["x"], line["low"], line["high"], line["y"], strict=True), (None,) * 4]:
        if None not in point:
            left, low, high, _ = point
            stretch.append((left, max(low, floor) if floor else low, max(high, floor) if floor else high))
        elif stretch:
            x += [p[0] for p in stretch] + [p[0] for p in reversed(stretch)] + [None]
            y += [p[2] for p in stretch] + [p[1] for p in reversed(stretch)] + [None]
            stretch = []
    return {
        "type": "scatter",
        "x": x[:-1],
        "y": y[:-1],
        "fill": "toself",
        "fillcolor": style.faded(color, 0.2),
        "line": {"width": 0},
        "mode": "lines",
        "hoverinfo": "skip",
        "showlegend": False,
        "legendgroup": group,
    }


def _reference_lines(
    layout: dict[str, Any], references: list[dict[str, Any]], log: bool, span: tuple[float, ...], narrow: bool
) -> None:
    """Add named horizontal lines: labelled at the right end where there is room, in the legend where there is not."""
    shown = [r for r in references if r["y"] is not None and (r["y"] > 0 or not log)]
    layout["shapes"] = [style.reference_line(reference, "y", i, legend=narrow) for i, reference in enumerate(shown)]
    if narrow or not shown:
        return
    texts = [style.label(r["name"], 22) for r in shown]
    layout["margin"]["r"] = 24 + 7 * max(len(part) for text in texts for part in text.split("<br>"))
    height = layout["height"] - layout["margin"]["t"] - layout["margin"]["b"]
    scale = (lambda v: math.log10(v)) if log else (lambda v: v)
    pixels = [(scale(r["y"]) - scale(span[0])) / (scale(span[1]) - scale(span[0])) * height for r in shown]
    places = _apart(pixels, [LABEL_GAP_PX * (text.count("<br>") + 1) for text in texts], height)
    layout["annotations"] = [
        {
            "x": 1,
            "xshift": 6,
            "yref": "y",
            "y": round(scale(r["y"]), 6),
            "yshift": round(place - pixel, 1),
            "text": text,
            "font": {"size": 12},
        }
        for r, text, pixel, place in zip(shown, texts, pixels, places, strict=True)
    ]


def _apart(pixels: list[float], heights: list[int], limit: float) -> list[float]:
    """Move label centres as little as needed so that neighbours do not overlap and the top one stays on the plot."""
    order = sorted(range(len(pixels)), key=lambda i: pixels[i])
    places = list(pixels)
    for below, above in pairwise(order):
        places[above] = max(places[above], places[below] + (heights[below] + heights[above]) / 2)
    excess = max(0.0, places[order[-1]] + heights[order[-1]] / 2 - limit - 10)
    for index in reversed(order):
        if excess <= 0:
            break
        moved = places[index] - excess
        above = order[order.index(index) + 1] if index != order[-1] else None
        if above is not None:
            moved = min(places[index], places[above] - (heights[index] + heights[above]) / 2)
        places[index] = moved
    return places
