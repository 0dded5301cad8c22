"""Clouds of coloured points as small multiples: one shape seen in several places, each point in its own colour throughout."""

from __future__ import annotations

import math
from typing import Any

import plotly.graph_objects as go

from mechbp.report.figures import style as style

MOST_ACROSS = {False: 4, True: 2}
GAP_PX = 14
TITLE_PX = 24
POINT_PX = 4.0
DARKEST, LIGHTEST = 0.3, 0.72
"""Between these every part of a colour is drawn, so that points stand out on light and on dark paper."""


def clouds(data: dict[str, Any], narrow: bool) -> go.Figure:
    """Draw panels of equal scale in a grid; the outline, where there is one, is drawn in every panel."""
    frames = data.get("frames") or [{"name": "", "panels": data["panels"]}]
    panels = frames[0]["panels"]
    across = min(MOST_ACROSS[narrow], len(panels))
    down = math.ceil(len(panels) / across)
    (left, right), (bottom, top) = data["x_range"], data["y_range"]
    width_px = (style.NOMINAL_WIDTH[narrow] - GAP_PX * (across - 1)) / max(across, 2 if narrow else 3)
    height_px = width_px * (top - bottom) / (right - left)
    total_w, total_h = width_px * across + GAP_PX * (across - 1), (height_px + TITLE_PX) * down
    layout = style.base(round(total_h + 16), narrow, annotations=[], shapes=[], showlegend=False)
    layout["margin"] |= {"t": 8, "b": 8, "l": 4, "r": 4}
    share = min(1.0, total_w / style.NOMINAL_WIDTH[narrow])
    for index, panel in enumerate(panels):
        i, j = divmod(index, across)
        suffix = str(index + 1) if index else ""
        x0 = j * (width_px + GAP_PX) / total_w * share
        y1 = 1 - (i * (height_px + TITLE_PX) + TITLE_PX) / total_h
        x_domain = [round(x0, 5), round(min(1.0, x0 + width_px / total_w * share), 5)]
        y_domain = [round(max(0.0, y1 - height_px / total_h), 5), round(y1, 5)]
        bare = {"showgrid": False, "zeroline": False, "showticklabels": False, "ticks": "", "fixedrange": False}
        layout["xaxis" + suffix] = bare | {"domain": x_domain, "anchor": "y" + suffix, "range": [left, right]}
        layout["yaxis" + suffix] = bare | {
            "domain": y_domain, "anchor": "x" + suffix, "range": [bottom, top], "scaleanchor": "x" + suffix,
        }  # fmt: skip
        room = int(width_px / 6.6)
        title = panel["title"] if len(panel["title"]) <= room else panel["title"][: room - 1] + "…"
        place = {"x": x_domain[0], "y": y_domain[1], "yanchor": "bottom", "yshift": 2, "font": {"size": 12}}
        layout["annotations"].append(place | {"text": style.label(title)})
        if data.get("outline"):
            corners = " L ".join(f"{x:.4g} {y:.4g}" for x, y in data["outline"])
            pen = {"line": {"width": 1, "color": style.GREY}, "layer": "below"}
            layout["shapes"].append({"type": "path", "path": f"M {corners} Z", "xref": "x" + suffix, "yref": "y" + suffix} | pen)
    colors = [_hex(color) for color in data["colors"]]
    traces = [[_cloud(panel, index, colors) for index, panel in enumerate(frame["panels"])] for frame in frames]
    figure = go.Figure(data=traces[-1], layout=layout)
    if "frames" in data:
        figure.frames = [go.Frame(name=frame["name"], data=trace) for frame, trace in zip(frames, traces, strict=True)]
    return figure


def _cloud(panel: dict[str, Any], index: int, colors: list[str]) -> go.Scatter:
    suffix = str(index + 1) if index else ""
    return go.Scatter(
        x=panel["x"],
        y=panel["y"],
        mode="markers",
        name=style.label(panel["title"], 40),
        xaxis="x" + suffix,
        yaxis="y" + suffix,
        marker={"size": POINT_PX, "color": colors, "opacity": 0.85, "line": {"width": 0}},
        hovertemplate="x %{x:.3f}<br>y %{y:.3f}<extra>%{fullData.name}</extra>",
    )


def _hex(color: list[float]) -> str:
    drawn = (DARKEST + (LIGHTEST - DARKEST) * min(1.0, max(0.0, part)) for part in color)
    return "#" + "".join(f"{round(255 * part):02x}" for part in drawn)
