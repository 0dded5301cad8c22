"""Estimates with intervals, one row per category, series side by side in it; references are vertical lines.

{x_title, x_log?: bool, x_range?, categories: [c],
 series: [{name, x: [c], low?: [c], high?: [c], color?, control?}],
 references?: [{name, x: number}]}
"""

from __future__ import annotations

from typing import Any

from mechbp.errors import InputError
from mechbp.figures import checking, style
from mechbp.figures.frames import Content
from mechbp.figures.style import GROUP
from mechbp.figures.table import Row, distinct


def check(data: dict[str, Any], where: str) -> None:
    """Raise InputError naming the first thing wrong with the data."""
    checking.keys(data, {"x_title", "categories", "series"}, {"x_range", "x_log", "references"}, where)
    categories = checking.labels(data["categories"], f"{where}.categories")
    checking.ranges(data, where, "x_range")
    for index, series in enumerate(checking.entries(data["series"], f"{where}.series", least=1)):
        here = f"{where}.series[{index}]"
        checking.keys(series, {"name", "x"}, {"low", "high", "color", "control"}, here)
        checking.series(series, here, "x", length=len(categories))
        if data.get("x_log") and any(v is not None and v <= 0 for v in series["x"]):
            raise InputError(f"{here}.x: a logarithmic axis needs positive values; leave x_log out.")
    checking.references(data, where, "x", None)


def rows(data: dict[str, Any], content: Content) -> list[Row]:
    """Return, category by category, one row per series; then one per reference."""
    title = distinct(data["x_title"], "category", "series", "low", "high", "reference")[0]
    found: list[Row] = []
    for index, category in enumerate(data["categories"]):
        for part in content:
            extra = {key: part[key][index] for key in ("low", "high") if key in part}
            found.append({"category": category, "series": part["name"], title: part["x"][index], **extra})
    references = data.get("references", [])
    return found + [{"category": "reference line", "series": r["name"], title: r["x"]} for r in references]


def draw(data: dict[str, Any], narrow: bool) -> dict[str, Any]:
    """Draw one row per category with its estimates and intervals, controls hollow beside them."""
    categories = data["categories"]
    series = data["series"]
    references = data.get("references", [])
    log = bool(data.get("x_log"))
    values = [v for s in series for key in ("x", "low", "high") for v in s.get(key, []) if not (log and key == "low")]
    values += [r["x"] for r in references]
    x_span = tuple(data["x_range"]) if "x_range" in data else style.span(values, log)
    room = 16 if narrow else 34
    rows_px = sum(max(14 * len(series), 15 * style.label(name, room).count("<br>") + 15) + 12 for name in categories)
    layout = style.base(
        rows_px + 66,
        narrow,
        xaxis=style.axis(data["x_title"], narrow, log, x_span, room=30 if narrow else 90),
        yaxis=style.axis("", narrow),
    )
    style.fit_legend(layout, [part["name"] for part in [*series, *references]], narrow)
    last = len(categories) - 1
    layout["yaxis"] |= {
        "range": [last + 0.5, -0.5],
        "tickvals": list(range(len(categories))),
        "ticktext": [style.label(name, room) for name in categories],
        "ticks": "",
        "showgrid": False,
    }
    layout["shapes"] = [
        style.reference_line(reference, "x", i, legend=True)
        for i, reference in enumerate(references)
        if reference["x"] is not None and (reference["x"] > 0 or not log)
    ]
    layout["shapes"] += [
        {
            "type": "line",
            "xref": "paper",
            "x0": 0,
            "x1": 1,
            "y0": i + 0.5,
            "y1": i + 0.5,
            "opacity": 0.15,
            "line": {"width": 1},
            "layer": "below",
        }
        for i in range(last)
    ]
    colors = style.colors_of(series)
    return {"data": [_dots(s, i, len(series), categories, colors[i]) for i, s in enumerate(series)], "layout": layout}


def _dots(part: dict[str, Any], index: int, n_series: int, categories: list[str], color: str) -> dict[str, Any]:
    offset = (index - (n_series - 1) / 2) * GROUP / max(n_series, 2)
    arms = style.arms(part, "x")
    return {
        "type": "scatter",
        "x": part["x"],
        "y": [round(i + offset, 6) for i in range(len(categories))],
        "error_x": arms | {"thickness": 1.6, "width": 0, "color": color} if arms else None,
        "mode": "markers",
        "name": style.label(part["name"], style.LEGEND_ROOM),
        "marker": {
            "symbol": style.SYMBOLS[index % len(style.SYMBOLS)] + ("-open" if part.get("control") else ""),
            "size": 9,
            "color": color,
            "line": {"width": 1.8 if part.get("control") else 0},
        },
        "customdata": [[style.label(name, 40), style.interval(part, i)] for i, name in enumerate(categories)],
        "hovertemplate": "%{customdata[0]}<br>%{x:.4g}%{customdata[1]}",
        "showlegend": True,
    }
