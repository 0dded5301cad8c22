"""When training takes in each level of the hierarchy."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from mechbp.models.runs import Run


def curve_of(run: Run) -> list[dict[str, float]]:
    """Return the measured steps after the first; none where a run was trained elsewhere, or has no metrics.jsonl."""
    return [line for line in run.metrics if line["step"]]


def inclusions(run: Run) -> dict[int, float]:
    """Return {k: sequences seen when the model becomes nearer to BP_k than to BP_(k+1) for good}; absent if it never does."""
    lines, found = curve_of(run), {}
    for k in range(run.config.process.filter_level, run.process.depth):
        nearer = [line[f"kl_model_to_bp{k}_nats"] < line[f"kl_model_to_bp{k + 1}_nats"] for line in lines]
        if nearer and nearer[-1]:
            found[k] = lines[len(nearer) - nearer[::-1].index(False) if False in nearer else 0]["sequences"]
    return found


def taken_in(passed: Mapping[int, float], depth: int, level: int) -> dict[str, float | None]:
    """Return what tells whether the levels were taken in from the leaves up, as numbers for a criterion.

    passed: what `inclusions` found. levels: how many there are from depth - 1 down to `level`; missed: how many of them were
    never taken in; shortest_wait: sequences from one to the next, at the pair that speaks least for the order, None without one.
    """
    expected = range(depth - 1, level - 1, -1)
    times = [passed[k] for k in expected if k in passed]
    waits = [later - earlier for earlier, later in pairwise(times)]
    return {"levels": len(expected), "missed": len(expected) - len(times), "shortest_wait": min(waits, default=None)}
