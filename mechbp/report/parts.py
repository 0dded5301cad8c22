"""Pieces of documents that every analysis needs: numbers in sentences, and intervals as points and panels of figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mechbp.figures.intervals import HasInterval
from mechbp.report.document import Section

DECIMALS = 3
"""What a heat-map cell keeps; its interval is wider than the rest."""


def estimate(interval: HasInterval, digits: int = 3, unit: str = "") -> str:
    """Return "0.021 [0.019, 0.023] nats"; a number that rounds to zero is written "< 0.001"."""
    mean, low, high = (float(value) for value in (interval.mean, interval.low, interval.high))
    unit = f" {unit}" if unit else ""
    if 0 < high < 0.5 * 10.0**-digits and low >= 0:
        return f"< {10.0**-digits:.{digits}f}{unit}"
    mean, low, high = (round(value, digits) + 0.0 for value in (mean, low, high))  # no minus before a zero
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]{unit}"


def reason(error: Exception) -> str:
    """Return an error's message on one line, for a part of the page that was skipped because of it."""
    return " ".join(str(error).split())


def left_out(runs: Sequence[str], why: str) -> list[Section]:
    """Return the section that names the runs which a page does not study; none where there are none."""
    return [Section("skipped", "Runs left out", (), (), "skipped", f"{', '.join(runs)}: {why}")] if runs else []


def listed(items: Sequence[str]) -> str:
    """Return "a", "a and b", or "a, b and c"."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def spread(steps: Sequence[int], count: int) -> tuple[int, ...]:
    """Return at most `count` of the steps for the frames of a slider, evenly spaced, the first and the last among them."""
    return tuple(steps[i] for i in np.unique(np.linspace(0, len(steps) - 1, min(count, len(steps))).round().astype(int)))


def panel(title: str, interval: HasInterval) -> dict[str, Any]:
    """Return a heat map's panel of intervals [row, column], to DECIMALS decimals."""
    ends = {"values": "mean", "low": "low", "high": "high"}
    return {"title": title, **{key: np.round(getattr(interval, end), DECIMALS) for key, end in ends.items()}}
