"""A figure as a small picture without words, for the index: its own data, its own colours, nothing to read and no script.

A picture is plain SVG made when the index is rendered. It shows the figure's shape: what is too much for its size is left out,
panels after the fourth, categories after the tenth and series after the eighth, never a part of a curve.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from mechbp.figures import style
from mechbp.figures.frames import frames_of
from mechbp.report.document import FigureData

WIDTH, HEIGHT = 320, 180
EDGE = 6
GAP = 8
MOST_PANELS, MOST_CATEGORIES, MOST_SERIES, MOST_CELLS = 4, 10, 8, 1200
DARKEST, LIGHTEST = 0.3, 0.72
"""Between these every part of a cloud's colour is drawn, so that points stand out on light and on dark paper."""


@dataclass(frozen=True)
class Scale:
    """Numbers to pixels along one axis."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float | None) -> float | None:
        """Return the pixel of a value, at the edge of the picture where it lies outside; None where it has no place."""
        if value is None or (self.log and value <= 0):
            return None
        low, high, at = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        share = (at - low) / (high - low) if high > low else 0.5
        return round(self.start + min(1.02, max(-0.02, share)) * (self.end - self.start), 1)


def sketch(figure: FigureData) -> Markup:
    """Return a figure's picture, WIDTH by HEIGHT, that stretches with what holds it; empty where there is nothing to draw."""
    parts = DRAWN[figure.kind](figure.data, frames_of(figure.data)[-1][1])
    body = "".join(parts)
    if not body:
        return Markup()
    head = f'<svg class="sketch" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="'
    return Markup(head) + figure.title + Markup(f'">{body}</svg>')


def _scale(
    values: Iterable[float | None], given: Any, log: bool, start: float, end: float, include: Sequence[float] = ()
) -> Scale:
    low, high = given or style.span(values, log, include)
    return Scale(low, high, start, end, log)


def _across(data: dict[str, Any], values: Iterable[float | None]) -> Scale:
    return _scale(values, data.get("x_range"), bool(data.get("x_log")), EDGE, WIDTH - EDGE)


def _up(data: dict[str, Any], values: Iterable[float | None], include: Sequence[float] = ()) -> Scale:
    return _scale(values, data.get("y_range"), bool(data.get("y_log")), HEIGHT - EDGE, EDGE, include)


def _line(x0: Any, y0: Any, x1: Any, y1: Any, color: str, width: float = 1, more: str = "") -> str:
    return f'<path d="M{x0} {y0}L{x1} {y1}" stroke="{color}" stroke-width="{width}" fill="none"{more}/>'


def _frame() -> str:
    bottom = HEIGHT - EDGE
    return f'<path d="M{EDGE} {EDGE}V{bottom}H{WIDTH - EDGE}" stroke="currentColor" stroke-opacity=".35" fill="none"/>'


def _dot(x: float, y: float, color: str, radius: float, hollow: bool = False) -> str:
    fill = f'fill="none" stroke="{color}" stroke-width="1.4"' if hollow else f'fill="{color}"'
    return f'<circle cx="{x}" cy="{y}" r="{radius}" {fill}/>'


def _lines(data: dict[str, Any], series: list[dict[str, Any]]) -> list[str]:
    shown = series[:MOST_SERIES]
    references = data.get("references", [])
    x = _across(data, (v for part in shown for v in part["x"]))
    y = _up(data, [*(v for part in shown for v in part["y"]), *(r["y"] for r in references)])
    parts = [_frame()]
    for reference in references:
        if (at := y(reference["y"])) is not None:
            parts.append(_line(EDGE, at, WIDTH - EDGE, at, "currentColor", 1, ' stroke-opacity=".5" stroke-dasharray="4 4"'))
    for part, color in zip(shown, style.colors_of(shown), strict=True):
        path, pen = "", "M"
        for pair in zip(map(x, part["x"]), map(y, part["y"]), strict=True):
            if None in pair:
                pen = "M"
                continue
            path += f"{pen}{pair[0]} {pair[1]}"
            pen = "L"
        dashes = ' stroke-dasharray="2 4"' if part.get("control") or part.get("dash", "solid") != "solid" else ""
        parts.append(f'<path d="{path}" stroke="{color}" stroke-width="2" fill="none" stroke-linejoin="round"{dashes}/>')
    return parts


def _bars(data: dict[str, Any], series: list[dict[str, Any]]) -> list[str]:
    shown = series[:MOST_SERIES]
    n = min(len(data["categories"]), MOST_CATEGORIES)
    y = _up(data, (v for part in shown for v in part["y"][:n]), include=(0.0,))
    room = (WIDTH - 2 * EDGE) / n
    width = room * style.GROUP / len(shown)
    floor = y(max(y.low, min(0.0, y.high))) or 0.0
    parts = [_line(EDGE, floor, WIDTH - EDGE, floor, "currentColor", 1, ' stroke-opacity=".35"')]
    for index, (part, color) in enumerate(zip(shown, style.colors_of(shown), strict=True)):
        faint = ' fill-opacity=".35"' if part.get("control") else ""
        for place, value in enumerate(part["y"][:n]):
            if (top := y(value)) is not None:
                left = round(EDGE + place * room + room * (1 - style.GROUP) / 2 + index * width, 1)
                box = f'x="{left}" y="{min(top, floor)}" width="{round(0.9 * width, 1)}" height="{round(abs(top - floor), 1)}"'
                parts.append(f'<rect {box} fill="{color}"{faint}/>')
    return parts


