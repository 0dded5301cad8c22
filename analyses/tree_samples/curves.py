"""Accuracy against the number of training sequences, for runs that differ in nothing else but their seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from analyses.tree_samples.criteria import CRITERIA
from mechbp.divergence import expected_hits, kl_nats
from mechbp.errors import InputError
from mechbp.methods.statistics.intervals import Interval
from mechbp.methods.statistics.repetitions import crossed_mean
from mechbp.models.answers import model_answers
from mechbp.models.runs import Run
from mechbp.models.tasks.tree import TREE
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.report.parts import estimate
from mechbp.study import Study

REACHED = CRITERIA["optimum"].bounds["reached"]
"""The optimum counts as reached at this share of the way from always naming the likeliest root to the exact posterior."""


@dataclass(frozen=True, eq=False)
class Oracles:
    """Expected hits per test sequence of the exact posterior, and of the oracle of another filter level that does best."""

    exact: np.ndarray
    rival: np.ndarray
    rival_level: int | None
    """None where there is no other."""


@dataclass(frozen=True, eq=False)
class Curve:
    """Scores at every size, one per seed; a missing seed is NaN."""

    name: str
    sizes: tuple[int, ...]
    level: int
    """Filter level of the data."""
    depth: int
    members: tuple[int, ...]
    """The training seeds, in order."""
    hits: np.ndarray
    """[size, seed, sequence]: expected hits under the exact posterior, on test sequences that all seeds share."""
    kl: np.ndarray
    """[size, seed]: mean KL(BP || model), nats."""
    kl_uniform: np.ndarray
    """The same on uniformly random sequences; NaN where not measured."""
    oracles: Oracles
    chance: float
    """Accuracy of always naming the likeliest root."""

    @cached_property
    def accuracy(self) -> np.ndarray:
        """Expected accuracy [size, seed]."""
        return self.hits.mean(axis=2)

    @property
    def best(self) -> float:
        """Expected accuracy of the exact posterior."""
        return float(self.oracles.exact.mean())

    @property
    def error(self) -> float:
        """Largest standard error of an accuracy over the test sequences."""
        return float(np.nanmax(self.hits.std(axis=2)) / np.sqrt(self.hits.shape[2]))

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

    def shares(self, i: int) -> np.ndarray:
        """Share of the way from chance to exact inference at a size, [seed, sequence], seeds without this size left out."""
        hits = self.hits[i][np.isfinite(self.accuracy[i])]
        return 1 - (self.oracles.exact - hits) / (self.best - self.chance)

    def lead(self, i: int) -> Interval:
        """Return how far the accuracy at a size is above that of the best other oracle, over seeds and sequences."""
        return crossed_mean(self.hits[i][np.isfinite(self.accuracy[i])] - self.oracles.rival)

    def needed(self) -> float | None:
        """Return how many sequences the mean over seeds needs to reach the optimum, log-linear between sizes; None if never.

        The last crossing counts, so that a lucky small set does not.
        """
        return self._needed(self.mean)

    def needed_by_seed(self, share: float = REACHED) -> tuple[float | None, ...]:
        """Return the same for every seed that has all sizes, in their order, and for any share of the way."""
        return tuple(self._needed(column, share) for column in self.complete.T)

    def log_needed(self, share: float = REACHED) -> dict[int, float]:
        """Return log2 of the same by training seed, NaN where a seed never gets so far."""
        whole = [seed for seed, column in zip(self.members, self.accuracy.T, strict=True) if np.isfinite(column).all()]
        found = [np.nan if at is None else float(np.log2(at)) for at in self.needed_by_seed(share)]
        return dict(zip(whole, found, strict=True))

    def needed_text(self) -> str:
        """Return "57,900 sequences (by seed 51,000 to 62,000)"; sizes to three digits."""
        by_seed = sorted(self.needed_by_seed(), key=lambda at: np.inf if at is None else at)
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

    def _needed(self, accuracy: np.ndarray, share: float = REACHED) -> float | None:
        wanted = self.chance + share * (self.best - self.chance)
        below = np.flatnonzero(accuracy < wanted)
        if not below.size:
            return float(self.sizes[0])
        if below[-1] == len(self.sizes) - 1:
            return None
        i = below[-1]
        part = (wanted - accuracy[i]) / (accuracy[i + 1] - accuracy[i])
        return float(np.exp2(np.interp(part, [0, 1], np.log2(self.sizes[i : i + 2]))))

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

    @cached_property
    def oracles(self) -> Oracles:
        """Hits of exact inference, and of the best oracle of another filter level."""
        depth = self.process.depth
        levels = [k for k in range(depth + 1) if k != self.process.filter_level]
        trees = [FilteredTree(self.process.grammar, depth, k) for k in levels]
        hits = [expected_hits(self.exact, TREE.tasks["root"].exact(tree, self.tokens))[:, 0] for tree in trees]
        best = int(np.argmax([h.mean() for h in hits]))
        return Oracles(expected_hits(self.exact, self.exact)[:, 0], hits[best], levels[best])

    @property
    def place(self) -> tuple[int, int]:
        """Filter level and depth."""
        return self.process.filter_level, self.process.depth

    @property
    def best(self) -> float:
        """Expected accuracy of the exact posterior."""
        return float(self.oracles.exact.mean())

    def grade(self, answers: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the answers' expected hits per sequence and their mean KL(BP || answers) in nats."""
        return expected_hits(self.exact, answers)[:, 0], float(kl_nats(self.exact, answers).mean())


def curve_of(name: str, runs: Sequence[Run], test: TestSet, *, uniform: bool = False) -> Curve:
    """Grade the last stored step of every run. Raises InputError for two runs of one size and seed."""
    sizes = sorted({run.config.training.training_set for run in runs})
    seeds = sorted({run.config.training.seed for run in runs})
    hits = np.full((len(sizes), len(seeds), len(test.tokens)), np.nan)
    kl = np.full((2, len(sizes), len(seeds)), np.nan)
    names: dict[tuple[int, int], str] = {}
    for run in runs:
        at = (sizes.index(run.config.training.training_set), seeds.index(run.config.training.seed))
        if names.setdefault(at, run.name) != run.name:
            raise InputError(
                f"{names[at]} and {run.name} both have training_set {sizes[at[0]]:,} and seed {seeds[at[1]]}: a curve has one "
                "point for each.\nGive one of them, or train the other with another seed."
            )
        hits[at], kl[(0, *at)] = test.grade(model_answers(run.model, run.task, run.process, test.tokens))
        if uniform:
            kl[(1, *at)] = kl_nats(test.exact_uniform, model_answers(run.model, run.task, run.process, test.uniform)).mean()
    return Curve(
        name,
        tuple(sizes),
        *test.place,
        tuple(seeds),
        hits,
        kl[0],
        kl[1],
        test.oracles,
        float(test.process.grammar.root_prior.max()),
    )


def paired_lead(one: Curve, other: Curve, size: int) -> Interval:
    """Return the accuracy of one less that of the other at a size, over the seeds that both have, on the same test sequences."""
    seeds = [seed for seed in one.members if seed in other.members]
    first, second = (curve.hits[curve.sizes.index(size), [curve.members.index(seed) for seed in seeds]] for curve in (one, other))
    both = first - second
    return crossed_mean(both[np.isfinite(both).all(axis=1)])


def interval_text(found: Interval, digits: int = 3) -> str:
    """Return "0.021 [0.019, 0.023]", or the mean alone where one seed tells nothing of the spread."""
    return estimate(found, digits) if np.isfinite(found.low) else f"{float(found.mean):.{digits}f} (1 seed)"


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
