"""How near a model's answers are to exact ones: divergences, agreement of choices, calibration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64
from scipy import stats

from mechbp.divergence import FLOOR, expected_hits, js_nats, kl_nats
from mechbp.errors import InputError
from mechbp.figures.intervals import points
from mechbp.figures.picture import Picture
from mechbp.methods.shown import Shown
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean, bootstrap_ratio
from mechbp.methods.telling import dots, examples, frame, named, told

RESAMPLES = 1000

Answers = Float64[np.ndarray, "n query q"]


@dataclass(frozen=True, eq=False, repr=False)
class Agreement(Shown):
    """Means over sequences with bootstrap intervals; the queries of one sequence are averaged first."""

    kl_bp_to_model_nats: Interval
    """D(BP || model), the model raised to the floor."""
    kl_model_to_bp_nats: Interval
    """D(model || BP), BP raised to the floor: where BP holds zeros the floor, not the model, sets this number."""
    js_nats: Interval
    same_choice: Interval
    """Share of queries on which both give the highest probability to the same symbol, the first one if tied."""
    spearman: Interval
    """Rank correlation of the two probability vectors; NaN queries (constant vectors) are left out."""
    accuracy: Interval
    """Expected share of right choices: the mean exact posterior at the model's choice, free of the noise of sampled truths."""
    best_accuracy: Interval
    """The same at the oracle's choice; no predictor can do better than the oracle whose posterior is the truth."""
    clamped: float
    """Share of exact probabilities below the floor."""
    floor: float = FLOOR

    @property
    def measures(self) -> dict[str, Interval]:
        """All measures by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Interval)}

    def picture(self) -> Picture:
        """Draw the divergences in nats, or rather how far each lies from 0, which an exact model has."""
        divergences = {
            "KL(exact || model)": self.kl_bp_to_model_nats,
            "KL(model || exact)": self.kl_model_to_bp_nats,
            "Jensen-Shannon": self.js_nats,
        }
        n = self.accuracy.n
        return Picture(
            kind="dots",
            title="How near the model's answers are to the exact ones",
            caption=f"Mean over n = {n:,} sequences, {self.accuracy.level:.0%} bootstrap intervals. Expected accuracy "
            f"{told(self.accuracy)}; the optimum's {told(self.best_accuracy)}. {self.clamped:.1%} of the exact probabilities lie "
            f"below the floor {self.floor:g}, which sets KL(model || exact) there.",
            alt="Dots with intervals: divergences between the model's answers and the exact ones, in nats.",
            data=dots("nats", divergences, references=[{"name": "exact", "x": 0}]),
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per measure: its name, mean and the ends of its interval."""
        return named(self.measures).assign(n=self.accuracy.n)

    def summary(self) -> str:
        """Return the numbers that matter, with their intervals, in four lines."""
        return "\n".join(
            [
                f"KL(exact || model)   {told(self.kl_bp_to_model_nats)} nats",
                f"KL(model || exact)   {told(self.kl_model_to_bp_nats)} nats",
                f"expected accuracy    {told(self.accuracy)}; the optimum's {told(self.best_accuracy)}",
                f"n = {self.accuracy.n:,} sequences, {self.accuracy.level:.0%} bootstrap intervals",
            ]
        )


def agreement(exact: Answers, answers: Answers, rng: np.random.Generator, *, truth: Answers | None = None) -> Agreement:
    """Compare a model's `answers` with the `exact` ones of some oracle, query by query.

    `truth` is the posterior of the process that made the data, for the accuracies; the oracle's own when not given.
    Raises InputError unless all have the same shape [n, query, q] with n >= 1.
    """
    truth = exact if truth is None else truth
    if exact.shape != answers.shape or exact.ndim != 3 or not len(exact) or truth.shape != exact.shape:
        raise InputError(f"agreement: need equal shapes [n, query, q], got {exact.shape}, {answers.shape} and {truth.shape}.")
    per_query = [
        kl_nats(exact, answers),
        kl_nats(answers, exact),
        js_nats(exact, answers),
        answers.argmax(-1) == exact.argmax(-1),
        rank_correlation(exact, answers),
        expected_hits(truth, answers),
        expected_hits(truth, exact),
    ]
    found = _over_sequences(np.stack(per_query, axis=-1), rng)
    return Agreement(*(found[c] for c in range(len(per_query))), clamped=float((exact < FLOOR).mean()))


