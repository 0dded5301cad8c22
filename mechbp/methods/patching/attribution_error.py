"""How well estimated patching effects agree with exact ones, cell by cell.

High correlation with a slope near 1 says that the estimate finds and sizes the cells of this sweep; it says nothing about
other hooks, pairs or metrics. Correlations are carried by the few large cells, so the errors stand beside them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64
from scipy import stats

from mechbp.errors import InputError
from mechbp.figures.picture import Picture
from mechbp.methods.patching.attribution import Attributions
from mechbp.methods.patching.patch import PatchEffects
from mechbp.methods.shown import Shown
from mechbp.methods.statistics.intervals import Interval
from mechbp.methods.telling import dots, examples, named, told

RESAMPLES = 1000
ROUNDING = 6
"""Decimals, in units of the mean gap, that ranks can tell apart: beyond them lies rounding noise around effects that are 0."""
RANGES = {
    "pearson": (-1.0, 1.0),
    "spearman": (-1.0, 1.0),
    "sign_agreement": (0.0, 1.0),
    "slope": (-np.inf, np.inf),
    "largest_error": (0.0, np.inf),
    "share_off": (0.0, 1.0),
}
"""What each measure can be."""
LEVEL = 0.95


@dataclass(frozen=True, eq=False, repr=False)
class EstimateError(Shown):
    """How far estimated mean effects are from exact ones over cells, with bootstrap intervals over examples.

    Effects are in units of the mean gap.
    """

    pearson: Interval
    spearman: Interval
    sign_agreement: Interval
    """Share of cells with the exact effect's sign, among those whose exact |effect| exceeds the tolerance; NaN if none does."""
    slope: Interval
    """Least-squares slope of estimated on exact effects: below 1, large effects are underestimated."""
    largest_error: Interval
    """Largest |estimated - exact| of any cell."""
    share_off: Interval
    """Share of cells with |estimated - exact| above the tolerance."""
    tolerance: float
    """In units of the mean gap."""
    n_cells: int
    worst_cell: int
    """Index of the cell with the largest error."""

    @property
    def measures(self) -> dict[str, Interval]:
        """All measures by name."""
        return {name: getattr(self, name) for name in RANGES}

    def picture(self) -> Picture:
        """Draw every measure with its interval."""
        return Picture(
            kind="dots",
            title="Estimated against exact patching effects",
            caption=f"Agreement over {self.n_cells} cells; errors are in units of the mean gap, the tolerance is "
            f"{self.tolerance:g} of it. {self.pearson.level:.0%} bootstrap intervals over n = {self.pearson.n:,} pairs.",
            alt="Dots with intervals: correlations, sign agreement, slope and errors of estimated effects.",
            data=dots(
                "measure (errors in units of the mean gap)",
                {name.replace("_", " "): value for name, value in self.measures.items()},
                references=[{"name": "no error", "x": 0}, {"name": "full agreement", "x": 1}],
            ),
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per measure: its name, mean and the ends of its interval."""
        return named(self.measures)

    def summary(self) -> str:
        """Return how well estimates agree with exact effects, and n, in five lines."""
        return "\n".join(
            [
                f"{self.n_cells} cells: Pearson {told(self.pearson)}, Spearman {told(self.spearman)}",
                f"slope of estimated on exact {told(self.slope)}, sign agreement {told(self.sign_agreement)}",
                f"largest error {told(self.largest_error)} of the gap, at cell {self.worst_cell}",
                f"share of cells off by more than {self.tolerance:g} of the gap: {told(self.share_off)}",
                examples(self.pearson, "pairs"),
            ]
        )

    def to_dict(self) -> dict[str, object]:
        """Return plain numbers for JSON."""
        return {name: getattr(self, name).to_dict() if isinstance(getattr(self, name), Interval) else getattr(self, name)
                for name in self.__dataclass_fields__}  # fmt: skip


def estimate_error(
    approximate: Attributions, exact: PatchEffects, rng: np.random.Generator, *, tolerance: float = 0.05
) -> EstimateError:
    """Compare estimates with the exact effects of the same cells and pairs.

    Raises InputError unless both have the same cells in the same order, the same direction and the same runs.
    """
    if list(map(tuple, approximate.cells)) != list(map(tuple, exact.cells)) or approximate.direction != exact.direction:
        raise InputError(
            "estimate_error: both must have the same cells in the same order and the same direction. Pass equal arguments."
        )
    scale = max(1.0, float(np.abs(exact.base).max()))
    if len(approximate.base) != len(exact.base) or np.abs(approximate.base - exact.base).max() > 1e-3 * scale:
        raise InputError("estimate_error: the two were not measured on the same pairs: their base runs differ.")
    if tolerance <= 0:
        raise InputError(f"estimate_error: tolerance must be > 0, got {tolerance}.")
    n = len(exact.base)
    gaps = exact.donor - exact.base
    counts = np.vstack([np.ones(n), rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES)])  # the first row: every example once
    divisor = (counts @ gaps)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        mine, true = (np.where(divisor == 0, np.nan, counts @ x / divisor) for x in (approximate.estimates, exact.effects))
        errors, large = np.abs(mine - true), np.abs(true) > tolerance
        measures = {
            "pearson": _correlation(mine, true),
            "spearman": _correlation(*(stats.rankdata(np.round(x, ROUNDING), axis=1) for x in (mine, true))),
            "sign_agreement": ((np.sign(mine) == np.sign(true)) & large).sum(axis=1) / large.sum(axis=1),
            "slope": _centred_product(mine, true) / _centred_product(true, true),
            "largest_error": errors.max(axis=1),
            "share_off": (errors > tolerance).mean(axis=1),
        }
    intervals = {name: _interval(values, n, *RANGES[name]) for name, values in measures.items()}
    return EstimateError(**intervals, tolerance=tolerance, n_cells=len(exact.cells), worst_cell=int(errors[0].argmax()))


def _centred_product(first: Float64[np.ndarray, "row cell"], second: Float64[np.ndarray, "row cell"]) -> np.ndarray:
    means = first.mean(axis=1, keepdims=True), second.mean(axis=1, keepdims=True)
    return ((first - means[0]) * (second - means[1])).sum(axis=1)


def _correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return _centred_product(first, second) / np.sqrt(_centred_product(first, first) * _centred_product(second, second))


def _interval(values: Float64[np.ndarray, " row"], n: int, least: float, most: float) -> Interval:
    """The first value with the spread of the others about it; NaN ends where one example leaves nothing known about the spread.

    Resamples hold fewer distinct examples, so that ranks and largest errors are noisier in them, which shifts them all one way:
    the spread is kept, that shift removed.
    """
    resampled = values[1:][np.isfinite(values[1:])]
    if n == 1 or not len(resampled) or not np.isfinite(values[0]):
        return Interval(np.asarray(values[0]), np.asarray(np.nan), np.asarray(np.nan), n, LEVEL)
    ends = np.quantile(resampled - resampled.mean() + values[0], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    low, high = np.clip(ends, least, most)
    return Interval(np.asarray(values[0]), np.asarray(low), np.asarray(high), n, LEVEL)
