"""The lines that training adds to metrics.jsonl, and what they say about whether it has ended."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mechbp.errors import CheckpointError, reason
from mechbp.models.config import TrainingConfig
from mechbp.storage import read_regular

METRICS = "metrics.jsonl"
MAX_BYTES = 64 * 2**20


def divergence_names(oracle: str) -> tuple[str, str]:
    """Return what metrics.jsonl calls the mean D(oracle || model) and D(model || oracle), nats."""
    return f"kl_{oracle}_to_model_nats", f"kl_model_to_{oracle}_nats"


def read_metrics(path: Path, oracles: Iterable[str] | None = None) -> list[dict[str, float]]:
    """Return the lines of a metrics.jsonl; an absent file has none.

    Raises CheckpointError, naming the line, where one is no JSON object, lacks its step or, where `oracles` are given, any
    other number that `measure` gives for them, or holds something else in its place.
    """
    if not path.exists():
        return []
    wanted = ["step"]
    if oracles is not None:
        wanted += ["sequences", "accuracy"]
        wanted += [name for oracle in oracles for name in divergence_names(oracle)]
    rows: list[dict[str, float]] = []
    try:
        for text in read_regular(path, MAX_BYTES).decode("utf-8").splitlines():
            row = json.loads(text)
            if not isinstance(row, dict) or type(row.get("step")) is not int:
                raise ValueError("no JSON object with a step")
            for name in dict.fromkeys([*wanted, *(key for key in row if key.endswith(("_nats", "wall_s")))]):
                if type(row.get(name)) not in (int, float) or not abs(row[name]) < 1e300:  # NaN fails too
                    raise ValueError(f"{name} should be a finite number, got {row.get(name)!r:.40}")
            rows.append(row)
    except (OSError, ValueError, RecursionError) as error:
        where = "" if isinstance(error, OSError | UnicodeDecodeError) else f"line {len(rows) + 1}: "
        raise CheckpointError(
            f"{path} is damaged: {where}{reason(error)}.\nRestore it from a copy, or remove it to let training write a new one."
        ) from error
    return rows


def has_ended(training: TrainingConfig, step: int, metrics: Sequence[Mapping[str, float]]) -> bool:
    """Return whether a run at `step` with these metrics is over: out of steps, or past the best one for long enough."""
    if not training.early_stopping or not metrics:
        return step >= training.steps
    now = metrics[-1]["step"]
    return now >= training.steps or now >= max(training.warmup_steps, training.early_stopping * best_step(metrics))


def best_step(metrics: Sequence[Mapping[str, float]]) -> int:
    """Return the measured step with the lowest held-out cross-entropy."""
    return int(min(metrics, key=lambda line: line["cross_entropy_nats"])["step"])
