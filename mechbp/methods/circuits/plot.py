"""Draw circuits between tokens as heat maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

    from mechbp.methods.circuits.result import Circuits

PANEL_PX = 380


def draw_circuits(circuits: Circuits, heads: Sequence[int]) -> Figure:
    """Return OV (left: attended token down, output across) and QK (right: query down, key across), one row of panels per head.

    Each circuit has one colour scale for all heads, centred at 0.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    panels = (
        ("OV", circuits.ov, "output", "attended token", np.arange(circuits.direct.shape[1])),
        ("QK", circuits.qk, "key", "query", circuits.tokens),
    )
    titles = [f"{name}, head {head}" for head in heads for name, *_ in panels]
    figure = make_subplots(
        rows=len(heads), cols=2, subplot_titles=titles, horizontal_spacing=0.2, vertical_spacing=0.25 / len(heads)
    )
    for column, (name, values, across, down, columns) in enumerate(panels, start=1):
        reach = float(np.abs(values[list(heads)]).max()) or 1.0
        axis = "coloraxis" if column == 1 else "coloraxis2"
        bar = {"title": {"text": name}, "x": 0.41 if column == 1 else 1.0, "len": 0.9}
        figure.update_layout({axis: {"colorscale": "RdBu", "cmin": -reach, "cmax": reach, "colorbar": bar}})
        for row, head in enumerate(heads, start=1):
            trace = go.Heatmap(
                z=values[head],
                x=[str(token) for token in columns],
                y=[str(token) for token in circuits.tokens],
                coloraxis=axis,
                name=f"{name}, head {head}",
                hovertemplate=f"{down} %{{y}}, {across} %{{x}}<br><b>%{{z:.4g}}</b><extra>%{{fullData.name}}</extra>",
            )
            figure.add_trace(trace, row=row, col=column)
            figure.update_xaxes(title_text=across, type="category", row=row, col=column)
            figure.update_yaxes(title_text=down, type="category", autorange="reversed", row=row, col=column)
    figure.update_layout(height=PANEL_PX * len(heads) + 80, title_text=f"block {circuits.layer}, {circuits.variant}")
    return figure


def draw_parts(sizes: pd.DataFrame) -> Figure:
    """Return lines over positions, one per part of the logits: root mean square over sequences and outputs, in nats."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for name, rows in sizes.groupby("part", sort=False):
        figure.add_trace(
            go.Scatter(x=rows["position"].tolist(), y=rows["rms_nats"].tolist(), name=str(name), mode="lines+markers")
        )
    figure.update_xaxes(title_text="position")
    figure.update_yaxes(title_text="root mean square of what the part adds (nats)", rangemode="tozero")
    return figure
