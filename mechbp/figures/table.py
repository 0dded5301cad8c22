"""The table behind a figure: every number of its data, tidy, one measurement per row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mechbp.figures.frames import Content, frames_of

Cell = str | int | float | None
Row = dict[str, Cell]
"""Column header -> cell."""


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


def tidy(data: dict[str, Any], rows_of: Callable[[dict[str, Any], Content], list[Row]]) -> Table:
    """Return the table of all frames, `rows_of` each below the other; columns that no row fills are left out."""
    rows: list[Row] = []
    for name, content in frames_of(data):
        named: Row = {} if name is None else {data.get("frame_title", "frame"): name}
        rows += [{**named, **row} for row in rows_of(data, content)]
    headers = list(dict.fromkeys(key for row in rows for key in row))
    n_labels = next(
        (i for i, header in enumerate(headers) if not any(isinstance(row.get(header), str) for row in rows)), len(headers)
    )
    return Table(tuple(headers), n_labels, tuple(tuple(row.get(header) for header in headers) for row in rows))


def point_titles(data: dict[str, Any]) -> tuple[str, str]:
    """Return the headers of the x and the y column of points."""
    x_title, y_title, *_ = distinct(data["x_title"], data["y_title"], "series", "low", "high", "count")
    return x_title, y_title


def point_rows(data: dict[str, Any], series: Content) -> list[Row]:
    """Return one row per point of series with x and y."""
    x_title, y_title = point_titles(data)
    rows: list[Row] = []
    for part in series:
        extra = [key for key in ("low", "high", "count") if key in part]
        for index, (x, y) in enumerate(zip(part["x"], part["y"], strict=True)):
            rows.append({"series": part["name"], x_title: x, y_title: y, **{key: part[key][index] for key in extra}})
    return rows


def distinct(*titles: str) -> tuple[str, ...]:
    """Return the titles with a prime added where one would collide with a later one."""
    found: list[str] = []
    for title in reversed(titles):
        while title in found:
            title += "\N{PRIME}"
        found.append(title)
    return tuple(reversed(found))
