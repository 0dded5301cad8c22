"""Clouds of coloured points as small multiples: one shape seen in several places, each point in its own colour throughout.

{panels: [{title, x: [n], y: [n]}], colors: [n][3], x_range, y_range, outline?: [[x, y], ...]}

Colours are red, green, blue, from 0 to 1; `outline` is a polygon drawn in every panel. With a slider: frames: [{name, panels}]
in place of panels, and frame_title?; all frames need the same panels.
"""

from __future__ import annotations

import math
from typing import Any

from mechbp.errors import InputError
from mechbp.figures import checking, style
from mechbp.figures.frames import Content, checked_frames, frames_of, picture
from mechbp.figures.table import Row

MOST_ACROSS = {False: 4, True: 2}
GAP_PX = 14
TITLE_PX = 24
POINT_PX = 4.0
DARKEST, LIGHTEST = 0.3, 0.72
"""Between these every part of a colour is drawn, so that points stand out on light and on dark paper."""


def check(data: dict[str, Any], where: str) -> None:
    """Raise InputError naming the first thing wrong with the data."""
    content = "frames" if "frames" in data else "panels"
    checking.keys(data, {"colors", "x_range", "y_range", content}, {"outline", "frame_title"}, where)
    checking.ranges(data, where, "x_range", "y_range")
    colors = checking.entries(data["colors"], f"{where}.colors", least=1)
    for key, length in (("colors", 3), ("outline", 2)):
        for index, row in enumerate(checking.entries(data.get(key, []), f"{where}.{key}")):
            if None in checking.numbers(row, f"{where}.{key}[{index}]", length):
                raise InputError(f"{where}.{key}[{index}]: a number is missing.")
    titles = set()
    for name, panels in checked_frames(data, "panels", where):
        for index, panel in enumerate(checking.entries(panels, f"{name}.panels", least=1)):
            here = f"{name}.panels[{index}]"
            checking.keys(panel, {"title", "x", "y"}, (), here)
            checking.text(panel["title"], here + ".title")
            for axis in ("x", "y"):
                checking.numbers(panel[axis], f"{here}.{axis}", len(colors))
        titles.add(tuple(checking.labels([panel["title"] for panel in panels], f"{name}.panels")))
    if len(titles) > 1:
        raise InputError(f"{where}: every frame needs the same panel titles, in the same order.")


def rows(data: dict[str, Any], content: Content) -> list[Row]:
    """Return one row per point, with its place in every panel."""
    columns = {f"{panel['title']}: {axis}": panel[axis] for panel in content for axis in ("x", "y")}
    places = zip(*columns.values(), strict=True)
    return [{"point": f"{number}", **dict(zip(columns, place, strict=True))} for number, place in enumerate(places, 1)]


def draw(data: dict[str, Any], narrow: bool) -> dict[str, Any]:
    """Draw panels of equal scale in a grid; the outline, where there is one, is drawn in every panel."""
    _, panels = frames_of(data)[0]
    across = min(MOST_ACROSS[narrow], len(panels))
    down = math.ceil(len(panels) / across)
    left, right = data["x_range"]
    bottom, top = data["y_range"]
    width_px = (style.NOMINAL_WIDTH[narrow] - GAP_PX * (across - 1)) / max(across, 2 if narrow else 3)
    height_px = width_px * (top - bottom) / (right - left)
    total_width = width_px * across + GAP_PX * (across - 1)
    total_height = (height_px + TITLE_PX) * down
    layout = style.base(round(total_height + 16), narrow, annotations=[], shapes=[], showlegend=False)
    layout["margin"] |= {"t": 8, "b": 8, "l": 4, "r": 4}
    share = min(1.0, total_width / style.NOMINAL_WIDTH[narrow])
    for index, panel in enumerate(panels):
        i, j = divmod(index, across)
        suffix = str(index + 1) if index else ""
        x0 = j * (width_px + GAP_PX) / total_width * share
        y1 = 1 - (i * (height_px + TITLE_PX) + TITLE_PX) / total_height
        x_domain = [round(x0, 5), round(min(1.0, x0 + width_px / total_width * share), 5)]
        y_domain = [round(max(0.0, y1 - height_px / total_height), 5), round(y1, 5)]
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
    return picture(data, layout, lambda panels: [_cloud(panel, index, colors) for index, panel in enumerate(panels)])


def _cloud(panel: dict[str, Any], index: int, colors: list[str]) -> dict[str, Any]:
    suffix = str(index + 1) if index else ""
    return {
        "type": "scatter",
        "x": panel["x"],
        "y": panel["y"],
        "mode": "markers",
        "name": style.label(panel["title"], 40),
        "xaxis": "x" + suffix,
        "yaxis": "y" + suffix,
        "marker": {"size": POINT_PX, "color": colors, "opacity": 0.85, "line": {"width": 0}},
        "hovertemplate": "x %{x:.3f}<br>y %{y:.3f}<extra>%{fullData.name}</extra>",
    }


def _hex(color: list[float]) -> str:
    drawn = (DARKEST + (LIGHTEST - DARKEST) * min(1.0, max(0.0, part)) for part in color)
    return "#" + "".join(f"{round(255 * part):02x}" for part in drawn)
