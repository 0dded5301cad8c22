"""Which messages of their own belief propagation can be read from the models of every filter level?"""

from __future__ import annotations

from typing import Any

import numpy as np

from analyses.levels.family import Family
from analyses.mechanism.stages import OUTPUTS, probe_layout
from mechbp.errors import TooFewSequences
from mechbp.methods.intervals import Interval
from mechbp.methods.probe_grid import ProbeGrid
from mechbp.methods.probing import probe
from mechbp.models.objectives import training_evidence
from mechbp.models.runs import Run
from mechbp.models.tasks import shown
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
        alt="Messages become readable block by block, up to the top of the model's blocks of leaves.",
        data=message_layout(family.runs[0], grids[0]) | {"panels": panels, "panel_columns": 4},
    )


def message_grid(study: Study, run: Run, n: int) -> ProbeGrid:
    """Probe the upward messages of a leaf's own ancestors on n sequences of the run's own data, masked as in training."""
    study.stage(f"{run.name}: messages")
    process, objective = run.process, run.config.objective
    tokens = process.sample(n, study.rng(run.name, "messages")).tokens
    evidence = training_evidence(objective, process, tokens, study.rng(run.name, "masks"))
    upward = process.beliefs(evidence).upward
    return probe(
        run.model, shown(process, objective.task, evidence), {f"upward {d}": upward[d] for d in process.depths}, OUTPUTS,
        rng=study.rng(run.name, "probe messages"), control_model=run.untrained(seed=1), nodes="own", controls=(),
    )  # fmt: skip


def message_layout(run: Run, grid: ProbeGrid) -> dict[str, Any]:
    """Return what the run's figure of messages shares with others; depths without symbols keep a column."""
    return probe_layout(grid.hooks, range(run.process.depth + 1), run.process.depth, "R²")


def message_panel(title: str, run: Run, grid: ProbeGrid) -> dict[str, Any]:
    """Return a panel of R² [hook, depth] with its rows and columns; random weights are its control."""
    layout = message_layout(run, grid)
    control = panel("", _scores(run, grid, "random_init"))["values"]
    own = {"rows": layout["rows"], "columns": layout["columns"], "control": control}
    return panel(title, _scores(run, grid, "model")) | own


def _scores(run: Run, grid: ProbeGrid, source: str) -> Interval:
    """R² [hook, depth], NaN where the run's level has no symbols."""
    found = {d: grid.ancestor_mean("r2", f"upward {d}", source) for d in run.process.depths}
    absent = Interval(*np.full((3, len(grid.hooks)), np.nan), n=grid.n_test)
    return Interval.stack([found.get(d, absent) for d in range(run.process.depth + 1)], axis=1)
