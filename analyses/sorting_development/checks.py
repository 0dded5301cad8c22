"""Are the estimates right, and those stored? Minima of known coefficient, and one stored measurement of each run taken anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from analyses.sorting_development.criteria import CRITERIA
from analyses.sorting_development.trajectory import NO_RECORDS, Trajectory, settings_of
from mechbp.figures.intervals import points
from mechbp.measuring.recheck import Recheck, recheck
from mechbp.methods.llc.estimate import llc
from mechbp.methods.llc.ground_truths import normal_crossing_llc, quadratic_llc
from mechbp.methods.llc.known_losses import Problem, linear_regression, normal_crossing, quadratic
from mechbp.methods.llc.result import LLCEstimate
from mechbp.methods.statistics.intervals import seed_mean
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.study import Study

CURVATURES = np.array([4.0, 1.0, 0.3, 0.05, 0.0])
N_BETA, LOCALIZATION = 50.0, 10.0
STEP_SIZE = 4e-3
CHAINS, BURN_IN, DRAWS, QUICK_DRAWS = 64, 100, 300, 40
EXAMPLES, FEATURES, BATCHES = 256, 4, 4
CROSSINGS = ((0, 1), (1, 1), (0, 2))
FEWEST_DRAWS = 4


@dataclass(frozen=True, eq=False)
class Known:
    """An estimate at a minimum of known coefficient."""

    name: str
    truth: float
    found: LLCEstimate

    @property
    def error(self) -> float:
        """Relative."""
        return abs(self.found.estimate / self.truth - 1)

    @property
    def distance(self) -> float:
        """In standard errors."""
        return abs(self.found.estimate - self.truth) / self.found.standard_error


def known_answers(study: Study) -> list[Known]:
    """Estimate quadratics, a regression on batches and normal crossings, whose values at this temperature are exact."""
    study.stage("known answers")
    temperature = {"n_beta": N_BETA, "localization": LOCALIZATION}

    def estimate(problem: Problem, batches: Sequence[Any], label: str) -> LLCEstimate:
        loss, parameters = problem
        return llc(
            loss, parameters, batches, n_beta=N_BETA, localization=LOCALIZATION, step_size=STEP_SIZE, chains=CHAINS,
            burn_in=BURN_IN, draws=study.size(DRAWS, QUICK_DRAWS), rng=study.rng("known answers", label),
            sampler="averaged noise",
        )  # fmt: skip

    features = study.rng("features").standard_normal((EXAMPLES, FEATURES))
    loss, solution, (x, y) = linear_regression(features, 0.1, study.rng("regression"))
    batches = list(zip(torch.chunk(x, BATCHES), torch.chunk(y, BATCHES), strict=True))
    eigenvalues = np.linalg.eigvalsh(features.T @ features / EXAMPLES)
    known = [
        Known("quadratic", quadratic_llc(CURVATURES, **temperature), estimate(quadratic(CURVATURES), [None], "quadratic")),
        Known("regression", quadratic_llc(eigenvalues, **temperature), estimate((loss, solution), batches, "regression")),
    ]
    for powers in CROSSINGS:
        truth = normal_crossing_llc(powers, energy=N_BETA, localization=LOCALIZATION)
        name = "(" + " ".join(f"w{i}^{power}" for i, power in enumerate(powers, 1) if power) + ")^2"
        known.append(Known(name, truth, estimate(normal_crossing(powers), [None], name)))
    return known


def rechecks(study: Study, found: Sequence[Trajectory]) -> list[tuple[Trajectory, Recheck]]:
    """Take the first draws of one stored measurement of each run anew; a quick look takes fewer of the first run's."""
    done = []
    for one in found[: study.size(len(found), 1)]:
        setting = next((name for name in settings_of(found) if one.measured(name)), None)
        if setting is not None:
            study.stage(f"{one.name}: a stored measurement anew")
            step = one.measured(setting)[-1].step
            done.append((one, recheck(one.run, setting, step, study.size(0, FEWEST_DRAWS) or None)))
    return done


def distance(again: Recheck) -> float:
    """Return how far stored and new lie apart, in combined standard errors: 0 where both are the same to the bit."""
    early = again.found.settings.draws == again.stored.early_draws
    stored = np.array(again.stored.early_per_chain if early else again.stored.per_chain)
    apart = abs(again.found.estimate - stored.mean())
    spread = np.hypot(again.found.standard_error, stored.std(ddof=1) / np.sqrt(len(stored)))
    return float(apart / spread) if apart else 0.0


