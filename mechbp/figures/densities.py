"""Densities of coloured points as small multiples: shapes of more points than can be drawn one by one, as one image per panel.

{panels: [{title, png, counts: [b][a]}], x_edges: [a + 1], y_edges: [b + 1], outline?: [[x, y], ...]}

`png` is an image in base64 that fills a panel, from its first edges to its last, transparent where no point lies; `counts` are
the points in its cells, the first row at its bottom, and stand in hover and table. `outline` is a polygon drawn in every panel.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from mechbp.errors import InputError
from mechbp.figures import checking, style
from mechbp.figures.frames import Content
from mechbp.figures.table import Row

MOST_ACROSS = {False: 3, True: 1}
GAP_PX = 18
TITLE_PX = 24
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def check(data: dict[str, Any], where: str) -> None:
    """Raise InputError naming the first thing wrong with the data."""
    checking.keys(data, {"panels", "x_edges", "y_edges"}, {"outline"}, where)
    x_edges, y_edges = (checking.edges(data[key], f"{where}.{key}") for key in ("x_edges", "y_edges"))
    for index, corner in enumerate(checking.entries(data.get("outline", []), f"{where}.outline")):
        if None in checking.numbers(corner, f"{where}.outline[{index}]", 2):
            raise InputError(f"{where}.outline[{index}]: a number is missing.")
    panels = checking.entries(data["panels"], f"{where}.panels", least=1)
    for index, panel in enumerate(panels):
        here = f"{where}.panels[{index}]"
        checking.keys(panel, {"title", "png", "counts"}, (), here)
        checking.text(panel["title"], here + ".title")
        _check_image(panel["png"], here + ".png")
        checking.counts(panel["counts"], here + ".counts", len(y_edges) - 1, len(x_edges) - 1)
    checking.labels([panel["title"] for panel in panels], f"{where}.panels")


def _check_image(value: Any, where: str) -> None:
    checking.text(value, where)
    try:
        content = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise InputError(f"{where}: expected an image in base64, got {value[:20]!r}.") from None
    if not content.startswith(SIGNATURE):
        raise InputError(f"{where}: expected a PNG image, got one that begins with {content[:8]!r}.")


def rows(data: dict[str, Any], content: Content) -> list[Row]:
    """Return one row per cell that holds a point, panel by panel."""
    found: list[Row] = []
    x, y = data["x_edges"], data["y_edges"]
    for panel in content:
        for i, line in enumerate(panel["counts"]):
            for j, count in enumerate(line):
                if count:
                    cell = {"x from": x[j], "x to": x[j + 1], "y from": y[i], "y to": y[i + 1]}
                    found.append({"panel": panel["title"], **cell, "count": count})
    return found


def draw(data: dict[str, Any], narrow: bool) -> dict[str, Any]:
    """Draw panels of equal scale side by side, each its image; what lies under the pointer is counted."""
    panels = data["panels"]
    across = min(MOST_ACROSS[narrow], len(panels))
    down = -(-len(panels) // across)
    left, right = data["x_edges"][0], data["x_edges"][-1]
    bottom, top = data["y_edges"][0], data["y_edges"][-1]
    width_px = (style.NOMINAL_WIDTH[narrow] - GAP_PX * (across - 1)) / max(across, 1 if narrow else 2)
    height_px = width_px * (top - bottom) / (right - left)
    total = (width_px * across + GAP_PX * (across - 1), (height_px + TITLE_PX) * down)
    share = min(1.0, total[0] / style.NOMINAL_WIDTH[narrow])
    layout = style.base(round(total[1] + 16), narrow, annotations=[], shapes=[], images=[], showlegend=False)
    layout["margin"] |= {"t": 8, "b": 8, "l": 4, "r": 4}
    traces = []
    for index, panel in enumerate(panels):
        i, j = divmod(index, across)
        suffix = str(index + 1) if index else ""
        start = j * (width_px + GAP_PX) / total[0] * share
        head = 1 - (i * (height_px + TITLE_PX) + TITLE_PX) / total[1]
        x_domain = [round(start, 5), round(min(1.0, start + width_px / total[0] * share), 5)]
        y_domain = [round(max(0.0, head - height_px / total[1]), 5), round(head, 5)]
        bare = {"showgrid": False, "zeroline": False, "showticklabels": False, "ticks": ""}
        layout["xaxis" + suffix] = bare | {"domain": x_domain, "anchor": "y" + suffix, "range": [left, right]}
        layout["yaxis" + suffix] = bare | {
            "domain": y_domain, "anchor": "x" + suffix, "range": [bottom, top], "scaleanchor": "x" + suffix,
        }  # fmt: skip
        axes = {"xref": "x" + suffix, "yref": "y" + suffix}
        place = {"x": left, "y": top, "sizex": right - left, "sizey": top - bottom, "sizing": "stretch", "layer": "above"}
        layout["images"].append({"source": "data:image/png;base64," + panel["png"], **axes, **place})
        title = {"x": x_domain[0], "y": y_domain[1], "yanchor": "bottom", "yshift": 2, "font": {"size": 12}}
        layout["annotations"].append(title | {"text": style.label(panel["title"], int(width_px / 6.6))})
        if data.get("outline"):
            path = "M " + " L ".join(f"{x:.4g} {y:.4g}" for x, y in data["outline"]) + " Z"
            pen = {"line": {"width": 1, "color": style.GREY}, "layer": "below"}
            layout["shapes"].append({"type": "path", "path": path, **axes, **pen})
        traces.append(_counts(data, panel, suffix))
    return {"data": traces, "layout": layout}


def _counts(data: dict[str, Any], panel: dict[str, Any], suffix: str) -> dict[str, Any]:
    """Return the counts as cells that are seen by the pointer alone."""
    return {
        "type": "heatmap",
        "x": data["x_edges"],
        "y": data["y_edges"],
        "z": panel["counts"],
        "name": style.label(panel["title"], 40),
        "xaxis": "x" + suffix,
        "yaxis": "y" + suffix,
        "opacity": 0,
        "showscale": False,
        "hovertemplate": "x %{x:.3f}<br>y %{y:.3f}<br>count %{z}<extra>%{fullData.name}</extra>",
    }
