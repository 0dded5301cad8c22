"""Whether the mean gap of the lists decides between splitting and copy suppression, or how frequent values are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64
from scipy import stats

from analyses.shared.sorter import Sorter
from analyses.sorting_circuits.designs import LEAST_GAPS, VALUES, WINDOWS, Runs, sweep
from mechbp.methods.circuits.modes import modes
from mechbp.methods.statistics.intervals import Interval, seed_mean
from mechbp.methods.statistics.logistic_slope import LogisticSlope, logistic_slope
from mechbp.methods.statistics.permutation import RankCorrelation, holm, rank_correlation
from mechbp.study import Study
from mechbp.theory.sorting.gaps import gap_laws

OUTCOME = {"splitting": 1, "both": 1, "suppression": 0}
"""Labels that decide; runs with another are shown and left out."""
SCORES = ("VS", "CS", "OL", "soft overlap")


@dataclass(frozen=True, eq=False)
class Sweep:
    """Runs that differ in their lists alone."""

    runs: Runs
    mean_gaps: Float64[np.ndarray, " run"]
    labels: tuple[str, ...]
    scores: dict[str, Float64[np.ndarray, " run"]]
    """Of the best pair; NaN where undefined."""
    slope: LogisticSlope | None
    """Of splitting, or both, against copy-suppression; None where only one of the two occurs, or no gaps differ."""
    weighted: LogisticSlope | None
    """The same with labels for which every value counts as often as it is in a list."""
    correlations: dict[str, RankCorrelation]
    """Of every score with the mean gap."""

    @property
    def decided(self) -> tuple[int, int]:
        """Runs of either outcome: splitting or both, copy-suppression."""
        outcomes = [OUTCOME[label] for label in self.labels if label in OUTCOME]
        return sum(outcomes), len(outcomes) - sum(outcomes)


@dataclass(frozen=True, eq=False)
class Gaps:
    """All sweeps, and what frequency does inside runs."""

    sweeps: dict[str, Sweep]
    adjusted: dict[tuple[str, str], float]
    """(sweep, score) -> p of the correlation, for all of them together by Holm's rule."""
    following: Interval
    """Mean over runs with windows of the rank correlation, over values, of balance with frequency; NaN without such runs."""
    following_uniform: Interval
    """The same frequencies against balances of runs whose values are all equally frequent: the control, edges included."""


def gaps(study: Study, sorters: Sequence[Sorter]) -> Gaps:
    """Compare runs whose lists have other gaps."""
    study.stage("gaps and modes")
    found = {name: _sweep(study, sweep(sorters, name)) for name in (WINDOWS, VALUES, LEAST_GAPS)}
    tests = {(name, score): one.correlations[score].p for name, one in found.items() for score in SCORES}
    windowed = [one for one in found[WINDOWS].runs.sorters if one.process.window]
    uniform = [one for one in found[WINDOWS].runs.sorters if not one.process.window]
    profiles = [gap_laws(one.process).frequency for one in windowed]
    return Gaps(
        sweeps=found,
        adjusted=dict(zip(tests, holm(list(tests.values())).tolist(), strict=True)),
        following=_mean([_rho(balance(one), profile) for one, profile in zip(windowed, profiles, strict=True)]),
        following_uniform=_mean([float(np.mean([_rho(balance(one), profile) for profile in profiles])) for one in uniform])
        if profiles
        else _mean([]),
    )


def balance(sorter: Sorter) -> Float64[np.ndarray, " value"]:
    """Return what the best pair does with every value: 1 both copy it alike, 0 one does alone, -1 the other takes all of it off.

    The smaller of the two diagonal entries of OV over the larger in size.
    """
    pair = sorter.modes.best
    if pair is None:
        return np.full(sorter.process.vocab_size, np.nan)
    rows = sorter.ov - sorter.ov.mean(axis=2, keepdims=True)
    diagonal = np.diagonal(rows, axis1=1, axis2=2)[list(pair.heads)]
    return diagonal.min(axis=0) / np.maximum(np.abs(diagonal).max(axis=0), np.finfo(float).tiny)


def _sweep(study: Study, runs: Runs) -> Sweep:
    pairs = [(one, pair) for one in runs.sorters if (pair := one.modes.best) is not None]
    runs = replace(runs, sorters=tuple(one for one, _ in pairs))
    mean_gaps = np.array([one.mean_gap for one, _ in pairs])
    scores = {
        "VS": np.array([pair.splitting for _, pair in pairs]),
        "CS": np.array([pair.suppression for _, pair in pairs]),
        "OL": np.array([pair.overlap for _, pair in pairs]),
        "soft overlap": np.array([pair.soft_overlap for _, pair in pairs]),
    }
    labels = tuple(one.label for one, _ in pairs)
    by_frequency = tuple(modes(one.ov, one.qk, weights=gap_laws(one.process).frequency).label for one, _ in pairs)
    return Sweep(
        runs=runs,
        mean_gaps=mean_gaps,
        labels=labels,
        scores=scores,
        slope=_slope(mean_gaps, labels, study.rng("gaps", runs.name, "slope")),
        weighted=_slope(mean_gaps, by_frequency, study.rng("gaps", runs.name, "weighted")),
        correlations={
            name: rank_correlation(mean_gaps, values, study.rng("gaps", runs.name, name)) for name, values in scores.items()
        },
    )


def _slope(mean_gaps: np.ndarray, labels: Sequence[str], draw: np.random.Generator) -> LogisticSlope | None:
    decided = np.array([label in OUTCOME for label in labels], bool)
    outcome = np.array([OUTCOME.get(label, 0) for label in labels])[decided]
    if not decided.any() or np.ptp(outcome) == 0 or np.ptp(mean_gaps[decided]) == 0:
        return None
    return logistic_slope(mean_gaps[decided], outcome, draw)


def _rho(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's rank correlation over values, without a p-value: neighbouring values are no independent draws."""
    defined = np.ptp(one) > 0 and np.ptp(other) > 0
    return float(np.corrcoef(stats.rankdata(one), stats.rankdata(other))[0, 1]) if defined else np.nan


def _mean(values: list[float]) -> Interval:
    """Over runs, with Student's t; NaN where there are none."""
    defined = np.array([value for value in values if np.isfinite(value)])
    nothing = np.asarray(np.nan)
    return seed_mean(defined) if len(defined) else Interval(nothing, nothing, nothing, 0)
