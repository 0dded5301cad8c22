"""Claims as a forest plot: effect and control with their intervals on one axis, a line per claim, claims of one unit together.

Numbers of different units cannot share an axis, so claims are grouped by unit, in the order in which units first occur; what can
be drawn of a claim, and what its unit is, `mechbp.report.estimates` reads. An axis holds the middle of its group: where a few
estimates lie far outside, they are drawn as arrows at its end, so that the others can be told apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mechbp.report.claim import Claim
from mechbp.report.estimates import Estimate, Row, row

FAR = 5.0
"""Times the middle half of all estimates and zero that an axis may span before it is cut at their own width beyond them."""
MARGIN = 3.0
"""Per cent of the axis left free at either end."""
NAMES = {"": "no unit: shares, ratios, differences", "%": "per cent", "MSE": "mean squared error"}
"""How groups are headed, where not by their unit."""


@dataclass(frozen=True)
class Mark:
    """An estimate on its axis, in per cent of the axis' width."""

    estimate: Estimate
    at: float
    low: float
    high: float
    beyond: int
    """-1 or 1 where the estimate lies left or right of the axis, else 0."""


@dataclass(frozen=True)
class Line:
    """One claim: its row, and its marks where it has any."""

    row: Row
    effect: Mark | None = None
    control: Mark | None = None


@dataclass(frozen=True)
class Group:
    """Claims on one axis; without one where nothing can be drawn of them."""

    title: str
    lines: tuple[Line, ...]
    ticks: tuple[tuple[float, str], ...] = ()
    """Place in per cent, and label."""
    zero: float | None = None
    cut: bool = False
    """Whether estimates lie beyond the axis."""


def forest(claims: Sequence[Claim]) -> list[Group]:
    """Group claims by what their estimates can share an axis with; claims without one come last."""
    rows = [row(claim) for claim in claims]
    units = list(dict.fromkeys(r.effect.group for r in rows if r.effect))
    groups = [_group(unit, [r for r in rows if r.effect and r.effect.group == unit]) for unit in units]
    plain = tuple(Line(r) for r in rows if not r.effect)
    title = "no single estimate with an interval" if groups else ""
    return [*groups, Group(title, plain)] if plain else groups


def _group(unit: str, rows: list[Row]) -> Group:
    drawn = [estimate for r in rows for estimate in (r.effect, r.control) if estimate]
    low, high, cut = _span(drawn)
    steps = _ticks(low, high)
    free = 100 - 2 * MARGIN

    def place(value: float) -> float:
        return round(min(100.0, max(0.0, MARGIN + free * (value - low) / (high - low))), 2)

    def mark(estimate: Estimate | None) -> Mark | None:
        if estimate is None:
            return None
        beyond = -1 if estimate.value < low else 1 if estimate.value > high else 0
        ends = [estimate.value if end is None else end for end in (estimate.low, estimate.high)]
        return Mark(estimate, place(estimate.value), place(ends[0]), place(ends[1]), beyond)

    lines = tuple(Line(r, mark(r.effect), mark(r.control)) for r in rows)
    ticks = tuple((place(value), text) for value, text in steps)
    zero = place(0.0) if low <= 0 <= high else None
    return Group(NAMES.get(unit, unit), lines, ticks, zero, cut)


def _span(drawn: Sequence[Estimate]) -> tuple[float, float, bool]:
    """Return the axis: all ends and zero; where a few lie far outside, the middle estimates and as much again on either side."""
    ends = sorted(end for e in drawn for end in (e.value, e.low, e.high) if end is not None)
    values = sorted(e.value for e in drawn)
    low, high = min(ends[0], 0.0), max(ends[-1], 0.0)
    if len(values) >= 5:
        fourth = len(values) // 4
        middle = (min(values[fourth], 0.0), max(values[-1 - fourth], 0.0))
        width = middle[1] - middle[0]
        if width > 0 and high - low > FAR * width:
            low, high = max(low, middle[0] - width), min(high, middle[1] + width)
    if low == high:
        low, high = low - 0.5, high + 0.5
    return low, high, low > ends[0] or high < ends[-1]


def _ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Return three to six round numbers between the ends, with as many decimals as they need."""
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    digits = max(0, -math.floor(math.log10(step)))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    if digits > 4:
        return [(index * step, f"{index * step:.0e}" if index else "0") for index in range(first, last + 1)]
    return [(index * step, f"{index * step + 0.0:.{digits}f}".replace("-", "−")) for index in range(first, last + 1)]
