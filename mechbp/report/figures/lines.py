"""Lines with bands and references, and scatter plots: calibration points or a binned density."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import plotly.graph_objects as go

from mechbp.report.figures import style as style

LINES_HEIGHT = {False: 410, True: 300}
LABEL_GAP_PX = 15
COUNT_BAR_PX = 44


def lines(data: dict[str, Any], narrow: bool) -> go.Figure:
    """Draw series over x, with bands, named horizontal references, and one frame per slider position."""
    frames = data.get("frames") or [{"name": "", "series": data["series"]}]
    x_log, y_log = bool(data.get("x_log")), bool(data.get("y_log"))
    every = [series for frame in frames for series in frame["series"]]
    references = data.get("references", [])
    x_span = tuple(data["x_range"]) if "x_range" in data else style.span((v for s in every for v in s["x"]), x_log, pad=0.02)
    levels = [v for s in every for key in ("y", "low", "high") for v in s.get(key, []) if not (y_log and key == "low")]
    y_span = tuple(data["y_range"]) if "y_range" in data else style.span([*levels, *(r["y"] for r in references)], y_log)
    layout = style.base(
        LINES_HEIGHT[narrow],
        narrow,
        xaxis=style.axis(data["x_title"], narrow, x_log, x_span),
        yaxis=style.axis(data["y_title"], narrow, y_log, y_span, room=46),
        hovermode="closest" if narrow else "x unified" if len(frames[0]["series"]) <= 8 else "closest",
    )
    layout["xaxis"]["showgrid"] = False
    _reference_lines(layout, references, y_log, y_span, narrow)
    named = [*frames[-1]["series"], *(references if narrow else [])]
    style.fit_legend(layout, [part["name"] for part in named], narrow)
    traces = [_line_traces(frame["series"], y_log, y_span) for frame in frames]
    figure = go.Figure(data=traces[-1], layout=layout)
    if "frames" in data:
        figure.frames = [go.Frame(name=f["name"], data=t) for f, t in zip(frames, traces, strict=True)]
    return figure


def _line_traces(series: list[dict[str, Any]], y_log: bool, y_span: tuple[float, ...]) -> list[go.Scatter]:
    """Return bands first, then lines over them; series without an x value drawn stay in the legend."""
    bands, drawn = [], []
    for index, line in enumerate(series):
        color, group = style.color_of(line, index), f"s{index}"
        if "low" in line:
            bands.append(_band(line, color, group, y_span[0] if y_log else None))
        marked = line.get("markers", len(line["x"]) <= 24)
        marker = {"symbol": style.SYMBOLS[index % len(style.SYMBOLS)], "size": 6, "color": color}
        if line.get("control"):
            marker["symbol"] += "-open"
        drawn.append(
            go.Scatter(
                x=line["x"],
                y=line["y"],
                name=style.label(line["name"], style.LEGEND_ROOM),
                legendgroup=group,
                mode="lines+markers" if marked else "lines",
                line={"color": color, "width": 2, "dash": line.get("dash", "dot" if line.get("control") else "solid")},
                marker=marker,
                customdata=[style.interval(line, i) for i in range(len(line["x"]))],
                hovertemplate="%{y:.4g}%{customdata}",
            )
        )
    return bands + drawn


def _band(line: dict[str, Any], color: str, group: str, floor: float | None) -> go.Scatter:
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
    return go.Scatter(
        x=x[:-1],
        y=y[:-1],
        fill="toself",
        fillcolor=style.faded(color, 0.2),
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
        legendgroup=group,
    )


def _reference_lines(
    layout: dict[str, Any], references: list[dict[str, Any]], log: bool, span: tuple[float, ...], narrow: bool
) -> None:
    """Add named horizontal lines: labelled at the right end where there is room, in the legend where there is not."""
    shown = [r for r in references if r["y"] is not None and (r["y"] > 0 or not log)]
    layout["shapes"] = [
        {
            "type": "line",
            "xref": "paper",
            "x0": 0,
            "x1": 1,
            "y0": r["y"],
            "y1": r["y"],
            "opacity": 0.65,
            "line": {"width": 1.2, "dash": style.REFERENCE_DASHES[i % len(style.REFERENCE_DASHES)]},
            "layer": "below",
            "name": style.label(r["name"], style.LEGEND_ROOM),
            "showlegend": narrow,
        }
        for i, r in enumerate(shown)
    ]
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


def scatter(data: dict[str, Any], narrow: bool) -> go.Figure:
    """Draw points (area by count, with intervals) and/or a binned density, with the identity line where asked for."""
    series, density = data.get("series", []), data.get("density")
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
    style.fit_legend(layout, [s["name"] for s in series] + ["identity"] * bool(data.get("identity")), narrow)
    layout["legend"]["itemsizing"] = "constant"
    traces: list[Any] = []
    if density:
        traces.append(_density(density, layout))
    most = max((c for s in series for c in s.get("count", []) if c is not None), default=0) or 1
    traces += [_cloud(s, i, most) for i, s in enumerate(series)]
    return go.Figure(data=traces, layout=layout)


def _unit(values: list[float | None]) -> bool:
    """Say whether the values look like probabilities, whose axis is 0..1."""
    known = [v for v in values if v is not None]
    return bool(known) and min(known) >= 0 and 0.5 < max(known) <= 1


def _air(span: tuple[float, ...]) -> tuple[float, float]:
    air = 0.02 * (span[1] - span[0])
    return span[0] - air, span[1] + air


def _cloud(series: dict[str, Any], index: int, most: float) -> go.Scatter:
    color = style.color_of(series, index)
    count = series.get("count")
    sizes = [round(5 + 11 * math.sqrt((c or 0) / most), 2) for c in count] if count else 7
    notes = [f"n = {count[i]:.6g}" if count and count[i] is not None else "" for i in range(len(series["x"]))]
    return go.Scatter(
        x=series["x"],
        y=series["y"],
        error_y=arms | {"thickness": 1.2, "width": 0, "color": color} if (arms := style.arms(series, "y")) else None,
        mode="markers",
        name=style.label(series["name"], style.LEGEND_ROOM),
        marker={
            "symbol": style.SYMBOLS[index % len(style.SYMBOLS)] + ("-open" if series.get("control") else ""),
            "size": sizes,
            "color": color,
            "opacity": 0.85,
            "line": {"width": 1.5 if series.get("control") else 0},
        },
        customdata=[[style.interval(series, i), notes[i]] for i in range(len(series["x"]))],
        hovertemplate="x %{x:.4g}<br>y %{y:.4g}%{customdata[0]}<br>%{customdata[1]}",
        showlegend=True,
    )


def _density(density: dict[str, Any], layout: dict[str, Any]) -> go.Heatmap:
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
    return go.Heatmap(
        x=density["x_edges"],
        y=density["y_edges"],
        z=[[round(math.log10(c), 5) if c > 0 else None for c in row] for row in counts],
        customdata=counts,
        coloraxis="coloraxis",
        hovertemplate="x %{x:.4g}<br>y %{y:.4g}<br>count %{customdata}<extra></extra>",
    )
