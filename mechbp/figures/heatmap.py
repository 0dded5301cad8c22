"""Heat maps as small multiples under one colour scale; the first row is drawn on top.

{rows: [r], columns: [c], value_title, row_title?, column_title?, scale?: sequential|diverging, range?: [low, high],
 cell_text?: bool, panel_columns?: int,
 panels: [{title, values: [r][c], low?: [r][c], high?: [r][c], control?: [r][c], rows?: [labels], columns?: [labels]}]}

A panel may bring its own row and column labels. `diverging` is centred at 0. `low`, `high` and `control` stand in hover and
table. `panel_columns`: panels side by side. With a slider: frames: [{name, panels}] in place of panels, and frame_title?; all
frames need the same panels.
"""

from __future__ import annotations

import math
import textwrap
from typing import Any

from mechbp.errors import InputError
from mechbp.figures import checking, style
from mechbp.figures.frames import Content, checked_frames, frames_of, picture
from mechbp.figures.table import Row, distinct

SCALES = ("sequential", "diverging")

CELL_PX = {False: 30, True: 26}
TALL_PX, LEAST_PX = 330, 9
"""Rows share this height where they are many, and get no lower than this."""
NEAR = 0.25
"""A share of the largest value: values that span less are painted from 0 on, so that like values look alike."""
CHARACTER_PX = 6.6
LINE_PX = 13
WRAPPED, LONGEST = 22, 30
"""Characters after which a row's label is wrapped, or is cut where rows are too low for two lines."""
TITLE_PX = 26
"""Room above each panel for its title."""
AXIS_TITLE_PX = 20
"""Room for what columns are, below their labels."""
TOP_PX = 62
"""Room above all panels for the colour bar."""


def check(data: dict[str, Any], where: str) -> None:
    """Raise InputError naming the first thing wrong with the data."""
    content = "frames" if "frames" in data else "panels"
    optional = {"row_title", "column_title", "scale", "range", "cell_text", "panel_columns", "frame_title"}
    checking.keys(data, {"rows", "columns", "value_title", content}, optional, where)
    for key in ("rows", "columns"):
        checking.labels(data[key], f"{where}.{key}")
    checking.ranges(data, where, "range")
    checking.choice(data, "scale", SCALES, where)
    beside = data.get("panel_columns", 1)
    if isinstance(beside, bool) or not isinstance(beside, int) or beside < 1:
        raise InputError(f"{where}.panel_columns: expected an integer >= 1, got {beside!r:.80}.")
    shapes = set()
    for name, panels in checked_frames(data, "panels", where):
        for index, panel in enumerate(checking.entries(panels, f"{name}.panels", least=1)):
            _check_panel(panel, data, f"{name}.panels[{index}]")
        shapes.add(tuple((panel["title"], *(tuple(_of(panel, key, data)) for key in ("rows", "columns"))) for panel in panels))
    if len(shapes) > 1:
        raise InputError(f"{where}: every frame needs the same panel titles, rows and columns, in the same order.")


def _check_panel(panel: Any, data: dict[str, Any], where: str) -> None:
    checking.keys(panel, {"title", "values"}, {"rows", "columns", "low", "high", "control"}, where)
    checking.text(panel["title"], where + ".title")
    own_rows = checking.labels(_of(panel, "rows", data), where + ".rows")
    own_columns = checking.labels(_of(panel, "columns", data), where + ".columns")
    checking.interval(panel, where)
    for key in ("values", "low", "high", "control"):
        if key in panel:
            for row, line in enumerate(checking.entries(panel[key], f"{where}.{key}", length=len(own_rows))):
                checking.numbers(line, f"{where}.{key}[{row}]", len(own_columns))


