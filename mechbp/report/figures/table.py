"""The table behind a figure: every number of its data, tidy, one measurement per row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Cell = str | int | float | None


@dataclass(frozen=True)
class Table:
    """A header and rows of equal length; None is a missing value."""

    headers: tuple[str, ...]
    n_labels: int
    """Number of leading columns that hold text."""
    rows: tuple[tuple[Cell, ...], ...]


def format_cell(value: Cell) -> str:
    """Write a cell as the JSON does (6 significant digits); a missing value is a dash."""
    if value is None:
        return "–"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def table_of(kind: str, data: dict[str, Any]) -> Table:
    """Return the table of a figure of this kind; columns that no row fills are left out."""
    content = "panels" if kind in ("heatmap", "clouds") else "series"
    rows: list[dict[str, Cell]] = []
    for frame in data.get("frames", [{content: data.get(content, [])}]):
        named = {data.get("frame_title", "frame"): frame["name"]} if "name" in frame else {}
        rows += [{**named, **row} for row in _ROWS[kind](data, frame[content])]
    headers = list(dict.fromkeys(key for row in rows for key in row))
    n_labels = next(
        (i for i, header in enumerate(headers) if not any(isinstance(row.get(header), str) for row in rows)), len(headers)
    )
    return Table(tuple(headers), n_labels, tuple(tuple(row.get(header) for header in headers) for row in rows))


def _points(data: dict[str, Any], series: list[dict[str, Any]]) -> list[dict[str, Cell]]:
    x_title, y_title = _distinct(data["x_title"], data["y_title"], "series", "low", "high", "count")[:2]
    rows: list[dict[str, Cell]] = []
    for line in series:
        extra = [key for key in ("low", "high", "count") if key in line]
        for index, (x, y) in enumerate(zip(line["x"], line["y"], strict=True)):
            rows.append({"series": line["name"], x_title: x, y_title: y, **{key: line[key][index] for key in extra}})
    rows += [{"series": reference["name"], x_title: None, y_title: reference["y"]} for reference in data.get("references", [])]
    if "density" in data:
        density = data["density"]
        for low, high, counts in zip(density["y_edges"], density["y_edges"][1:], density["counts"], strict=False):
            for left, right, count in zip(density["x_edges"], density["x_edges"][1:], counts, strict=False):
                rows.append({"series": "density", "x from": left, "x to": right, "y from": low, "y to": high, "count": count})
    return rows


def _categories(data: dict[str, Any], series: list[dict[str, Any]]) -> list[dict[str, Cell]]:
    axis = "y" if "y_title" in data else "x"
    (title,) = _distinct(data[axis + "_title"], "category", "series", "low", "high", "reference")[:1]
    rows: list[dict[str, Cell]] = []
    for index, category in enumerate(data["categories"]):
        for part in series:
            extra = {key: part[key][index] for key in ("low", "high", "reference") if key in part}
            rows.append({"category": category, "series": part["name"], title: part[axis][index], **extra})
        if axis == "y":
            rows += [{"category": category, "series": ref["name"], title: ref["y"][index]} for ref in data.get("references", [])]
    if axis == "x":
        rows += [{"category": "reference line", "series": ref["name"], title: ref["x"]} for ref in data.get("references", [])]
    return rows


def _cells(data: dict[str, Any], panels: list[dict[str, Any]]) -> list[dict[str, Cell]]:
    title, row_title, column_title = _distinct(
        data["value_title"],
        data.get("row_title") or "row",
        data.get("column_title") or "column",
        "panel",
        "low",
        "high",
        "control",
    )[:3]
    rows: list[dict[str, Cell]] = []
    for panel in panels:
        extra = [key for key in ("low", "high", "control") if key in panel]
        for i, row in enumerate(panel.get("rows", data["rows"])):
            for j, column in enumerate(panel.get("columns", data["columns"])):
                cell = {title: panel["values"][i][j], **{key: panel[key][i][j] for key in extra}}
                rows.append({"panel": panel["title"], row_title: row, column_title: column, **cell})
    return rows


def _clouds(data: dict[str, Any], panels: list[dict[str, Any]]) -> list[dict[str, Cell]]:
    columns = {f"{panel['title']}: {axis}": panel[axis] for panel in panels for axis in ("x", "y")}
    rows = zip(*columns.values(), strict=True)
    return [{"point": f"{number}", **dict(zip(columns, row, strict=True))} for number, row in enumerate(rows, 1)]


def _distinct(*titles: str) -> tuple[str, ...]:
    """Return the titles with a prime added where one would collide with a later one."""
    found: list[str] = []
    for title in reversed(titles):
        while title in found:
            title += "\N{PRIME}"
        found.append(title)
    return tuple(reversed(found))


_ROWS = {"lines": _points, "scatter": _points, "bars": _categories, "dots": _categories, "heatmap": _cells, "clouds": _clouds}
