"""Accuracy against the number of training sequences, for runs that differ in nothing else but their seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mechbp.divergence import kl_nats
from mechbp.models.runs import Run
from mechbp.models.tasks import exact_answers, model_answers
from mechbp.processes.tree import FilteredTree
from mechbp.study import Study

REACHED = 0.95
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

    def needed(self) -> float | None:
        """Return how many sequences the mean over seeds needs to reach the optimum, log-linear between sizes; None if never.

        The last crossing counts, so that a lucky small set does not.
        """
        wanted = self.chance + REACHED * (self.best - self.chance)
        below = np.flatnonzero(self.mean < wanted)
        if not below.size:
            return float(self.sizes[0])
        if below[-1] == len(self.sizes) - 1:
            return None
        i = below[-1]
        share = (wanted - self.mean[i]) / (self.mean[i + 1] - self.mean[i])
        return float(np.exp2(np.interp(share, [0, 1], np.log2(self.sizes[i : i + 2]))))

    def series(self, values: np.ndarray, **style: object) -> dict[str, object]:
        """Return a figure's line: the mean over seeds, with a band from the lowest to the highest."""
        ends = {"y": np.nanmean, "low": np.nanmin, "high": np.nanmax}
        band = {key: end(values, axis=1) for key, end in ends.items()}
        return {"name": self.name, "x": list(self.sizes), "markers": True, **band, **style}


@dataclass(frozen=True, eq=False)
class Exam:
    """Test sequences of one filter level and uniform ones, with their exact root posteriors."""

    process: FilteredTree
    tokens: np.ndarray
    exact: np.ndarray
    uniform: np.ndarray
    exact_uniform: np.ndarray

    @classmethod
    def draw(cls, study: Study, process: FilteredTree, n: int) -> Exam:
        """Draw n sequences of either kind; the same for all runs of one filter level."""
        tokens = process.sample(n, study.rng("exam", process.filter_level)).tokens
        uniform = study.rng("exam", "uniform").integers(process.vocab_size, size=(n, process.n_leaves))
        exact, exact_uniform = (exact_answers(process, "root", rows) for rows in (tokens, uniform))
        return cls(process, tokens, exact, uniform, exact_uniform)

    @property
    def best(self) -> float:
        """Expected accuracy of the exact posterior."""
        return float(self.exact.max(axis=-1).mean())

    def hits(self, answers: np.ndarray) -> np.ndarray:
        """Return the exact posterior at the answer's choice, per sequence."""
        return np.take_along_axis(self.exact, answers.argmax(-1)[..., None], -1)[:, 0, 0]


def curve_of(name: str, runs: Sequence[Run], exam: Exam, *, uniform: bool = False) -> Curve:
    """Examine the last stored step of every run."""
    sizes = sorted({run.config.training.training_set for run in runs})
    seeds = sorted({run.config.training.seed for run in runs})
    scores = np.full((4, len(sizes), len(seeds)), np.nan)
    for run in runs:
        at = (sizes.index(run.config.training.training_set), seeds.index(run.config.training.seed))
        answers = model_answers(run.model, run.process, "root", exam.tokens)
        hits = exam.hits(answers)
        scores[(slice(3), *at)] = hits.mean(), kl_nats(exam.exact, answers).mean(), hits.std() / np.sqrt(len(hits))
        if uniform:
            scores[(3, *at)] = kl_nats(exam.exact_uniform, model_answers(run.model, run.process, "root", exam.uniform)).mean()
    chance = float(exam.process.grammar.root_prior.max())
    return Curve(name, tuple(sizes), scores[0], scores[1], scores[3], exam.best, chance, float(np.nanmax(scores[2])))