def rows(data: dict[str, Any], content: Content) -> list[Row]:
    """Return one row per cell, panel by panel."""
    row_title = data.get("row_title") or "row"
    column_title = data.get("column_title") or "column"
    reserved = ("panel", "low", "high", "control")
    title, row_title, column_title, *_ = distinct(data["value_title"], row_title, column_title, *reserved)
    found: list[Row] = []
    for panel in content:
        extra = [key for key in ("low", "high", "control") if key in panel]
        for i, row in enumerate(_of(panel, "rows", data)):
            for j, column in enumerate(_of(panel, "columns", data)):
                cell = {title: panel["values"][i][j], **{key: panel[key][i][j] for key in extra}}
                found.append({"panel": panel["title"], row_title: row, column_title: column, **cell})
    return found


def draw(data: dict[str, Any], narrow: bool) -> dict[str, Any]:
    """Draw panels in a grid; all panels of all frames share one colour scale, diverging scales are centred at 0."""
    frames = [panels for _, panels in frames_of(data)]
    low, high = _range(data, [value for panels in frames for panel in panels for row in panel["values"] for value in row])
    layout = _layout(data, frames[0], narrow)
    title = _title(_value_title(data, frames, low, high), 0, 1, 48 if narrow else 110)
    layout["annotations"].append(title | {"yshift": 36, "name": "scale"})
    layout["coloraxis"] = {
        "cmin": low,
        "cmax": high,
        "colorscale": style.colorscale(style.DIVERGING if data.get("scale") == "diverging" else style.SEQUENTIAL),
        "colorbar": {
            "orientation": "h",
            "thickness": 10,
            "len": 1 if narrow else 0.42,
            "x": 0,
            "xanchor": "left",
            "xpad": 0,
            "ypad": 0,
            "y": round(1 + 4 / (layout["height"] - layout["margin"]["t"] - layout["margin"]["b"]), 5),
            "yanchor": "bottom",
            "tickfont": {"size": 11},
            "nticks": 6,
        },
    }
    return picture(data, layout, lambda panels: [_trace(data, panel, index) for index, panel in enumerate(panels)])


def _range(data: dict[str, Any], values: list[float | None]) -> tuple[float, float]:
    known = [v for v in values if v is not None] or [0.0]
    low, high = data.get("range") or (min(known), max(known))
    if data.get("scale") == "diverging":
        reach = max(abs(low), abs(high)) or 1.0
        return -reach, reach
    if "range" not in data and low > 0 and high - low < NEAR * high:
        low = 0.0
    return (low, high) if low < high else (low, low + 1.0)


def _value_title(data: dict[str, Any], frames: list[list[dict[str, Any]]], low: float, high: float) -> str:
    """Return what the values are, and where they lie if some of them lie beyond the colours."""
    known = [v for panels in frames for panel in panels for row in panel["values"] for v in row if v is not None]
    if not known or (min(known) >= low - 0.01 * (high - low) and max(known) <= high + 0.01 * (high - low)):
        return data["value_title"]
    return f"{data['value_title']}; colours end at {low:g} and {high:g}, values lie from {min(known):.3g} to {max(known):.3g}"


