"""Figure kinds: data -> plotly Figure and data -> table. Pure functions; `narrow=True` lays the same traces out for phones.

A kind is one file that documents its data and holds `check(data, where)`, `draw(data, narrow)` and `rows(data, content)`; adding
one means adding a file and its entry in KINDS. Kinds describe pictures as plain dictionaries, plotly's own JSON, and never import
plotly; `draw` below turns them into a Figure. So a document is loaded and checked without plotly.

Data are JSON values (`FigureData` turns arrays into lists, NaN into null and rounds). `null` is a missing value: a gap in the
picture, a dash in the table. Keys marked ? are optional, unknown keys are refused. Text is plain text, never markup. Axis titles
carry the unit in brackets: "KL(BP0 || model) (nats)". In every series `low` and `high` are the ends of an interval and come
together, `color` is a palette index (give two series the same one to pair them), and `control: true` draws the series in grey
(lines dotted, markers hollow). Where a kind has a slider, `frames` [{name, content}] stand in place of its content (series or
panels), and `frame_title`? names the slider: "training step".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from mechbp.errors import InputError
from mechbp.figures import bars, clouds, densities, dots, drawn, heatmap, lines, scatter
from mechbp.figures.checking import words
from mechbp.figures.frames import Content
from mechbp.figures.table import Row, Table, tidy

if TYPE_CHECKING:
    import plotly.graph_objects as go


class Kind(Protocol):
    """What the file of a kind holds."""

    def check(self, data: dict[str, Any], where: str) -> None:
        """Raise InputError naming the first thing wrong with the data."""
        ...

    def draw(self, data: dict[str, Any], narrow: bool) -> dict[str, Any]:
        """Return plotly's description of the picture: data (traces), layout, and frames where there is a slider."""
        ...

    def rows(self, data: dict[str, Any], content: Content) -> list[Row]:
        """Return the rows of the table of one frame, whose series or panels are `content`."""
        ...


KINDS: dict[str, Kind] = {
    "lines": lines,
    "bars": bars,
    "heatmap": heatmap,
    "scatter": scatter,
    "dots": dots,
    "clouds": clouds,
    "densities": densities,
    "drawn": drawn,
}


def check_data(kind: str, data: Any, where: str) -> None:
    """Raise InputError naming the first thing wrong with a figure's data."""
    if kind not in KINDS:
        raise InputError(f"{where}: unknown kind {kind!r:.80}; choose from {', '.join(KINDS)}.")
    if not isinstance(data, dict):
        raise InputError(f"{where}: data must be a dict, got {type(data).__name__}.")
    if kind != "drawn":  # whose traces are plotly's
        words(data, where)
    KINDS[kind].check(data, where)


def draw(kind: str, data: dict[str, Any], narrow: bool = False) -> go.Figure:
    """Draw one figure; the frames of a slider are the Figure's frames, and it shows the last one.

    Traces do not depend on `narrow`, only the layout does. Colours of text, axes and references come from the layout's
    template, so that a page can exchange the light one for the dark one.
    """
    import plotly.graph_objects as go

    return go.Figure(**KINDS[kind].draw(data, narrow))


def table(kind: str, data: dict[str, Any]) -> Table:
    """Return every number of the figure's data as one tidy table."""
    return tidy(data, KINDS[kind].rows)
