"""Which filter level needs fewer sequences, and does that depend on how near to the optimum one asks?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analyses.tree_samples.criteria import CRITERIA
from analyses.tree_samples.curves import Curve
from mechbp.figures.intervals import points
from mechbp.methods.statistics.intervals import Interval
from mechbp.methods.statistics.repetitions import crossed_difference, independent_difference
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import estimate, listed

BOUNDS = CRITERIA["order"].bounds
THRESHOLDS: tuple[float, ...] = tuple(np.linspace(BOUNDS["least_share"], BOUNDS["most_share"], 10).round(3).tolist())
"""Shares of the way to the optimum at which levels are compared."""
DRAWN = (*THRESHOLDS, 0.97, 0.99)


def study_order(curves: Sequence[Curve], sampled: str) -> tuple[list[Claim], Section]:
    """Hold every level against the first of `curves`, the lowest: by needed sequences, and by accuracy at each size."""
    first, *others = curves
    depth = max(curve.depth for curve in curves)
    middle = [curve for curve in others if curve.level < depth]
    last = next((curve for curve in others if curve.level == depth), None)
    claims = [
        _order_claim(first, middle, sampled),
        _least_claim(first, last, depth, sampled),
        _early_claim(first, others, sampled),
        _crossing_claim(first, others, sampled),
    ]
    text = (
        "How many sequences a level needs depends on what is asked for: this section asks for every share of the way from always "
        "naming the likeliest root to exact inference, and compares accuracies at equal sizes. Needed sequences are read log-"
        "linearly between sizes, at the last crossing, seed by seed, of the seeds that have all sizes.",
    )
    return claims, Section("order", "Which level needs fewer?", text, (_needed_figure(curves), _lead_figure(first, others)))


def _order_claim(first: Curve, middle: Sequence[Curve], sampled: str) -> Claim:
    ratios = {curve.name: [_ratio(first, curve, share) for share in THRESHOLDS] for curve in middle}
    levels = listed([curve.name for curve in middle]) if middle else "a middle level"
    return CRITERIA.claim(
        "order",
        id="samples-order",
        statement=f"Data of {levels} need more training sequences than {first.name}, at every share of the way "
        f"to the optimum from {100 * THRESHOLDS[0]:g} to {100 * THRESHOLDS[-1]:g} %.",
        reference="the paper: intermediate filter levels need more data than k = 0",
        measured=f"log2 of needed sequences less that of {first.name}, at {_percent(THRESHOLDS)} %\n"
        + "\n".join(f"{name}: {', '.join(map(_shown, found))}" for name, found in ratios.items())
        + f"\n{sampled}",
        control=f"always naming the likeliest root: {first.chance:.2f}, share 0",
        numbers={"later_low": [_low(ratio) for found in ratios.values() for ratio in found]} if middle else None,
        figure="fig-samples-order",
    )


def _least_claim(first: Curve, last: Curve | None, depth: int, sampled: str) -> Claim:
    ratios = [] if last is None else [_ratio(last, first, share) for share in THRESHOLDS]
    return CRITERIA.claim(
        "least",
        id="samples-least",
        statement=f"Data without any correlation but through the root, k = {depth}, need fewer training sequences than "
        f"{first.name}, at every share of the way to the optimum from {100 * THRESHOLDS[0]:g} to {100 * THRESHOLDS[-1]:g} %.",
        reference="the paper: k = 4 needs least data",
        measured=f"log2 of needed sequences of {first.name} less that of k = {depth}, at {_percent(THRESHOLDS)} %\n"
        f"{', '.join(map(_shown, ratios))}\n{sampled}"
        if ratios
        else "0 runs of this level",
        control=f"always naming the likeliest root: {first.chance:.2f}, share 0",
        numbers={"earlier_low": [_low(ratio) for ratio in ratios]} if ratios else None,
        figure="fig-samples-order",
    )


def _early_claim(first: Curve, others: Sequence[Curve], sampled: str) -> Claim:
    ratios = {curve.name: _ratio(curve, first, THRESHOLDS[0]) for curve in others}
    return CRITERIA.claim(
        "early",
        id="samples-early",
        statement=f"The first {100 * THRESHOLDS[0]:g} % of the way to the optimum need fewer training sequences on data of "
        f"{listed([curve.name for curve in others])} than on {first.name}.",
        reference="no published reference: the paper names one number per level",
        measured=f"log2 of needed sequences of {first.name} less that of the level, at {_percent(THRESHOLDS[:1])} %\n"
        + "\n".join(f"{name}: {_shown(ratio)}" for name, ratio in ratios.items())
        + f"\n{sampled}",
        control=f"always naming the likeliest root: {first.chance:.2f}, share 0",
        numbers={"earlier_low": [_low(ratio) for ratio in ratios.values()]},
        figure="fig-samples-order",
    )


def _crossing_claim(first: Curve, others: Sequence[Curve], sampled: str) -> Claim:
    """A level that is ahead at a smaller set and behind at a larger one has no order with the first."""
    leads = {curve.name: _leads(first, curve) for curve in others}
    crossed = [_crosses(found) for found in leads.values()]
    return CRITERIA.claim(
        "crossing",
        id="samples-crossing",
        statement=f"Which level leads turns with the size of the set: {listed([curve.name for curve in others])} lead "
        f"farther than {first.name} from some set, and less far from some larger one.",
        reference="no published reference: the paper names one number per level",
        measured=f"share of the way, less that of {first.name}\n"
        + "\n".join(
            f"{name}: " + ", ".join(f"{size:,} {_shown(found)}" for size, found in found_at.items())
            for name, found_at in leads.items()
        )
        + f"\n{sampled}",
        control=f"always naming the likeliest root: {first.chance:.2f}, share 0",
        numbers={
            "ahead_low": [ahead for ahead, _ in crossed],
            "behind_high": [behind for _, behind in crossed],
        },
        figure="fig-samples-lead",
    )


def _ratio(first: Curve, other: Curve, share: float) -> Interval | None:
    """log2 of the sequences that `other` needs less that of `first`, over seeds; None where too little is known.

    A seed of `other` that never gets so far needs more than its largest set: the difference is no smaller than said.
    """
    above = list(other.log_needed(share).values())
    below = list(first.log_needed(share).values())
    if min(len(above), len(below)) < 2 or np.isnan(below).any():
        return None
    known = np.where(np.isnan(above), np.log2(other.sizes[-1]), above)
    return independent_difference(known, np.array(below))


def _leads(first: Curve, other: Curve) -> dict[int, Interval | None]:
    """Share of the way of `other` less that of `first`, at every size that both have."""
    found: dict[int, Interval | None] = {}
    for size in sorted({*first.sizes} & {*other.sizes}):
        one, two = (curve.shares(curve.sizes.index(size)) for curve in (other, first))
        found[size] = crossed_difference(one, two) if min(len(one), len(two)) > 1 else None
    return found


def _crosses(leads: dict[int, Interval | None]) -> tuple[float | None, float | None]:
    """Lower end of the clearest lead, and the upper end of the clearest arrears at a larger set."""
    known = [(size, lead) for size, lead in leads.items() if lead is not None]
    if not known:
        return None, None
    size, ahead = max(known, key=lambda pair: float(pair[1].low))
    later = [float(lead.high) for larger, lead in known if larger > size]
    return float(ahead.low), min(later, default=None)


def _low(ratio: Interval | None) -> float | None:
    return None if ratio is None else float(ratio.low)


def _shown(found: Interval | None) -> str:
    return "not known" if found is None else estimate(found, 2)


def _percent(shares: Sequence[float]) -> str:
    return ", ".join(f"{100 * share:g}" for share in shares)


def _needed_figure(curves: Sequence[Curve]) -> FigureData:
    series = []
    for i, curve in enumerate(curves):
        found = np.array([list(curve.log_needed(share).values()) for share in DRAWN])
        known = np.exp2(np.where(np.isfinite(found).all(axis=1, keepdims=True), found, np.nan))
        if not known.size:
            continue
        band = {"y": np.exp2(np.log2(known).mean(axis=1)), "low": known.min(axis=1), "high": known.max(axis=1)}
        series.append({"name": curve.name, "x": [100 * share for share in DRAWN], "markers": True, "color": i, **band})
    place = ("fig-samples-order", "lines", "Sequences needed, by the share of the way to the optimum")
    if not series:
        return FigureData(*place, "", "", status="skipped", reason="no seed has all sizes")
    return FigureData(
        *place,
        caption="Geometric mean over seeds that have all sizes, band: lowest and highest seed. A point is missing where a seed "
        "never gets so far.",
        alt="Lines of needed sequences on a logarithmic axis against the share of the way in per cent, one per filter level.",
        data={
            "x_title": "share of the way from the likeliest root to exact inference (%)",
            "y_title": "training sequences needed",
            "y_log": True,
            "series": series,
        },
    )


def _lead_figure(first: Curve, others: Sequence[Curve]) -> FigureData:
    series = []
    for i, curve in enumerate(others, 1):
        found = {size: lead for size, lead in _leads(first, curve).items() if lead is not None}
        if found:
            series.append(
                {"name": curve.name, "x": list(found), "markers": True, "color": i, **points(list(found.values()), "y")}
            )
    place = ("fig-samples-lead", "lines", f"How far a level leads, beside {first.name}, by the size of the set")
    if not series:
        return FigureData(*place, "", "", status="skipped", reason="no size has two seeds of both levels")
    return FigureData(
        *place,
        caption=f"Share of the way to the optimum, less that of {first.name}; 95 % intervals over seeds (Welch) and test "
        "sequences.",
        alt="Lines of the difference of shares with intervals against the size of the training set, one per filter level.",
        data={
            "x_title": "training sequences",
            "x_log": True,
            "y_title": f"share of the way, less that of {first.name}",
            "series": series,
            "references": [{"name": first.name, "y": 0.0}],
        },
    )