def _dots(data: dict[str, Any], series: list[dict[str, Any]]) -> list[str]:
    shown = series[:MOST_SERIES]
    n = min(len(data["categories"]), MOST_CATEGORIES)
    references = data.get("references", [])
    log = bool(data.get("x_log"))
    values = [v for part in shown for key in ("x", "low", "high") if not (log and key == "low") for v in part.get(key, [])[:n]]
    x = _across(data, [*values, *(r["x"] for r in references)])
    room = (HEIGHT - 2 * EDGE) / n
    parts = []
    for reference in references:
        if (at := x(reference["x"])) is not None:
            parts.append(_line(at, EDGE, at, HEIGHT - EDGE, "currentColor", 1, ' stroke-opacity=".5" stroke-dasharray="4 4"'))
    for row in range(1, n):
        parts.append(
            _line(EDGE, edge := round(EDGE + row * room, 1), WIDTH - EDGE, edge, "currentColor", 1, ' stroke-opacity=".12"')
        )
    for index, (part, color) in enumerate(zip(shown, style.colors_of(shown), strict=True)):
        for row in range(n):
            at = x(part["x"][row])
            if at is None:
                continue
            height = round(EDGE + (row + 0.5 + (index - (len(shown) - 1) / 2) * style.GROUP / max(len(shown), 2)) * room, 1)
            ends = [x(part[key][row]) if key in part else None for key in ("low", "high")]
            if None not in ends:
                parts.append(_line(ends[0], height, ends[1], height, color, 1.5))
            parts.append(_dot(at, height, color, max(1.8, min(4.5, room / len(shown) / 2.4)), bool(part.get("control"))))
    return parts


def _scatter(data: dict[str, Any], series: list[dict[str, Any]]) -> list[str]:
    shown = series[:MOST_SERIES]
    density = data.get("density", {"x_edges": [], "y_edges": [], "counts": []})
    x = _across(data, [*density["x_edges"], *(v for part in shown for v in part["x"])])
    y = _up(data, [*density["y_edges"], *(v for part in shown for v in part["y"])])
    top = math.log10(max([10, *(count for row in density["counts"] for count in row)]))
    parts = [_frame()]
    for row, counts in enumerate(density["counts"]):
        for column, count in enumerate(counts):
            if count > 0:
                corners = [x(density["x_edges"][column + i]) or 0.0 for i in (0, 1)] + [
                    y(density["y_edges"][row + i]) or 0.0 for i in (0, 1)
                ]
                parts.append(
                    _cell(corners[0], corners[3], corners[1], corners[2], _color(style.SEQUENTIAL, math.log10(count) / top))
                )
    if data.get("identity"):
        low, high = max(x.low, y.low), min(x.high, y.high)
        ends = (x(low), y(low), x(high), y(high))
        parts.append(_line(*ends, "currentColor", 1, ' stroke-opacity=".5" stroke-dasharray="4 4"'))
    for part, color in zip(shown, style.colors_of(shown), strict=True):
        for pair in zip(map(x, part["x"]), map(y, part["y"]), strict=True):
            if pair[0] is not None and pair[1] is not None:
                parts.append(_dot(pair[0], pair[1], color, 2.6, bool(part.get("control"))))
    return parts


def _heatmap(data: dict[str, Any], panels: list[dict[str, Any]]) -> list[str]:
    values = [v for panel in panels for row in panel["values"] for v in row if v is not None]
    if not values:
        return []
    diverging = data.get("scale") == "diverging"
    low, high = data.get("range") or (min(values), max(values))
    if diverging:
        low, high = -max(abs(low), abs(high)), max(abs(low), abs(high))
    shown = panels[:1]
    for count in range(2, min(MOST_PANELS, len(panels)) + 1):
        if sum(len(p["values"]) * len(p["values"][0]) for p in panels[:count]) <= MOST_CELLS:
            shown = panels[:count]
    wide = all(len(p["values"][0]) > 2 * len(p["values"]) for p in shown)
    across = 1 if wide else 2 if len(shown) == 4 else len(shown)
    down = math.ceil(len(shown) / across)
    room = ((WIDTH - 2 * EDGE - GAP * (across - 1)) / across, (HEIGHT - 2 * EDGE - GAP * (down - 1)) / down)
    parts = []
    for index, panel in enumerate(shown):
        i, j = divmod(index, across)
        left, top = EDGE + j * (room[0] + GAP), EDGE + i * (room[1] + GAP)
        cell = (room[0] / len(panel["values"][0]), room[1] / len(panel["values"]))
        for r, row in enumerate(panel["values"]):
            for c, value in enumerate(row):
                if value is not None:
                    share = (value - low) / (high - low) if high > low else 0.0
                    box = (left + c * cell[0], top + r * cell[1], left + (c + 1) * cell[0], top + (r + 1) * cell[1])
                    parts.append(_cell(*box, _color(style.DIVERGING if diverging else style.SEQUENTIAL, share)))
    return parts


