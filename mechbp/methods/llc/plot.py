"""Draw what sampled chains did, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

POINTS = 400
"""Points drawn of each chain; longer chains are thinned evenly."""


def draw_traces(
    excess: Float64[np.ndarray, "step chain"], distances: Float64[np.ndarray, "step chain"], burn_in: int, n_beta: float
) -> Figure:
    """Return a figure of two panels over steps: n beta times the loss above w* (above), the distance from w* (below).

    The dotted line is where the burn-in ends.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.06)
    steps = np.unique(np.linspace(0, len(excess) - 1, POINTS).astype(int))
    for row, values in ((1, n_beta * excess), (2, distances)):
        for chain in range(values.shape[1]):
            trace = go.Scatter(
                x=steps.tolist(),
                y=values[steps, chain].tolist(),
                name=f"chain {chain}",
                legendgroup=f"chain {chain}",
                showlegend=row == 1,
                line={"width": 1},
            )
            figure.add_trace(trace, row=row, col=1)
    figure.add_vline(x=burn_in, line={"dash": "dot", "width": 1})
    figure.update_yaxes(title_text="n β (L_B(w) − L_B(w*))", row=1, col=1)
    figure.update_yaxes(title_text="|w − w*|", row=2, col=1)
    figure.update_xaxes(title_text="step", row=2, col=1)
    return figure
