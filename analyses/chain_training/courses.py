"""Models of one block at their stored steps: how far from the exact answer, and how far from the constrained update."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from analyses.shared.prefix_corpus import Corpus, trained_on_exact
from analyses.shared.seed_groups import Group
from mechbp.errors import InputError
from mechbp.models.runs import Run
from mechbp.report.parts import spread
from mechbp.study import Study
from mechbp.theory.chain.constrained_attention import only_eigenvalue
from mechbp.theory.chain.theory_fit import TheoryFit, theory_fit

FOLLOWED = 8
"""Steps at which a run is followed, at most."""
Fits = list[list[TheoryFit]]
SMALLEST = 1e-12
"""What is missed is raised to this, so that it has a logarithm."""


@dataclass(frozen=True, eq=False)
class Courses:
    """Runs that differ in their seed alone, at the steps that all of them store."""

    group: Group
    steps: tuple[int, ...]
    fits: list[list[TheoryFit]]
    """[seed][step]"""
    first: Courses | None = None
    """The first seed along training, where the others store the last step alone."""

    @property
    def shown(self) -> Courses:
        """What is drawn along training."""
        return self.first or self

    @property
    def seeds(self) -> list[int]:
        """Training seeds."""
        return [run.config.training.seed for run in self.group.runs]

    @property
    def words(self) -> int:
        """Words seen in training."""
        training = self.group.runs[0].config.training
        return training.steps * training.batch_size

    def curve(self, name: str) -> Float64[np.ndarray, "seed step"]:
        """Return one number of the fits."""
        return np.array([[getattr(fit, name) for fit in fits] for fits in self.fits])

    def log(self, name: str) -> Float64[np.ndarray, "seed step"]:
        """Return its logarithm to base 10."""
        return np.log10(np.maximum(self.curve(name), SMALLEST))

    def of_seed(self, values: Float64[np.ndarray, "seed ..."], seed: int) -> Float64[np.ndarray, "..."]:
        """Return the row of a training seed."""
        return values[self.seeds.index(seed)]


@dataclass(frozen=True, eq=False)
class Family:
    """All that was trained on one process with one architecture: on exact answers, if so, and on sampled tokens."""

    exact: Courses | None
    sampled: list[Courses]

    @property
    def every(self) -> list[Courses]:
        """All of them."""
        return [*([self.exact] if self.exact else []), *self.sampled]

    @property
    def paired(self) -> bool:
        """Whether two seeds or more were trained on exact answers and on tokens."""
        return any(self.exact is not None and len(set(arm.seeds) & set(self.exact.seeds)) > 1 for arm in self.sampled)

    @property
    def name(self) -> str:
        """Of the runs on exact answers, or of the first."""
        return self.every[0].group.name

    @property
    def title(self) -> str:
        """Parameters and heads."""
        return self.every[0].group.setting


def covered(run: Run) -> bool:
    """Return whether the theory speaks about a run: one block with an MLP, one eigenvalue, and the heads that it asks for."""
    model = run.config.model
    if model.n_layers != 1 or not model.d_mlp:
        return False
    try:
        zeta = only_eigenvalue(run.process)
    except InputError:
        return False
    return model.n_heads == (1 if zeta > 0 else 2)


def follow(study: Study, groups: Sequence[Group], length: int) -> list[Family]:
    """Measure every group at the steps that its seeds share, and sort the groups by process and architecture."""
    corpora: dict[object, Corpus] = {}
    found: dict[object, list[Courses]] = {}
    for group in groups:
        first = group.runs[0]
        study.stage(f"{group.name}: along training")
        corpus = corpora.setdefault(first.config.process, Corpus.of(first, length))
        common = sorted(set.intersection(*(set(run.steps) for run in group.runs)) - {0})
        steps = spread(common, study.size(FOLLOWED, 3))
        rng = study.rng(group.name, "courses")

        def fits(runs: Sequence[Run], at: Sequence[int], corpus: Corpus = corpus, rng: np.random.Generator = rng) -> Fits:
            return [[theory_fit(run.at(step), corpus.words, corpus.hmm, rng) for step in at] for run in runs]

        alone = None
        own = spread([step for step in first.steps if step], study.size(FOLLOWED, 3))
        if len(steps) < 2 < len(own):
            alone = Courses(Group((first,)), own, fits((first,), own))
        measured = Courses(group, steps, fits(group.runs, steps), alone)
        found.setdefault((first.config.process, first.config.model), []).append(measured)
    return [
        Family(
            next((item for item in items if trained_on_exact(item.group.runs[0])), None),
            [item for item in items if not trained_on_exact(item.group.runs[0])],
        )
        for items in found.values()
    ]