def known_claim(known: Sequence[Known]) -> Claim:
    """The estimator finds coefficients that are known."""
    plain = [abs(one.found.plain_estimate / one.truth - 1) for one in known]
    return CRITERIA.claim(
        "known-answers",
        id="known-answers",
        statement="At minima whose coefficient is known the estimator finds it.",
        reference="closed form for quadratics and regression; quadrature for normal crossings, at the temperature of the sampler",
        measured="\n".join(
            f"{one.name}: {one.found.estimate:.4f} ± {one.found.standard_error:.4f}, exact {one.truth:.4f}: {one.error:.1%} off"
            for one in known
        ),
        control="half the number of parameters, what every minimum would have were it regular and the temperature 0: "
        + ", ".join(f"{one.found.n_parameters / 2:g}" for one in known)
        + f"; without the control variate off by up to {max(plain):.1%}",
        numbers={"error": [one.error for one in known], "distance": [one.distance for one in known]},
        figure="fig-known",
    )


def recheck_claim(done: Sequence[tuple[Trajectory, Recheck]]) -> Claim:
    """What is stored is what is measured."""
    return CRITERIA.claim(
        "recheck",
        id="recheck",
        statement="A stored measurement of each run comes out again.",
        reference="the same batches and noise: equal but for rounding where the draws are the same",
        measured="\n".join(map(_again_told, done)) or f"0 measurements; {NO_RECORDS}",
        control="distance to the run's other stored steps, of the same setting: " + ("; ".join(map(_others, done)) or "none"),
        numbers={"distance": [distance(again) for _, again in done]} if done else None,
        figure="fig-recheck" if done else "",
    )


def _again_told(pair: tuple[Trajectory, Recheck]) -> str:
    one, again = pair
    same = "the same draws" if again.same_draws else "the first draws of all"
    return (
        f"{one.name}, {again.stored.setting.name}, step {again.stored.step:,}: {again.found.estimate:.2f} with "
        f"{again.found.settings.draws} draws per chain ({same}), stored {again.stored.estimate:.2f} with "
        f"{again.stored.setting.draws}; {distance(again):.2g} standard errors apart"
    )


def _others(pair: tuple[Trajectory, Recheck]) -> str:
    one, again = pair
    others = [record for record in one.measured(again.stored.setting.name) if record.step != again.stored.step]
    apart = [
        abs(record.estimate - again.found.estimate) / np.hypot(record.standard_error, again.found.standard_error)
        for record in others
    ]
    return f"{one.name} median {np.median(apart):.1f} standard errors" if apart else f"{one.name} has none"


def checks_section(known: Sequence[Known], done: Sequence[tuple[Trajectory, Recheck]]) -> Section:
    """Return the section with both checks."""
    text = (
        "A sampler is compared with exact values at its own temperature and localization, never with limits that it cannot "
        "reach. Estimates of the runs took hours; their first draws are stored apart, and taken anew here.",
    )
    figures = [_known_figure(known)]
    if done:
        figures.append(_recheck_figure(done))
    return Section("checks", "Can the numbers be trusted?", text, tuple(figures))


def _known_figure(known: Sequence[Known]) -> FigureData:
    return FigureData(
        id="fig-known",
        kind="dots",
        title="Estimates over exact values",
        caption=f"n beta {N_BETA:g}, localization {LOCALIZATION:g}, {CHAINS} chains; 95 % intervals over chains.",
        alt="Estimated over exact learning coefficient, one row per loss, with a line at 1.",
        data={
            "x_title": "estimate / exact",
            "categories": [one.name for one in known],
            "series": [
                {"name": "estimate", **points([seed_mean(one.found.per_chain / one.truth) for one in known], "x")},
                {"name": "half the parameters", "x": [one.found.n_parameters / 2 / one.truth for one in known], "control": True},
            ],
            "references": [{"name": "exact", "x": 1.0}],
        },
    )


def _recheck_figure(done: Sequence[tuple[Trajectory, Recheck]]) -> FigureData:
    return FigureData(
        id="fig-recheck",
        kind="dots",
        title="Stored measurements, and the same taken anew",
        caption="95 % intervals over chains. Where the draws are the same, only rounding tells them apart.",
        alt="Learning coefficient as stored and as measured anew, one row per run.",
        data={
            "x_title": "learning coefficient",
            "categories": [f"{one.name}, step {again.stored.step:,}" for one, again in done],
            "series": [
                {"name": "anew", **points([seed_mean(again.found.per_chain) for _, again in done], "x")},
                {"name": "stored", **points([seed_mean(np.array(again.stored.per_chain)) for _, again in done], "x")},
            ],
        },
    )
