"""Grouped bars with error bars and reference ticks, and horizontal dots with intervals."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from mechbp.report.figures import style as style

GROUP = 0.8
"""Share of a category's room that its bars or dots take; the rest is air."""


def bars(data: dict[str, Any], narrow: bool) -> go.Figure:
    """Draw one group of bars per category; a series' reference is a tick across its bars, references are ticks across groups."""
    categories, series = data["categories"], data["series"]
    width = GROUP / len(series)
    heights = [v for s in series for key in ("y", "low", "high", "reference") for v in s.get(key, [])]
    heights += [v for r in data.get("references", []) for v in r["y"]]
    y_span = tuple(data["y_range"]) if "y_range" in data else style.span(heights, include=(0.0,))
    room = max(6, int(style.NOMINAL_WIDTH[narrow] / len(categories) / 7))
    layout = style.base(
        300 if narrow else 390,
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
        "tickangle": 0 if all(len(word) <= room for name in categories for word in name.split()) else -45,
    }
    traces, layout["shapes"] = [], []
    for index, part in enumerate(series):
        offset = -GROUP / 2 + index * width
        traces.append(_bar(part, index, categories, offset, width))
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
    style.fit_legend(
        layout, [shape["name"] for shape in layout["shapes"] if shape["showlegend"]] + [s["name"] for s in series], narrow
    )
    return go.Figure(data=traces, layout=layout)


def _bar(part: dict[str, Any], index: int, categories: list[str], offset: float, width: float) -> go.Bar:
    color = style.color_of(part, index)
    notes = [f"<br>reference {style.number(v)}" for v in part["reference"]] if "reference" in part else [""] * len(categories)
    return go.Bar(
        x=list(range(len(categories))),
        y=part["y"],
        name=style.label(part["name"], style.LEGEND_ROOM),
        offset=offset + 0.04 * width,
        width=0.92 * width,
        error_y=style.arms(part, "y"),
        marker={"color": style.faded(color, 0.35) if part.get("control") else color, "line": {"color": color, "width": 1}},
        customdata=[[style.label(name, 40), style.interval(part, i), notes[i]] for i, name in enumerate(categories)],
        hovertemplate="%{customdata[0]}<br>%{y:.4g}%{customdata[1]}%{customdata[2]}",
        showlegend=True,
    )


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


def dots(data: dict[str, Any], narrow: bool) -> go.Figure:
    """Draw one row per category with its estimates and intervals, controls hollow beside them."""
    categories, series, log = data["categories"], data["series"], bool(data.get("x_log"))
    values = [v for s in series for key in ("x", "low", "high") for v in s.get(key, []) if not (log and key == "low")]
    values += [r["x"] for r in data.get("references", [])]
    x_span = tuple(data["x_range"]) if "x_range" in data else style.span(values, log)
    room = 16 if narrow else 34
    rows = sum(max(14 * len(series), 15 * style.label(name, room).count("<br>") + 15) + 12 for name in categories)
    layout = style.base(
        rows + 66,
        narrow,
        xaxis=style.axis(data["x_title"], narrow, log, x_span, room=30 if narrow else 90),
        yaxis=style.axis("", narrow),
    )
    style.fit_legend(layout, [part["name"] for part in [*series, *data.get("references", [])]], narrow)
    last = len(categories) - 1
    layout["yaxis"] |= {
        "range": [last + 0.5, -0.5],
        "tickvals": list(range(len(categories))),
        "ticktext": [style.label(name, room) for name in categories],
        "ticks": "",
        "showgrid": False,
    }
    layout["shapes"] = [
        {
            "type": "line",
            "yref": "paper",
            "y0": 0,
            "y1": 1,
            "x0": r["x"],
            "x1": r["x"],
            "opacity": 0.65,
            "line": {"width": 1.2, "dash": style.REFERENCE_DASHES[i % len(style.REFERENCE_DASHES)]},
            "layer": "below",
            "name": style.label(r["name"], style.LEGEND_ROOM),
            "showlegend": True,
        }
        for i, r in enumerate(data.get("references", []))
        if r["x"] is not None and (r["x"] > 0 or not log)
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
    return go.Figure(data=[_dot(s, i, len(series), categories) for i, s in enumerate(series)], layout=layout)


def _dot(part: dict[str, Any], index: int, n_series: int, categories: list[str]) -> go.Scatter:
    color = style.color_of(part, index)
    offset = (index - (n_series - 1) / 2) * GROUP / max(n_series, 2)
    arms = style.arms(part, "x")
    return go.Scatter(
        x=part["x"],
        y=[round(i + offset, 6) for i in range(len(categories))],
        error_x=arms | {"thickness": 1.6, "width": 0, "color": color} if arms else None,
        mode="markers",
        name=style.label(part["name"], style.LEGEND_ROOM),
        marker={
            "symbol": style.SYMBOLS[index % len(style.SYMBOLS)] + ("-open" if part.get("control") else ""),
            "size": 9,
            "color": color,
            "line": {"width": 1.8 if part.get("control") else 0},
        },
        customdata=[[style.label(name, 40), style.interval(part, i)] for i, name in enumerate(categories)],
        hovertemplate="%{customdata[0]}<br>%{x:.4g}%{customdata[1]}",
        showlegend=True,
    )
