"""What the data of each figure kind must look like; `mechbp.report.figures` documents the same in prose."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

from mechbp.errors import InputError

DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
SCALES = ("sequential", "diverging")


def check_data(kind: str, data: Any, where: str) -> None:
    """Raise InputError naming the first thing wrong with a figure's data."""
    if kind not in _CHECKS:
        raise InputError(f"{where}: unknown kind {kind!r}; choose from {', '.join(_CHECKS)}.")
    if not isinstance(data, dict):
        raise InputError(f"{where}: data must be a dict, got {type(data).__name__}.")
    _CHECKS[kind](data, where)


def check_keys(mapping: Any, required: Iterable[str], optional: Iterable[str], where: str) -> None:
    """Raise InputError unless `mapping` is a dict with all `required` keys and no key beyond `optional`."""
    if not isinstance(mapping, dict):
        raise InputError(f"{where}: expected an object, got {type(mapping).__name__}.")
    required, known = sorted(required), sorted({*required, *optional})
    for key in mapping:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            raise InputError(
                f"{where}: unknown key {key!r}" + (f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}.")
            )
    for key in required:
        if key not in mapping:
            raise InputError(f"{where}: key {key!r} is missing.")


def _lines(data: dict[str, Any], where: str) -> None:
    framed = "frames" in data
    check_keys(
        data,
        {"x_title", "y_title", "frames" if framed else "series"},
        {"x_log", "y_log", "x_range", "y_range", "references", "frame_title"},
        where,
    )
    _ranges(data, where, "x_range", "y_range")
    for name, series in _frames(data, "series", where):
        for index, line in enumerate(_list(series, f"{name}.series", least=1)):
            here = f"{name}.series[{index}]"
            check_keys(line, {"name", "x", "y"}, {"low", "high", "dash", "markers", "color", "control"}, here)
            _series(line, here, "x", "y")
            if line.get("dash", "solid") not in DASHES:
                raise InputError(f"{here}.dash: {line['dash']!r} is unknown; choose from {', '.join(DASHES)}.")
            for axis in ("x", "y"):
                if data.get(f"{axis}_log") and any(v is not None and v <= 0 for v in line[axis]):
                    raise InputError(
                        f"{here}.{axis}: a logarithmic axis needs positive values; leave {axis}_log out, or move the zero."
                    )
    _references(data, where, "y", None)


def _bars(data: dict[str, Any], where: str) -> None:
    check_keys(data, {"y_title", "categories", "series"}, {"x_title", "y_range", "references"}, where)
    categories = _labels(data["categories"], f"{where}.categories")
    _ranges(data, where, "y_range")
    for index, series in enumerate(_list(data["series"], f"{where}.series", least=1)):
        here = f"{where}.series[{index}]"
        check_keys(series, {"name", "y"}, {"low", "high", "reference", "color", "control"}, here)
        _series(series, here, "y", length=len(categories), others=("reference",))
    _references(data, where, "y", len(categories))


def _dots(data: dict[str, Any], where: str) -> None:
    check_keys(data, {"x_title", "categories", "series"}, {"x_range", "x_log", "references"}, where)
    categories = _labels(data["categories"], f"{where}.categories")
    _ranges(data, where, "x_range")
    for index, series in enumerate(_list(data["series"], f"{where}.series", least=1)):
        here = f"{where}.series[{index}]"
        check_keys(series, {"name", "x"}, {"low", "high", "color", "control"}, here)
        _series(series, here, "x", length=len(categories))
        if data.get("x_log") and any(v is not None and v <= 0 for v in series["x"]):
            raise InputError(f"{here}.x: a logarithmic axis needs positive values; leave x_log out.")
    _references(data, where, "x", None)


