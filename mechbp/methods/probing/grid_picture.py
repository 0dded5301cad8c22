"""Pictures of probes: hook x position as a heat map, and hook by hook beside the controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int

from mechbp.figures.intervals import points
from mechbp.figures.picture import Picture
from mechbp.methods.statistics.intervals import Interval
from mechbp.methods.telling import panel

NAMES = {
    "r2": "held-out R²",
    "accuracy": "held-out accuracy",
    "kl_nats": "KL(target || probe) (nats)",
    "cross_entropy_nats": "held-out cross-entropy (nats)",
}
SHARES = ("r2", "accuracy")
"""Scores whose colours run from 0 to 1."""
MOST_PANELS = 12


def cells_picture(
    hooks: Sequence[str],
    target: str,
    metric: str,
    scores: Interval,
    controls: Mapping[str, Interval],
    own: Int[np.ndarray, " position"],
) -> Picture:
    """Draw scores [hook, position, node]: at every position the node that `own` names; where it names none, a panel per node."""
    beside, control = next(iter(controls.items()), ("", None))
    positions = np.flatnonzero(own >= 0)
    if len(positions):
        names = [f"node {own[positions[0]]}" if len(set(own[positions])) == 1 else "the node of each position"]
        nodes = [(positions, own[positions])]
    else:
        positions = np.arange(scores.mean.shape[1])
        shown = range(min(scores.mean.shape[2], MOST_PANELS))
        names = [f"node {node}" for node in shown]
        nodes = [(positions, np.full(len(positions), node)) for node in shown]
    left_out = scores.mean.shape[2] - len(nodes) if len(nodes) == MOST_PANELS else 0
    panels = []
    for title, (at, which) in zip(names, nodes, strict=True):
        cell = (slice(None), at, which)
        panels.append(panel(title, scores[cell], None if control is None else control.mean[cell]))
    return Picture(
        kind="heatmap",
        title=f"{NAMES.get(metric, metric)} of {target}",
        caption=f"Probes fitted and scored on separate sequences, n = {scores.n:,} held out; in hover and table "
        f"{scores.level:.0%} bootstrap intervals{f' and the control {beside!r}' if beside else ''}."
        + (f" {left_out} more nodes are not drawn; name one with node=." if left_out else ""),
        alt=f"Heat map of {NAMES.get(metric, metric)} of {target}: hooks down, positions across.",
        data={
            "rows": [hook.removeprefix("blocks.") for hook in hooks],
            "columns": [str(position) for position in positions],
            "value_title": NAMES.get(metric, metric),
            "row_title": "block and hook",
            "column_title": "position",
            **({"range": [0, 1]} if metric in SHARES else {}),
            "panels": panels,
        },
    )


def own_picture(hooks: Sequence[str], target: str, metric: str, sources: Mapping[str, Interval]) -> Picture:
    """Draw scores [hook] of own nodes, the model's and every control's, with intervals."""
    scores = sources["model"]
    return Picture(
        kind="dots",
        title=f"{NAMES.get(metric, metric)} of {target}, own nodes",
        caption=f"Each position's probe of its own node, pooled over positions; n = {scores.n:,} held-out sequences, "
        f"{scores.level:.0%} bootstrap intervals. Hollow: controls.",
        alt=f"Dots with intervals by hook: {NAMES.get(metric, metric)} of {target}, the model beside its controls.",
        data={
            "x_title": NAMES.get(metric, metric),
            "categories": list(hooks),
            "series": [
                {"name": name, **points(found, "x"), **({} if name == "model" else {"control": True, "color": index})}
                for index, (name, found) in enumerate(sources.items())
            ],
        },
    )
