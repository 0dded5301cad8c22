"""What pages on trees read alike from a probe grid: messages of own ancestors, and the block that writes each."""

from __future__ import annotations

from typing import Any

import numpy as np

from analyses.shared.probe_maps import OUTPUTS, probe_layout
from mechbp.methods.probing.grid import ProbeGrid
from mechbp.methods.probing.probe import probe
from mechbp.methods.statistics.intervals import Interval
from mechbp.models.runs import Run
from mechbp.models.tasks.tree import training_evidence
from mechbp.report.parts import panel
from mechbp.study import Study
from mechbp.theory.tree.leaves import own_nodes


def writing_blocks(run: Run, grid: ProbeGrid) -> dict[int, tuple[int, float, float]]:
    """Return, per level above the leaf, the block whose output raises the upward message's R² most, and R² before and after."""
    depth, level = run.process.depth, run.config.process.filter_level
    outputs = [0, *(i for i, hook in enumerate(grid.hooks) if hook.endswith("resid_post"))]
    found = {}
    for height in (depth - d for d in reversed(run.process.depths) if max(level, 1) <= d < depth or d == 0):
        scores = grid.own_mean("r2", f"upward {depth - height}").mean[outputs]
        block = int(np.diff(scores).argmax()) + 1
        found[height] = (block, float(scores[block - 1]), float(scores[block]))
    return found


def message_grid(study: Study, run: Run, n: int) -> ProbeGrid:
    """Probe the upward messages of a leaf's own ancestors on n sequences of the run's own data, masked as in training."""
    study.stage(f"{run.name}: messages")
    process, objective = run.process, run.config.objective
    tokens = process.sample(n, study.rng(run.name, "messages")).tokens
    evidence = training_evidence(objective, process, tokens, study.rng(run.name, "masks"))
    upward = process.beliefs(evidence).upward
    inputs = run.task.inputs(process, evidence)
    targets = {f"upward {d}": upward[d] for d in process.depths}
    return probe(
        run.model, inputs, targets, OUTPUTS, rng=study.rng(run.name, "probe messages"), control_model=run.untrained(seed=1),
        controls=(), own=own_nodes(targets, process.n_leaves, inputs.shape[1]), only_own=True,
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
    found = {d: grid.own_mean("r2", f"upward {d}", source) for d in run.process.depths}
    absent = Interval(*np.full((3, len(grid.hooks)), np.nan), n=grid.n_test)
    return Interval.stack([found.get(d, absent) for d in range(run.process.depth + 1)], axis=1)