@dataclass(frozen=True, eq=False, repr=False)
class Calibration(Shown):
    """The joint histogram of exact and model probabilities, and the mean exact one where the model says p."""

    edges: Float64[np.ndarray, " edge"]
    counts: Float64[np.ndarray, "model_bin exact_bin"]
    """Pairs (model probability, exact probability), all queries and symbols."""
    stated: Float64[np.ndarray, " bin"]
    """Mean model probability of each bin of model probabilities."""
    exact: Interval
    """Mean exact probability of the same pairs."""
    filled: Float64[np.ndarray, " bin"]
    """Pairs in each bin."""
    error: float
    """Mean over pairs of |stated - exact| of their bins."""

    def picture(self) -> Picture:
        """Draw exact against stated probabilities: all pairs as a density, and the mean exact one of every bin."""
        filled = self.filled > 0
        exact = self.exact[filled]
        return Picture(
            kind="scatter",
            title=f"Calibration: error {self.error:.3g}",
            caption=f"Mean exact probability where the model says p, in {len(self.filled)} bins, {exact.level:.0%} bootstrap "
            f"intervals over n = {exact.n:,} sequences; colours count pairs of probabilities. On the diagonal the model is "
            "calibrated.",
            alt="Exact against stated probabilities, with the diagonal, and a density of all pairs.",
            data={
                "x_title": "probability that the model states",
                "y_title": "exact probability",
                "identity": True,
                "x_range": [0, 1],
                "y_range": [0, 1],
                "series": [{"name": "mean of the bin", "x": self.stated[filled], **points(exact, "y"), "color": 1}],
                "density": {"x_edges": self.edges, "y_edges": self.edges, "counts": self.counts.T},
            },
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per bin of stated probabilities: means of both, the interval, and the pairs in it."""
        columns = {"stated": self.stated, "exact": self.exact, "pairs": self.filled}
        return frame({"bin": range(len(self.filled))}, columns).assign(n=self.exact.n)

    def summary(self) -> str:
        """Return the calibration error, the number of pairs and n."""
        return (
            f"calibration error {self.error:.3g}: mean |stated - exact| over {int(self.filled.sum()):,} pairs in "
            f"{int((self.filled > 0).sum())} bins; 0 is calibrated\n{examples(self.exact, 'sequences')}"
        )


def calibration(exact: Answers, answers: Answers, rng: np.random.Generator, *, bins: int = 40) -> Calibration:
    """Bin all pairs of model and exact probabilities; intervals resample whole sequences."""
    n = len(exact)
    edges = np.linspace(0, 1, bins + 1)
    which = np.clip(np.digitize(answers.reshape(n, -1), edges) - 1, 0, bins - 1)
    counts = np.histogram2d(answers.ravel(), exact.ravel(), bins=(edges, edges))[0]
    row = np.arange(n)[:, None]
    totals = [np.zeros((n, bins)) for _ in range(3)]
    for total, values in zip(totals, (np.ones(which.shape), answers.reshape(n, -1), exact.reshape(n, -1)), strict=True):
        np.add.at(total, (row, which), values)
    filled, stated, truth = totals
    with np.errstate(invalid="ignore"):
        mean_stated = stated.sum(0) / filled.sum(0)
        gap = np.abs(stated.sum(0) - truth.sum(0)).sum() / filled.sum()
    return Calibration(edges, counts, mean_stated, bootstrap_ratio(truth, filled, rng), filled.sum(0), float(gap))


def nearest(divergences: Float64[np.ndarray, "n oracle"], rng: np.random.Generator) -> tuple[int, Interval]:
    """Return the oracle of least mean divergence, and the runner-up's divergence minus its own, with an interval."""
    order = divergences.mean(axis=0).argsort()
    return int(order[0]), bootstrap_mean(divergences[:, order[1]] - divergences[:, order[0]], rng)


def _over_sequences(values: Float64[np.ndarray, "n query measure"], rng: np.random.Generator) -> Interval:
    """Mean of every measure over its defined queries; whole sequences are resampled, the same ones for all measures."""
    defined = ~np.isnan(values)
    return bootstrap_ratio(
        np.where(defined, values, 0).sum(axis=1), defined.sum(axis=1).astype(np.float64), rng, resamples=RESAMPLES
    )


def rank_correlation(exact: Answers, answers: Answers) -> Float64[np.ndarray, "n query"]:
    """Return Spearman's rank correlation of the two probability vectors of every query; NaN where one of them is constant."""
    ranks = [stats.rankdata(a, axis=-1) for a in (exact, answers)]
    centred = [r - r.mean(axis=-1, keepdims=True) for r in ranks]
    with np.errstate(invalid="ignore", divide="ignore"):
        return (centred[0] * centred[1]).sum(-1) / np.sqrt((centred[0] ** 2).sum(-1) * (centred[1] ** 2).sum(-1))
