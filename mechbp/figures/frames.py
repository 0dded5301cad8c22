"""Frames, the positions of a slider: each a name and its content, series or panels. A figure without a slider is one frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mechbp.figures import checking

Content = list[dict[str, Any]]
"""The series or the panels of one frame."""


def checked_frames(data: dict[str, Any], content: str, where: str) -> list[tuple[str, Any]]:
    """Return (path, content) of each frame, or of the whole when there are none; `content` is "series" or "panels"."""
    if "frames" not in data:
        return [(where, data[content])]
    found = []
    for index, frame in enumerate(checking.entries(data["frames"], f"{where}.frames", least=1)):
        here = f"{where}.frames[{index}]"
        checking.keys(frame, {"name", content}, (), here)
        checking.text(frame["name"], here + ".name")
        found.append((here, frame[content]))
    return found


def frames_of(data: dict[str, Any]) -> list[tuple[str | None, Content]]:
    """Return (name, content) of each frame, or (None, content) of the whole when there are none."""
    return [(frame.get("name"), frame.get("panels", frame.get("series", []))) for frame in data.get("frames", [data])]


def picture(data: dict[str, Any], layout: dict[str, Any], traces_of: Callable[[Content], list[dict[str, Any]]]) -> dict[str, Any]:
    """Return plotly's description of a figure, its frames drawn one by one and the last one shown."""
    drawn = [(name, traces_of(content)) for name, content in frames_of(data)]
    figure = {"data": drawn[-1][1], "layout": layout}
    if "frames" in data:
        figure["frames"] = [{"name": name, "data": traces} for name, traces in drawn]
    return figure