def _heatmap(data: dict[str, Any], where: str) -> None:
    framed = "frames" in data
    check_keys(
        data,
        {"rows", "columns", "value_title", "frames" if framed else "panels"},
        {"row_title", "column_title", "scale", "range", "cell_text", "panel_columns", "frame_title"},
        where,
    )
    rows, columns = _labels(data["rows"], f"{where}.rows"), _labels(data["columns"], f"{where}.columns")
    _ranges(data, where, "range")
    if data.get("scale", "sequential") not in SCALES:
        raise InputError(f"{where}.scale: {data['scale']!r} is unknown; choose from {', '.join(SCALES)}.")
    shapes = set()
    for name, panels in _frames(data, "panels", where):
        for index, panel in enumerate(_list(panels, f"{name}.panels", least=1)):
            here = f"{name}.panels[{index}]"
            check_keys(panel, {"title", "values"}, {"rows", "columns", "low", "high", "control"}, here)
            _text(panel["title"], here + ".title")
            own_rows, own_columns = (
                _labels(panel.get("rows", rows), here + ".rows"),
                _labels(panel.get("columns", columns), here + ".columns"),
            )
            if ("low" in panel) != ("high" in panel):
                raise InputError(f"{here}: low and high come together.")
            for key in ("values", "low", "high", "control"):
                if key in panel:
                    for row, line in enumerate(_list(panel[key], f"{here}.{key}", length=len(own_rows))):
                        _numbers(line, f"{here}.{key}[{row}]", len(own_columns))
        shapes.add(
            tuple((panel["title"], tuple(panel.get("rows", rows)), tuple(panel.get("columns", columns))) for panel in panels)
        )
    if len(shapes) > 1:
        raise InputError(f"{where}: every frame needs the same panel titles, rows and columns, in the same order.")


def _scatter(data: dict[str, Any], where: str) -> None:
    check_keys(data, {"x_title", "y_title"}, {"series", "density", "identity", "x_range", "y_range"}, where)
    if not data.get("series") and "density" not in data:
        raise InputError(f"{where}: a scatter needs series, density, or both.")
    _ranges(data, where, "x_range", "y_range")
    for index, series in enumerate(_list(data.get("series", []), f"{where}.series")):
        here = f"{where}.series[{index}]"
        check_keys(series, {"name", "x", "y"}, {"low", "high", "count", "color", "control"}, here)
        _series(series, here, "x", "y", others=("count",))
    if "density" in data:
        here = f"{where}.density"
        check_keys(data["density"], {"x_edges", "y_edges", "counts"}, (), here)
        x_edges = _numbers(data["density"]["x_edges"], here + ".x_edges", None)
        y_edges = _numbers(data["density"]["y_edges"], here + ".y_edges", None)
        for edges, name in ((x_edges, "x_edges"), (y_edges, "y_edges")):
            if len(edges) < 2 or None in edges or any(low >= high for low, high in pairwise(edges)):
                raise InputError(f"{here}.{name}: expected at least two rising numbers.")
        for row, line in enumerate(_list(data["density"]["counts"], f"{here}.counts", length=len(y_edges) - 1)):
            if any(count is None or count < 0 for count in _numbers(line, f"{here}.counts[{row}]", len(x_edges) - 1)):
                raise InputError(f"{here}.counts[{row}]: counts must be numbers >= 0.")


def _clouds(data: dict[str, Any], where: str) -> None:
    framed = "frames" in data
    check_keys(data, {"colors", "x_range", "y_range", "frames" if framed else "panels"}, {"outline", "frame_title"}, where)
    _ranges(data, where, "x_range", "y_range")
    colors = _list(data["colors"], f"{where}.colors", least=1)
    for key in ("colors", "outline"):
        for index, row in enumerate(_list(data.get(key, []), f"{where}.{key}")):
            if None in _numbers(row, f"{where}.{key}[{index}]", 3 if key == "colors" else 2):
                raise InputError(f"{where}.{key}[{index}]: a number is missing.")
    titles = set()
    for name, panels in _frames(data, "panels", where):
        for index, panel in enumerate(_list(panels, f"{name}.panels", least=1)):
            here = f"{name}.panels[{index}]"
            check_keys(panel, {"title", "x", "y"}, (), here)
            _text(panel["title"], here + ".title")
            for axis in ("x", "y"):
                _numbers(panel[axis], f"{here}.{axis}", len(colors))
        titles.add(tuple(_labels([panel["title"] for panel in panels], f"{name}.panels")))
    if len(titles) > 1:
        raise InputError(f"{where}: every frame needs the same panel titles, in the same order.")


