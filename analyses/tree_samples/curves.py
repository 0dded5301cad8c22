"""Accuracy against the number of training sequences, for runs that differ in nothing else but their seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analyses.tree_samples.criteria import CRITERIA
from mechbp.divergence import expected_hits, kl_nats
from mechbp.errors import InputError
from mechbp.models.answers import model_answers
from mechbp.models.runs import Run
from mechbp.models.tasks.tree import TREE
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.study import Study

REACHED = CRITERIA["optimum"].bounds["reached"]
"""The optimum counts as reached at this share of the way from always naming the likeliest root to the exact posterior."""


@dataclass(frozen=True, eq=False)
class Curve:
    """Scores at every size, one per seed; a missing seed is NaN."""

    name: str
    sizes: tuple[int, ...]
    accuracy: np.ndarray
    """[size, seed]: expected accuracy under the exact posterior."""
    kl: np.ndarray
    """[size, seed]: mean KL(BP || model), nats."""
    kl_uniform: np.ndarray
    """The same on uniformly random sequences; NaN where not measured."""
    best: float
    """Expected accuracy of the exact posterior."""
    chance: float
    """Accuracy of always naming the likeliest root."""
    error: float
    """Largest standard error of an accuracy over the test sequences."""

    @property
    def mean(self) -> np.ndarray:
        """Mean accuracy over seeds [size]."""
        return np.nanmean(self.accuracy, axis=1)

    @property
    def seeds(self) -> np.ndarray:
        """How many seeds every size has."""
        return np.isfinite(self.accuracy).sum(axis=1)

    @property
    def complete(self) -> np.ndarray:
        """Accuracy of the seeds that have all sizes [size, seed]."""
        return self.accuracy[:, np.isfinite(self.accuracy).all(axis=0)]

    def lowest_share(self) -> float | None:
        """Return the share of the way from chance to exact inference that the lowest seed goes at the largest set, if known."""
        way = self.best - self.chance
        last = self.complete[-1]
        return float((last.min() - self.chance) / way) if last.size and way > 0 else None

    def needed(self) -> float | None:
        """Return how many sequences the mean over seeds needs to reach the optimum, log-linear between sizes; None if never.

        The last crossing counts, so that a lucky small set does not.
        """
        return self._needed(self.mean)

    def needed_by_seed(self) -> tuple[float | None, ...]:
        """Return the same for every seed that has all sizes, in rising order, those that never reach the optimum last."""
        found = [self._needed(column) for column in self.complete.T]
        return tuple(sorted(found, key=lambda at: np.inf if at is None else at))

    def needed_text(self) -> str:
        """Return "57,900 sequences (by seed 51,000 to 62,000)"; sizes to three digits."""
        by_seed = self.needed_by_seed()
        ends = f" (by seed {self._text(by_seed[0])} to {self._text(by_seed[-1])})" if len(by_seed) > 1 else ""
        return f"{self._text(self.needed())} sequences{ends}"

    def accuracy_text(self, size: int) -> str:
        """Return "0.946 (0.941 to 0.951)": the mean over seeds, and the lowest and highest seed where there are several."""
        i = self.sizes.index(size)
        low = np.nanmin(self.accuracy[i])
        high = np.nanmax(self.accuracy[i])
        return f"{self.mean[i]:.3f}" + (f" ({low:.3f} to {high:.3f})" if self.seeds[i] > 1 else " (1 seed)")

    def series(self, values: np.ndarray, **style: object) -> dict[str, object]:
        """Return a figure's line: the mean over seeds, with a band from the lowest to the highest."""
        ends = {"y": np.nanmean, "low": np.nanmin, "high": np.nanmax}
        band = {key: end(values, axis=1) for key, end in ends.items()}
        return {"name": self.name, "x": list(self.sizes), "markers": True, **band, **style}

    def _needed(self, accuracy: np.ndarray) -> float | None:
        wanted = self.chance + REACHED * (self.best - self.chance)
        below = np.flatnonzero(accuracy < wanted)
        if not below.size:
            return float(self.sizes[0])
        if below[-1] == len(self.sizes) - 1:
            return None
        i = below[-1]
        share = (wanted - accuracy[i]) / (accuracy[i + 1] - accuracy[i])
        return float(np.exp2(np.interp(share, [0, 1], np.log2(self.sizes[i : i + 2]))))

    def _text(self, at: float | None) -> str:
        if at is None:
            return f"more than {self.sizes[-1]:,}"
        rounded = f"{float(f'{at:.3g}'):,.0f}"
        return f"at most {rounded}" if at == self.sizes[0] else rounded


