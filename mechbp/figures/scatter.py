"""Scatter plots: points with intervals, a binned density, or both, with the identity line where asked for.

{x_title, y_title, identity?: bool, x_range?, y_range?,
 series?: [{name, x: [n], y: [n], low?: [n], high?: [n], count?: [n], color?, control?}],
 density?: {x_edges: [a + 1], y_edges: [b + 1], counts: [b][a]}}

At least one of series and density. `count` scales the marker's area; `identity` draws y = x; density colours are log10.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from mechbp.errors import InputError
from mechbp.figures import checking, style
from mechbp.figures.frames import Content
from mechbp.figures.table import Row, point_rows

COUNT_BAR_PX = 44


def check(data: dict[str, Any], where: str) -> None:
    """Raise InputError naming the first thing wrong with the data."""
    checking.keys(data, {"x_title", "y_title"}, {"series", "density", "identity", "x_range", "y_range"}, where)
    if not data.get("series") and "density" not in data:
        raise InputError(f"{where}: a scatter needs series, density, or both.")
    checking.ranges(data, where, "x_range", "y_range")
    for index, series in enumerate(checking.entries(data.get("series", []), f"{where}.series")):
        here = f"{where}.series[{index}]"
        checking.keys(series, {"name", "x", "y"}, {"low", "high", "count", "color", "control"}, here)
        checking.series(series, here, "x", "y", others=("count",))
    if "density" in data:
        _check_density(data["density"], f"{where}.density")


def _check_density(density: Any, where: str) -> None:
    checking.keys(density, {"x_edges", "y_edges", "counts"}, (), where)
    x_edges = checking.edges(density["x_edges"], where + ".x_edges")
    y_edges = checking.edges(density["y_edges"], where + ".y_edges")
    checking.counts(density["counts"], where + ".counts", len(y_edges) - 1, len(x_edges) - 1)


def rows(data: dict[str, Any], content: Content) -> list[Row]:
    """Return one row per point, then one per cell of the density."""
    found = point_rows(data, content)
    if "density" in data:
        density = data["density"]
        for (low, high), counts in zip(pairwise(density["y_edges"]), density["counts"], strict=True):
            for (left, right), count in zip(pairwise(density["x_edges"]), counts, strict=True):
                found.append({"series": "density", "x from": left, "x to": right, "y from": low, "y to": high, "count": count})
    return found


def draw(data: dict[str, Any], narrow: bool) -> dict[str, Any]:
    """Draw points (area by count, with intervals) and/or a binned density, with the identity line where asked for."""
    series = data.get("series", [])
    density = data.get("density")
    xs = [v for s in series for v in s["x"]] + (density["x_edges"] if density else [])
    ys = [v for s in series for key in ("y", "low", "high") for v in s.get(key, [])] + (density["y_edges"] if density else [])
    if data.get("identity"):
        xs = ys = xs + ys
    x_span = tuple(data["x_range"]) if "x_range" in data else style.span(xs, include=(0.0, 1.0) if _unit(xs) else ())
    y_span = tuple(data["y_range"]) if "y_range" in data else style.span(ys, include=(0.0, 1.0) if _unit(ys) else ())
    layout = style.base(
        310 if narrow else 510,
        narrow,
        xaxis=style.axis(data["x_title"], narrow, span=_air(x_span), room=40 if narrow else 64),
        yaxis=style.axis(data["y_title"], narrow, span=_air(y_span), room=44 if narrow else 64),
    )
    if data.get("identity"):
        low, high = max(x_span[0], y_span[0]), min(x_span[1], y_span[1])
        line = {"type": "line", "x0": low, "x1": high, "y0": low, "y1": high, "line": {"width": 1.2, "dash": "dash"}}
        layout["shapes"] = [{**line, "opacity": 0.9, "layer": "above", "name": "identity", "showlegend": True}]
    named = [s["name"] for s in series]
    style.fit_legend(layout, [*named, "identity"] if data.get("identity") else named, narrow)
    layout["legend"]["itemsizing"] = "constant"
    traces = [_density(density, layout)] if density else []
    most = max((c for s in series for c in s.get("count", []) if c is not None), default=0) or 1
    traces += [_points(s, i, most, color) for i, (s, color) in enumerate(zip(series, style.colors_of(series), strict=True))]
    return {"data": traces, "layout": layout}


def _unit(values: list[float | None]) -> bool:
    """Say whether the values look like probabilities, whose axis is 0..1."""
    known = [v for v in values if v is not None]
    return bool(known) and min(known) >= 0 and 0.5 < max(known) <= 1


def _air(span: tuple[float, ...]) -> tuple[float, float]:
    air = 0.02 * (span[1] - span[0])
    return span[0] - air, span[1] + air


def _points(series: dict[str, Any], index: int, most: float, color: str) -> dict[str, Any]:
    count = series.get("count")
    sizes = [round(5 + 11 * math.sqrt((c or 0) / most), 2) for c in count] if count else 7
    notes = [f"n = {count[i]:.6g}" if count and count[i] is not None else "" for i in range(len(series["x"]))]
    arms = style.arms(series, "y")
    return {
        "type": "scatter",
        "x": series["x"],
        "y": series["y"],
        "error_y": arms | {"thickness": 1.2, "width": 0, "color": color} if arms else None,
        "mode": "markers",
        "name": style.label(series["name"], style.LEGEND_ROOM),
        "marker": {
            "symbol": style.SYMBOLS[index % len(style.SYMBOLS)] + ("-open" if series.get("control") else ""),
            "size": sizes,
            "color": color,
            "opacity": 0.85,
            "line": {"width": 1.5 if series.get("control") else 0},
        },
        "customdata": [[style.interval(series, i), notes[i]] for i in range(len(series["x"]))],
        "hovertemplate": "x %{x:.4g}<br>y %{y:.4g}%{customdata[0]}<br>%{customdata[1]}",
        "showlegend": True,
    }


def _density(density: dict[str, Any], layout: dict[str, Any]) -> dict[str, Any]:
    """Return cells coloured by log10(count) and put their colour bar under the plot; empty cells stay empty."""
    counts = density["counts"]
    top = math.ceil(math.log10(max(10, max(c for row in counts for c in row))))
    layout["margin"]["b"] += COUNT_BAR_PX
    layout["height"] += COUNT_BAR_PX
    layout["coloraxis"] = {
        "colorscale": style.colorscale(style.SEQUENTIAL),
        "cmin": 0,
        "cmax": top,
        "colorbar": {
            "orientation": "h",
            "thickness": 10,
            "len": 1,
            "y": 0,
            "yref": "container",
            "yanchor": "bottom",
            "tickvals": list(range(top + 1)),
            "ticktext": [("count " if power == 0 else "") + f"{10**power:,}" for power in range(top + 1)],
            "tickfont": {"size": 11},
            "ticklabelposition": "outside bottom",
        },
    }
    return {
        "type": "heatmap",
        "x": density["x_edges"],
        "y": density["y_edges"],
        "z": [[round(math.log10(c), 5) if c > 0 else None for c in row] for row in counts],
        "customdata": counts,
        "coloraxis": "coloraxis",
        "hovertemplate": "x %{x:.4g}<br>y %{y:.4g}<br>count %{customdata}<extra></extra>",
    }
