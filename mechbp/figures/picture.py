"""One figure before it has a place on a page: what a result draws of itself, and what a page shows of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mechbp.figures import check_data, draw
from mechbp.figures.plain import clean, plain

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


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

    def figure(self) -> Figure:
        """Return the plotly Figure that a page would show, its title on top; nothing is displayed."""
        drawn = draw(self.kind, dict(self.data))
        top = drawn.layout.margin.t or 0
        drawn.update_layout(
            title={"text": self.title, "x": 0, "xref": "paper", "font": {"size": 15}, "yref": "container", "y": 0.98}
        )
        drawn.update_layout(margin={"t": top + 34}, height=(drawn.layout.height or 400) + 34)
        return drawn
