"""Results that show themselves: as a figure, a table, a line of text, and in a notebook."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from mechbp.brief import Brief
from mechbp.figures.picture import Picture

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

ROWS = 10
"""Rows of the table that a notebook shows."""


class Shown(Brief):
    """A result of a method. It says what to draw, tabulate and sum up; the rest follows."""

    def picture(self, *args: Any, **kwargs: Any) -> Picture:
        """Return what `plot` draws and a page shows."""
        raise NotImplementedError

    def to_dataframe(self) -> pd.DataFrame:
        """Return every mean with its interval and control, one row each."""
        raise NotImplementedError

    def summary(self) -> str:
        """Return what was found in a few lines: n, effect with interval, control."""
        raise NotImplementedError

    def plot(self, *args: Any, **kwargs: Any) -> Figure:
        """Return the figure that pages show of this result; takes what `picture` takes, and shows nothing by itself."""
        return self.picture(*args, **kwargs).figure()

    def _repr_html_(self) -> str:
        frame = self.to_dataframe()
        more = f"<p>{len(frame):,} rows; to_dataframe() has them all, plot() draws them.</p>" if len(frame) > ROWS else ""
        return f"<pre>{escape(self.summary())}</pre>{frame.head(ROWS).to_html(index=False, border=0)}{more}"