@dataclass(frozen=True, eq=False)
class TestSet:
    """Test sequences of one filter level and uniform ones, with their exact root posteriors."""

    process: FilteredTree
    tokens: np.ndarray
    exact: np.ndarray
    uniform: np.ndarray
    exact_uniform: np.ndarray

    @classmethod
    def draw(cls, study: Study, process: FilteredTree, n: int) -> TestSet:
        """Draw n sequences of either kind; the same for all runs of one filter level."""
        tokens = process.sample(n, study.rng("exam", process.filter_level)).tokens
        uniform = study.rng("exam", "uniform").integers(process.vocab_size, size=(n, process.n_leaves))
        exact, exact_uniform = (TREE.tasks["root"].exact(process, rows) for rows in (tokens, uniform))
        return cls(process, tokens, exact, uniform, exact_uniform)

    @property
    def best(self) -> float:
        """Expected accuracy of the exact posterior."""
        return float(self.exact.max(axis=-1).mean())

    def grade(self, answers: np.ndarray) -> tuple[float, float, float]:
        """Return the answers' expected accuracy, KL(BP || answers) in nats, and the standard error of the accuracy."""
        hits = expected_hits(self.exact, answers)
        return hits.mean(), kl_nats(self.exact, answers).mean(), hits.std() / np.sqrt(len(hits))


def curve_of(name: str, runs: Sequence[Run], test: TestSet, *, uniform: bool = False) -> Curve:
    """TestSetine the last stored step of every run. Raises InputError for two runs of one size and seed."""
    sizes = sorted({run.config.training.training_set for run in runs})
    seeds = sorted({run.config.training.seed for run in runs})
    scores = np.full((4, len(sizes), len(seeds)), np.nan)
    names: dict[tuple[int, int], str] = {}
    for run in runs:
        at = (sizes.index(run.config.training.training_set), seeds.index(run.config.training.seed))
        if names.setdefault(at, run.name) != run.name:
            raise InputError(
                f"{names[at]} and {run.name} both have training_set {sizes[at[0]]:,} and seed {seeds[at[1]]}: a curve has one "
                "point for each.\nGive one of them, or train the other with another seed."
            )
        scores[(slice(3), *at)] = test.grade(model_answers(run.model, run.task, run.process, test.tokens))
        if uniform:
            scores[(3, *at)] = kl_nats(test.exact_uniform, model_answers(run.model, run.task, run.process, test.uniform)).mean()
    chance = float(test.process.grammar.root_prior.max())
    return Curve(name, tuple(sizes), scores[0], scores[1], scores[3], test.best, chance, float(np.nanmax(scores[2])))


def accuracy_layout(series: Sequence[dict[str, object]], references: Sequence[dict[str, object]]) -> dict[str, Any]:
    """Return the data of a figure of accuracy against the size of the training set."""
    return {
        "x_title": "training sequences",
        "x_log": True,
        "y_title": "root accuracy",
        "y_range": [0.2, 1.02],
        "series": list(series),
        "references": list(references),
    }


def fewest_seeds(curves: Sequence[Curve], sizes: Sequence[int] | None = None) -> int:
    """Return how many seeds the size has that has the fewest, of all or of `sizes` only."""
    return min(
        int(count)
        for curve in curves
        for size, count in zip(curve.sizes, curve.seeds, strict=True)
        if sizes is None or size in sizes
    )


def seeds_text(curves: Sequence[Curve]) -> str:
    """Return how many seeds the sizes have."""
    counts = [int(n) for curve in curves for n in curve.seeds]
    few = min(counts)
    many = max(counts)
    if few < many:
        return f"{few} to {many} seeds per size"
    return f"{many} {'seeds' if many > 1 else 'seed'} per size"
