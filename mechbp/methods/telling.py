"""Means with intervals as a sentence says them, a table lists them and a figure draws them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mechbp.figures.intervals import HasInterval, points


def told(interval: HasInterval, unit: str = "") -> str:
    """Return "0.021 [0.019, 0.023] nats" of a scalar interval; without its ends where nothing is known of them."""
    mean, low, high = (float(value) for value in (interval.mean, interval.low, interval.high))
    ends = "" if np.isnan(low) else f" [{low:.3g}, {high:.3g}]"
    return f"{mean:.3g}{ends}{f' {unit}' if unit else ''}"


def examples(interval: Any, what: str = "examples") -> str:
    """Return "n = 1,000 examples, 95% intervals"."""
    return f"n = {interval.n:,} {what}, {interval.level:.0%} intervals"


def ends(name: str, interval: HasInterval) -> dict[str, np.ndarray]:
    """Return columns of a table: the mean under `name`, and the ends of its interval."""
    return {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}


def frame(axes: Mapping[str, Iterable[Any]], columns: Mapping[str, Any]) -> pd.DataFrame:
    """Return one row per combination of the axes' labels, first axis slowest; an interval takes three columns.

    columns: arrays or intervals whose shape is that of the axes, or single values.
    """
    labels = {name: list(values) for name, values in axes.items()}
    if not labels:
        table = pd.DataFrame(index=range(1))
    else:
        table = pd.MultiIndex.from_product(list(labels.values()), names=list(labels)).to_frame(index=False)
    for name, column in columns.items():
        for key, values in (ends(name, column) if isinstance(column, HasInterval) else {name: column}).items():
            table[key] = np.ravel(values) if np.ndim(values) else values
    return table


def named(intervals: Mapping[str, HasInterval], label: str = "measure") -> pd.DataFrame:
    """Return one row per scalar interval: its name, mean, low and high."""
    rows = [
        {label: name, **{end: float(getattr(found, end)) for end in ("mean", "low", "high")}} for name, found in intervals.items()
    ]
    return pd.DataFrame(rows, columns=[label, "mean", "low", "high"])


def panel(title: str, values: HasInterval | np.ndarray, control: np.ndarray | None = None) -> dict[str, Any]:
    """Return a heat map's panel of values [row, column], with interval and control where there are any."""
    beside = {} if control is None else {"control": control}
    if isinstance(values, np.ndarray):
        return {"title": title, "values": values, **beside}
    return {"title": title, "values": values.mean, "low": values.low, "high": values.high, **beside}


def dots(x_title: str, intervals: Mapping[str, HasInterval], series: str = "estimate", **more: Any) -> dict[str, Any]:
    """Return the data of a dots figure with one row per scalar interval."""
    return {
        "x_title": x_title,
        "categories": list(intervals),
        "series": [{"name": series, **points(list(intervals.values()), "x")}],
        **more,
    }


def finite(values: np.ndarray) -> np.ndarray:
    """Return values with NaN, a gap, in place of what is infinite."""
    return np.where(np.isfinite(values), values, np.nan)


def largest(values: np.ndarray, labels: Sequence[str]) -> tuple[str, float]:
    """Return label and value of the entry of largest size, NaN left aside; "none" where all are NaN."""
    flat = np.abs(np.ravel(values).astype(np.float64))
    if not len(flat) or np.isnan(flat).all():
        return "none", float("nan")
    where = int(np.nanargmax(flat))
    return labels[where], float(np.ravel(values)[where])


def gap_caution(gap: HasInterval) -> list[str]:
    """Return a caution where the gap of two runs is not clear of 0, so that shares of it mean little; no line elsewhere."""
    if float(gap.low) > 0 or float(gap.high) < 0:
        return []
    return ["caution: the gap's interval holds 0, so effects as shares of it mean little; choose pairs that differ in the answer"]
