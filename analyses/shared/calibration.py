"""Calibration as a picture: the exact probability where a model states one, beside the diagonal on which both are equal."""

from __future__ import annotations

from typing import Any

from mechbp.methods.statistics.answers import Calibration


def calibration_line(name: str, result: Calibration) -> dict[str, Any]:
    """Return the series of mean exact probabilities, with intervals, over the bins that hold any."""
    shown = result.filled > 0
    ends = {"y": result.exact.mean, "low": result.exact.low, "high": result.exact.high}
    return {"name": name, "x": result.stated[shown], **{key: values[shown] for key, values in ends.items()}}


def calibration_density(result: Calibration) -> dict[str, Any]:
    """Return how often each pair of stated and exact probability occurs, as a scatter's density."""
    return {"x_edges": result.edges, "y_edges": result.edges, "counts": result.counts.T}


def calibration_axes(exact: str) -> dict[str, Any]:
    """Return the axes of a scatter of probabilities; `exact` names the exact one."""
    return {
        "x_title": "probability stated by the model",
        "y_title": exact,
        "identity": True,
        "x_range": [0, 1],
        "y_range": [0, 1],
    }
