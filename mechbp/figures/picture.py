"""One figure before it has a place on a page: what a result draws of itself, and what a page shows of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mechbp.figures import KINDS, check_data, style
from mechbp.figures.plain import clean, plain

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

TITLE_ROOM = {False: 90, True: 40}
"""Characters after which a title is wrapped: wide, narrow."""
TITLE_PX = 20
"""Height of a line of the title."""


@dataclass(frozen=True)
class Picture:
    """A figure of one of the kinds of `mechbp.figures`; arrays in `data` become lists, NaN a gap."""

    kind: str
    """A key of `mechbp.figures.KINDS`."""
    title: str
    caption: str
    """What is drawn: axes, series, n and interval."""
    alt: str
    """One sentence that is read out instead of the picture."""
    data: Mapping[str, Any]

    def __post_init__(self) -> None:
        for name in ("title", "caption", "alt"):
            object.__setattr__(self, name, clean(getattr(self, name)))
        object.__setattr__(self, "data", plain(self.data, "Picture.data"))
        check_data(self.kind, dict(self.data), f"figure {self.title!r}")

    def figure(self, narrow: bool = False) -> Figure:
        """Return the plotly Figure that a page would show, its title on top; nothing is displayed.

        `narrow` lays it out for a phone, or a column of a notebook.
        """
        import plotly.graph_objects as go

        described = KINDS[self.kind].draw(dict(self.data), narrow)
        layout = described["layout"]
        text = style.label(self.title, TITLE_ROOM[narrow])
        room = TITLE_PX * (text.count("<br>") + 1) + 14
        layout["margin"] = {**layout["margin"], "t": layout["margin"]["t"] + room}
        layout["height"] += room
        if "coloraxis" in layout:  # plotly shifts the figure's title by the height of a colour bar's title that nobody gave
            bar = layout["coloraxis"].get("colorbar", {})
            layout["coloraxis"] = {**layout["coloraxis"], "colorbar": {**bar, "title": {"text": ""}}}
        layout["title"] = {
            "text": text,
            "x": 0,
            "xref": "paper",
            "font": {"size": 15},
            "yref": "container",
            "y": round(1 - 8 / layout["height"], 5),
            "yanchor": "top",
        }
        return go.Figure(**described)
