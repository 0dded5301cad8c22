"""Numbers that Shai et al. 2024 print or plot, for the processes of their two models."""

from __future__ import annotations

from analyses.shared.prefix_corpus import LN, TOGETHER
from mechbp.models.runs import Run

NAME = "Shai et al. 2024"
MSE = {
    "mess3": {
        "embedding": 0.031, "layer 1": 0.0014, "layer 2": 0.0007, "layer 3": 0.0005, "layer 4": 0.0004, LN: 0.0003,
        TOGETHER: 0.0001,
    },
    "rrxor": {
        "layer 1": 0.0418, "layer 2": 0.0320, "layer 3": 0.0260, "layer 4": 0.0244, LN: 0.0295, TOGETHER: 0.0039,
    },
}  # fmt: skip
"""Fig. 7E, read off the axis."""
DISTANCES = {"mess3": (1.00, 1.00), "rrxor": (0.95, 0.31)}
"""Fig. 7D: squared correlation of read distances with those of beliefs, and with those of next-token predictives."""
EMERGENCE = {"mess3": ((6_400, 0.0127), (915_200, 0.0073), (3_187_200, 0.0025), (629_209_600, 0.0004))}
"""Fig. 6A, D: tokens seen and MSE at the last layer."""
SETTINGS = {"mess3": {"x": 0.05, "alpha": 0.85}, "rrxor": {"p": 0.5, "q": 0.5}}


def is_theirs(run: Run) -> bool:
    """Return whether a run's process is one of theirs, with their parameters."""
    recipe = run.config.process
    return all(getattr(recipe, name) == value for name, value in SETTINGS.get(recipe.kind, {"kind": ""}).items())


def theirs(table: dict, run: Run, missing: object) -> object:
    """Return a table's entry for the run's process, or `missing`."""
    return table.get(run.config.process.kind, missing) if is_theirs(run) else missing
