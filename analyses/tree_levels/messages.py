"""Which messages of their own belief propagation can be read from the models of every filter level?"""

from __future__ import annotations

from analyses.shared.tree_probes import _scores, message_grid, message_layout, message_panel
from analyses.tree_levels.groups import Family
from mechbp.errors import TooFewSequences
from mechbp.report.document import FigureData
from mechbp.report.parts import panel, reason
from mechbp.study import Study


def message_figure(study: Study, family: Family) -> FigureData:
    """R² of the upward messages that exist at each run's own level, on its own data, masked as in training."""
    place = (
        f"fig-{family.slug}-messages",
        "heatmap",
        f"{family.heading}: upward messages of a leaf's own ancestors, on data of the model's level",
    )
    panels = []
    n = study.size(4000, 400)
    try:
        grids = [message_grid(study, run, n) for run in family.runs]
    except TooFewSequences as error:
        return FigureData(*place, "", "", status="skipped", reason=reason(error))
    for label, run, grid in zip(family.labels, family.runs, grids, strict=True):
        panels.append(message_panel(f"trained at {label}", run, grid))
    panels.append(panel(f"random weights, {family.labels[0]}", _scores(family.runs[0], grids[0], "random_init")))
    return FigureData(
        *place,
        caption=f"Held-out R² of ridge probes, about {n // 5:,} test sequences per model, mean over leaf positions. Depths 1 to "
        "k - 1 carry no symbols at level k and stay empty. Random weights stand in the last panel, in hover and in the table.",
        alt="Heatmaps of held-out R², one per model and one for random weights: stages of the network in rows, depths of the "
        "ancestor in columns.",
        data=message_layout(family.runs[0], grids[0]) | {"panels": panels, "panel_columns": 4},
    )
