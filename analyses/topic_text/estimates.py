"""What claims and figures say of the measurements: means over fits with intervals, and how they are told."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from jaxtyping import Float64

from analyses.topic_text.attention import DISTANCES
from analyses.topic_text.comparison import Comparison
from analyses.topic_text.edits import MEASURES, EditResults
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.methods.statistics.matched_pairs import draws_interval, over_repetitions
from mechbp.randomness import rng
from mechbp.report.parts import estimate

SCALE = 1e4
"""Of changes by edits, which are small: two heads of twelve, and words alone."""
CHANGE = "1 - cosine to the unedited output, times 10,000"


def mean_over_fits(draws: Float64[np.ndarray, "fit draw *cells"], n: int) -> Interval:
    """Return the mean over fits; its interval covers what was resampled, and the fits."""
    return draws_interval(over_repetitions(draws, rng(0, "fits")), n)


def each_fit(draws: Float64[np.ndarray, "fit draw *cells"], n: int) -> Interval:
    """Return one interval per fit and cell."""
    return draws_interval(np.moveaxis(draws, 1, 0), n)


def difference(compared: Comparison, case: str) -> Float64[np.ndarray, "fit draw threshold value"]:
    """Return same minus different."""
    return compared.same[case] - compared.different[case]


def ratio(compared: Comparison, case: str) -> Float64[np.ndarray, "fit draw threshold"]:
    """Return same over different of what has one value."""
    return compared.same[case][..., 0] / compared.different[case][..., 0]


def steady_effect(compared: Comparison, case: str, *, ratios: bool) -> Float64[np.ndarray, "fit draw threshold"]:
    """Return the effect on the first value where every threshold weighs cells alike."""
    same, different = compared.steady_same[case][..., 0], compared.steady_different[case][..., 0]
    return same / different if ratios else same - different


def gain(effect: Float64[np.ndarray, "fit draw threshold"], n: int) -> Interval:
    """Return what the effect gains from the first threshold to the last, mean over fits."""
    return mean_over_fits(effect[..., -1] - effect[..., 0], n)


def cost(edits: EditResults, name: str, other: str = "") -> Interval:
    """Return the mean change that an edit makes, less that of another where one is named, of each measure, times SCALE."""
    changes = edits.changes[name] - (edits.changes[other] if other else 0)
    return bootstrap_mean(SCALE * changes, rng(0, "edits"))


def spread(values: np.ndarray, digits: int = 3) -> str:
    """The smallest and largest of some numbers."""
    known = values[np.isfinite(values)]
    return f"{known.min():.{digits}f} to {known.max():.{digits}f}" if len(known) else "too few pairs"


def highest(values: np.ndarray) -> str:
    known = values[np.isfinite(values)]
    return f"{known.max():.3f}" if len(known) else "too few pairs"


def by_threshold(thresholds: tuple[float, ...], interval: Interval, digits: int = 3) -> str:
    return "\n".join(f"from {at:g}: {told(interval[i], digits)}" for i, at in enumerate(thresholds))


def count_clear(low: np.ndarray, rival: np.ndarray) -> str:
    return f"{int((low > rival).sum())} of {low.size}"


def told(interval: Interval, digits: int = 3) -> str:
    return estimate(interval, digits) if np.isfinite(interval.low).all() else "too few pairs"


def band_names() -> list[str]:
    """Return the bands of distance in words."""
    ends = pairwise(DISTANCES)
    return [f"{low}" if high == low + 1 else f"{low} to {high - 1}" for low, high in ends]


def both(interval: Interval) -> str:
    return " and ".join(told(interval[i], 2) for i in range(len(MEASURES)))