def _clouds(data: dict[str, Any], panels: list[dict[str, Any]]) -> list[str]:
    shown = [panels[0], panels[-1]] if len(panels) > 1 else panels
    (left, right), (bottom, top) = data["x_range"], data["y_range"]
    room = (WIDTH - 2 * EDGE - GAP * (len(shown) - 1)) / len(shown)
    factor = min(room / (right - left), (HEIGHT - 2 * EDGE) / (top - bottom))
    size = ((right - left) * factor, (top - bottom) * factor)
    parts = []
    for index, panel in enumerate(shown):
        start = EDGE + index * (room + GAP) + (room - size[0]) / 2
        x, y = Scale(left, right, start, start + size[0]), Scale(bottom, top, (HEIGHT + size[1]) / 2, (HEIGHT - size[1]) / 2)
        if data.get("outline"):
            corners = "L".join(f"{x(corner[0])} {y(corner[1])}" for corner in data["outline"])
            parts.append(f'<path d="M{corners}Z" stroke="currentColor" stroke-opacity=".35" fill="none"/>')
        for at, height, color in zip(map(x, panel["x"]), map(y, panel["y"]), data["colors"], strict=True):
            if at is not None and height is not None:
                drawn = (DARKEST + (LIGHTEST - DARKEST) * min(1.0, max(0.0, part)) for part in color)
                parts.append(_dot(at, height, "#" + "".join(f"{round(255 * part):02x}" for part in drawn), 1.5))
    return parts


def _densities(data: dict[str, Any], panels: list[dict[str, Any]]) -> list[str]:
    shown = panels[:2]
    (left, *_, right), (bottom, *_, top) = data["x_edges"], data["y_edges"]
    room = (WIDTH - 2 * EDGE - GAP * (len(shown) - 1)) / len(shown)
    factor = min(room / (right - left), (HEIGHT - 2 * EDGE) / (top - bottom))
    size = f'width="{round((right - left) * factor, 1)}" height="{round((top - bottom) * factor, 1)}"'
    upper = round((HEIGHT - (top - bottom) * factor) / 2, 1)
    parts = []
    for index, panel in enumerate(shown):
        start = round(EDGE + index * (room + GAP) + (room - (right - left) * factor) / 2, 1)
        parts.append(f'<image x="{start}" y="{upper}" {size} href="data:image/png;base64,{panel["png"]}"/>')
    return parts


def _drawn(data: dict[str, Any], _: list[dict[str, Any]]) -> list[str]:
    """Draw the curves, or the one grid, of a script's own plotly figure; what is neither has no picture."""
    for trace in data["traces"]:
        z = trace.get("z")
        if isinstance(z, list) and z and all(isinstance(row, list) and _numbers(row) for row in z):
            return _heatmap({}, [{"values": z}])
    series = []
    for trace in data["traces"]:
        y = trace.get("y")
        if isinstance(y, list) and _numbers(y):
            x = trace.get("x")
            series.append({"x": x if isinstance(x, list) and _numbers(x) and len(x) == len(y) else list(range(len(y))), "y": y})
    return _lines({}, series) if series else []


def _numbers(values: list[Any]) -> bool:
    known = [value for value in values if value is not None]
    return bool(known) and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in known)


def _cell(left: float, top: float, right: float, bottom: float, color: str) -> str:
    place = f'x="{round(left, 1)}" y="{round(top, 1)}"'
    size = f'width="{max(0.3, round(right - left - 0.4, 1))}" height="{max(0.3, round(bottom - top - 0.4, 1))}"'
    return f'<rect {place} {size} fill="{color}"/>'


def _color(stops: Sequence[str], share: float) -> str:
    """Return the colour at a share of the way through evenly spaced stops."""
    at = min(1.0, max(0.0, share)) * (len(stops) - 1)
    index = min(int(at), len(stops) - 2)
    ends = [[int(stop[i : i + 2], 16) for i in (1, 3, 5)] for stop in stops[index : index + 2]]
    return "#" + "".join(f"{round(low + (high - low) * (at - index)):02x}" for low, high in zip(*ends, strict=True))


DRAWN: dict[str, Callable[[dict[str, Any], list[dict[str, Any]]], list[str]]] = {
    "lines": _lines,
    "bars": _bars,
    "dots": _dots,
    "scatter": _scatter,
    "heatmap": _heatmap,
    "clouds": _clouds,
    "densities": _densities,
    "drawn": _drawn,
}
"""How each kind of figure is drawn."""