_CHECKS: dict[str, Callable[[dict[str, Any], str], None]] = {
    "lines": _lines,
    "bars": _bars,
    "heatmap": _heatmap,
    "scatter": _scatter,
    "dots": _dots,
    "clouds": _clouds,
}
KINDS = tuple(_CHECKS)


def _frames(data: dict[str, Any], content: str, where: str) -> list[tuple[str, Any]]:
    """Return (path, content) of each frame, or of the whole when there are none."""
    if "frames" not in data:
        return [(where, data[content])]
    found = []
    for index, frame in enumerate(_list(data["frames"], f"{where}.frames", least=1)):
        here = f"{where}.frames[{index}]"
        check_keys(frame, {"name", content}, (), here)
        _text(frame["name"], here + ".name")
        found.append((here, frame[content]))
    return found


def _series(series: dict[str, Any], where: str, *axes: str, length: int | None = None, others: tuple[str, ...] = ()) -> None:
    _text(series["name"], where + ".name")
    for axis in axes:
        length = len(_numbers(series[axis], f"{where}.{axis}", length))
    if ("low" in series) != ("high" in series):
        raise InputError(f"{where}: low and high come together.")
    for key in ("low", "high", *others):
        if key in series:
            _numbers(series[key], f"{where}.{key}", length)
    if not isinstance(series.get("color", 0), int) or series.get("color", 0) < 0:
        raise InputError(f"{where}.color: expected a palette index >= 0, got {series['color']!r}.")


def _references(data: dict[str, Any], where: str, axis: str, length: int | None) -> None:
    for index, reference in enumerate(_list(data.get("references", []), f"{where}.references")):
        here = f"{where}.references[{index}]"
        check_keys(reference, {"name", axis}, (), here)
        _text(reference["name"], here + ".name")
        if length is None:
            _numbers([reference[axis]], f"{here}.{axis}", 1)
        else:
            _numbers(reference[axis], f"{here}.{axis}", length)


def _ranges(data: dict[str, Any], where: str, *names: str) -> None:
    for name in names:
        if name in data:
            low, high = _numbers(data[name], f"{where}.{name}", 2)
            if low is None or high is None or low >= high:
                raise InputError(f"{where}.{name}: expected [low, high] with low < high, got {data[name]}.")
            if data.get(name.replace("range", "log")) and low <= 0:
                raise InputError(f"{where}.{name}: a logarithmic axis starts above 0, got {low}.")


def _labels(value: Any, where: str) -> list[str]:
    for label in _list(value, where, least=1):
        _text(label, where)
    twice = sorted({label for label in value if value.count(label) > 1})
    if twice:
        raise InputError(f"{where}: {twice[0]!r} occurs twice; labels tell the rows of the table apart.")
    return value


def _text(value: Any, where: str) -> None:
    if not isinstance(value, str):
        raise InputError(f"{where}: expected text, got {value!r}.")


def _list(value: Any, where: str, least: int = 0, length: int | None = None) -> list[Any]:
    if not isinstance(value, list):
        raise InputError(f"{where}: expected a list, got {type(value).__name__}.")
    if len(value) < least or length not in (None, len(value)):
        raise InputError(f"{where}: expected {f'at least {least}' if length is None else length} entries, got {len(value)}.")
    return value


def _numbers(value: Any, where: str, length: int | None) -> list[Any]:
    for index, item in enumerate(_list(value, where, length=length)):
        if item is not None and (isinstance(item, bool) or not isinstance(item, (int, float))):
            raise InputError(f"{where}[{index}]: expected a number or null, got {item!r}.")
    return value