def _cell_px(n_rows: int, narrow: bool) -> int:
    return min(CELL_PX[narrow], max(LEAST_PX, TALL_PX // n_rows))


def _layout(data: dict[str, Any], panels: list[dict[str, Any]], narrow: bool) -> dict[str, Any]:
    """Place the panels: rows of panels from the top, each as high as its tallest panel, with room for titles and labels."""
    across = _across(data, panels, narrow)
    down = math.ceil(len(panels) / across)
    shared_rows = all(panel.get("rows", data["rows"]) == data["rows"] for panel in panels)
    own_rows = [_of(panel, "rows", data) for panel in panels]
    left_px = max(_left_px(rows, _cell_px(len(rows), narrow)) for rows in own_rows)
    width_px = (style.NOMINAL_WIDTH[narrow] - left_px - (30 if "row_title" in data else 0)) / across
    between_px = 0 if across == 1 else 16 if shared_rows else 16 + left_px
    own_height_px = [len(rows) * _cell_px(len(rows), narrow) for rows in own_rows]
    height_px = [max(own_height_px[i * across : (i + 1) * across]) for i in range(down)]
    angled = [_angle(_of(panel, "columns", data), width_px - between_px) for panel in panels]
    titled = ["column_title" in data and index + across >= len(panels) for index in range(len(panels))]
    ticks_px = [_below_px(panels[i * across : (i + 1) * across], angled[i * across :], data) for i in range(down)]
    labels_px = [ticks + AXIS_TITLE_PX * any(titled[i * across : (i + 1) * across]) for i, ticks in enumerate(ticks_px)]
    total_px = sum(height_px) + sum(labels_px[:-1]) + TITLE_PX * down
    bottom = labels_px[-1] + 6
    layout = style.base(round(TOP_PX + total_px + bottom), narrow, annotations=[])
    layout["margin"] |= {"t": TOP_PX, "b": bottom}
    share = between_px / (width_px * across)
    for index, panel in enumerate(panels):
        i, j = divmod(index, across)
        top = sum(height_px[:i]) + sum(labels_px[:i]) + TITLE_PX * (i + 1)
        left = j * (1 + share) / across
        x_domain = [round(left, 5), round(left + (1 - share * (across - 1)) / across, 5)] if across > 1 else [0, 1]
        y_domain = [round(max(0.0, 1 - (top + own_height_px[index]) / total_px), 5), round(1 - top / total_px, 5)]
        suffix = str(index + 1) if index else ""
        x_axis = _labels(_of(panel, "columns", data), angled[index], 0 if angled[index][0] else WRAPPED)
        layout["xaxis" + suffix] = x_axis | {"domain": x_domain, "anchor": "y" + suffix}
        layout["yaxis" + suffix] = _row_axis(own_rows[index], own_height_px[index] / len(own_rows[index])) | {
            "domain": y_domain,
            "anchor": "x" + suffix,
            "showticklabels": j == 0 or not shared_rows,
        }
        if j == 0 and "row_title" in data:
            text = style.label(data["row_title"], max(10, own_height_px[index] // 7))
            layout["yaxis" + suffix]["title"] = {"text": text, "standoff": 6, "font": {"size": 12}}
        if titled[index]:  # an annotation: Plotly would set an axis title among the tick labels
            text = style.label(data["column_title"], max(12, int(width_px / 7)))
            below = {"x": sum(x_domain) / 2, "y": y_domain[0], "yshift": 6 - ticks_px[i], "xanchor": "center", "yanchor": "top"}
            layout["annotations"].append(below | {"text": text, "font": {"size": 12}, "name": "columns"})
        layout["annotations"].append(_title(panel["title"], x_domain[0], y_domain[1], int(width_px / CHARACTER_PX)))
    return layout


def _across(data: dict[str, Any], panels: list[dict[str, Any]], narrow: bool) -> int:
    """Return how many panels stand side by side: as asked, or as many as leave every cell about 24 pixels."""
    most = max(len(_of(panel, "columns", data)) for panel in panels)
    if narrow:
        own_rows = any("rows" in panel for panel in panels)  # each then needs room for its labels
        return 2 if most <= 4 and len(panels) > 1 and not own_rows else 1
    asked = data.get("panel_columns") or max(1, min(4, style.NOMINAL_WIDTH[False] // (24 * most + 40)))
    return max(1, min(asked, len(panels)))


def _row_axis(rows: list[str], cell_px: float) -> dict[str, Any]:
    shown, every = _row_labels(rows, cell_px), math.ceil(LINE_PX / cell_px)
    axis = _labels(shown, (0, every), WRAPPED if shown is rows else 0)
    return axis | {"tickvals": rows[::every], "range": [len(rows) - 0.5, -0.5]}


def _row_labels(rows: list[str], cell_px: float) -> list[str]:
    """Return one line a row, cut where it is long, if rows are too low for the lines that a label would be wrapped into."""
    lines = max(len(textwrap.wrap(row, WRAPPED)) for row in rows)
    if lines * LINE_PX <= cell_px:
        return rows
    return [row if len(row) <= LONGEST else row[: LONGEST - 1].rstrip() + "…" for row in rows]


def _labels(labels: list[str], angle: tuple[int, int], room: int) -> dict[str, Any]:
    turned, every = angle
    return {
        "type": "category",
        "tickvals": labels[::every],  # by name: Plotly takes the number 1 for the category "1", wherever that stands
        "ticktext": [style.label(labels[i], room) for i in range(0, len(labels), every)],
        "tickangle": turned,
        "tickfont": {"size": 11},
        "showgrid": False,
        "zeroline": False,
        "ticks": "",
        "automargin": True,
        "range": [-0.5, len(labels) - 0.5],
    }


def _angle(labels: list[str], width_px: float) -> tuple[int, int]:
    """Return the angle of column labels and how many to step over, so that they do not overlap."""
    cell = width_px / len(labels)
    if max(len(label) for label in labels) * CHARACTER_PX + 4 <= cell:
        return 0, 1
    if max(len(label) for label in labels) <= 3:  # short numbers read better thinned than turned
        return 0, math.ceil((max(len(label) for label in labels) * CHARACTER_PX + 6) / cell)
    return -90, max(1, math.ceil(13 / cell))


def _below_px(panels: list[dict[str, Any]], angles: list[tuple[int, int]], data: dict[str, Any]) -> int:
    turned = [_of(panel, "columns", data) for panel, (angle, _) in zip(panels, angles, strict=False) if angle]
    return 26 + int(CHARACTER_PX * max((len(label) for labels in turned for label in labels), default=0))


def _left_px(rows: list[str], cell_px: float) -> int:
    shown = _row_labels(rows, cell_px)
    return int(min(WRAPPED if shown is rows else LONGEST, max(map(len, shown))) * CHARACTER_PX) + 8


def _title(text: str, x: float, y: float, room: int) -> dict[str, Any]:
    shown = text if len(text) <= room else text[: max(1, room - 1)].rstrip() + "…"
    return {"x": x, "y": y, "yanchor": "bottom", "yshift": 3, "text": style.label(shown), "font": {"size": 12.5}}


def _trace(data: dict[str, Any], panel: dict[str, Any], index: int) -> dict[str, Any]:
    rows = _of(panel, "rows", data)
    columns = _of(panel, "columns", data)
    suffix = str(index + 1) if index else ""
    shown = data.get("cell_text", len(columns) <= 10)
    extra = [key for key in ("low", "high", "control") if key in panel]
    trace: dict[str, Any] = {
        "type": "heatmap",
        "x": [style.label(name) for name in columns],
        "y": [style.label(name) for name in rows],
        "z": panel["values"],
        "name": style.label(panel["title"], 40),
        "coloraxis": "coloraxis",
        "xaxis": "x" + suffix,
        "yaxis": "y" + suffix,
        "xgap": 1,
        "ygap": 1,
        "customdata": [list(zip(*(panel[key][i] for key in extra), strict=True)) for i in range(len(rows))] if extra else None,
        "hovertemplate": _hover(extra),
        "hoverongaps": False,
    }
    if shown:
        trace["text"] = [[_short(value) for value in row] for row in panel["values"]]
        trace["texttemplate"] = "%{text}"
        trace["textfont"] = {"size": 11, "family": style.SANS}
    return trace


def _hover(extra: list[str]) -> str:
    """Return a template that names row, column and value, then the interval and the control where there are any."""
    place = {key: f"%{{customdata[{index}]:.4g}}" for index, key in enumerate(extra)}
    interval = f" [{place['low']}, {place['high']}]" if "low" in extra else ""
    control = f"<br>control {place['control']}" if "control" in extra else ""
    return f"%{{y}}, %{{x}}<br><b>%{{z:.4g}}</b>{interval}{control}<extra>%{{fullData.name}}</extra>"


def _short(value: float | None) -> str:
    """Write a cell's value in four or five characters."""
    if value is None:
        return ""
    text = f"{round(value, 2) + 0.0:.2f}" if abs(value) < 10 else f"{value:.0f}" if abs(value) < 1e4 else f"{value:.0e}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def _of(panel: dict[str, Any], key: str, data: dict[str, Any]) -> list[str]:
    return panel.get(key, data[key])
