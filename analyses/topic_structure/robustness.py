"""A grid of optimisers, rates, losses, penalties, starts and seeds on a small corpus: how often does each claim's sign hold?"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from analyses.topic_structure.criteria import CRITERIA
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.study import Study
from mechbp.theory.topics.dynamics import Trajectories, train_population
from mechbp.theory.topics.gram import block_gap
from mechbp.theory.topics.population_run import PopulationRun
from mechbp.theory.topics.setting import TopicSetting

CORPUS = TopicSetting(n_topics=4, words_per_topic=3, topics_per_document=2)
RULES = (("adam", 1e-3), ("adam", 3e-3), ("adam", 1e-2), ("sgd", 0.1), ("sgd", 1.0), ("sgd", 10.0))
LOSSES = ("squared", "ce")
PENALTIES = (0.0, 1e-4, 1e-3)
SIGMAS = (1e-3, 1e-2)
SEEDS = 5
STEPS, QUICK_STEPS = 1000, 100
CONVERGED = 0.5
"""A run counts as converged once its loss has fallen by this share of the largest fall of any run on the same loss."""
CLAIMS = {
    "embeddings": "embedding: same topic above different",
    "values": "values: same topic above different",
    "attention": "attention: same topic above different",
    "order": "values move before attention",
}


@dataclass(frozen=True, eq=False)
class Grid:
    """Signs of every claim over runs: NaN where a run did not converge, or the claim does not apply."""

    runs: list[PopulationRun]
    signs: dict[str, np.ndarray]
    """Claim -> [run]: 1 holds, 0 does not."""


def study_robustness(study: Study) -> tuple[list[Claim], Section]:
    """Train the grid and count."""
    study.stage("robustness grid")
    grid = measure(study)
    text = (
        f"{len(grid.runs)} runs a regime on the population of {CORPUS.n_topics} topics of {CORPUS.words_per_topic} words: Adam "
        "at 1e-3, 3e-3, 1e-2; gradient descent at 0.1, 1, 10; both losses; a penalty of 0, 1e-4, 1e-3 times the sum of "
        f"squares; starts of spread 1e-3 and 1e-2; {SEEDS} seeds. A run that did not fall by half of the largest fall on its "
        "loss is left out and listed.",
        "Convergence is judged by the loss alone, most of which the values earn: a run whose attention has not moved in time "
        "counts, and its ratio is then 1 to rounding, on either side. That is where the sign of attention is lost, beside "
        "strong penalties.",
        _failures(grid),
    )
    return [_claim(grid)], Section("robustness", "Robustness", text, (_figure(grid),))


def measure(study: Study) -> Grid:
    """Train every run twice: values and attention jointly, and embeddings alone."""
    seeds = range(study.size(SEEDS, 1))
    combinations = list(itertools.product(RULES, LOSSES, PENALTIES, SIGMAS, seeds))

    def runs(regime: str) -> list[PopulationRun]:
        return [
            PopulationRun(CORPUS, regime, rate, rule, loss, l2, sigma, seed)  # type: ignore[arg-type]
            for (rule, rate), loss, l2, sigma, seed in combinations
        ]

    steps = study.size(STEPS, QUICK_STEPS)
    joint = train_population(runs("joint"), steps, record=[0, steps], precision="float32")
    embedding = train_population(runs("emb"), steps, record=[0, steps], precision="float32")
    of_loss = np.array([loss for _, loss, _, _, _ in combinations])
    done = {"joint": _converged(joint, of_loss), "embedding": _converged(embedding, of_loss)}
    gaps = np.array([block_gap(weights.embed[:-1] @ weights.embed[:-1].T, CORPUS) for weights in embedding.final])
    moved = np.isfinite(joint.attention_step)
    signs = {
        "embeddings": np.where(done["embedding"], gaps > 0, np.nan),
        "values": np.where(done["joint"], joint.contrast[:, -1] > 0, np.nan),
        "attention": np.where(done["joint"], joint.same_over_different[:, -1] > 1, np.nan),
        "order": np.where(done["joint"] & moved, joint.stage_gap > 0, np.nan),
    }
    return Grid(runs("joint"), signs)


def _converged(found: Trajectories, of_loss: np.ndarray) -> np.ndarray:
    fall = found.loss[:, 0] - found.loss[:, -1]
    largest = np.array([np.nanmax(fall[of_loss == loss]) for loss in of_loss])
    return np.isfinite(found.loss[:, -1]) & (fall >= CONVERGED * largest)


def _claim(grid: Grid) -> Claim:
    shares = {name: float(np.nanmean(signs)) for name, signs in grid.signs.items()}
    counts = {name: int((~np.isnan(signs)).sum()) for name, signs in grid.signs.items()}
    return CRITERIA.claim(
        "robustness",
        id="topics-robustness",
        statement="The signs of the picture hold over optimisers, rates, losses, penalties, starts and seeds.",
        reference="holds over losses, optimisers, penalties and seeds (published); at least 95 % of converged runs",
        measured="\n".join(f"{CLAIMS[name]}: {shares[name]:.1%} of {counts[name]} converged runs" for name in CLAIMS),
        control="a coin would give 50 %; runs that did not converge are listed, not counted",
        numbers={"share": list(shares.values())},
        figure="fig-topics-robustness",
    )


def _failures(grid: Grid) -> str:
    """Which settings did not converge, and which lost a sign."""
    lines = []
    for name, signs in grid.signs.items():
        lost = [_setting(run) for run, sign in zip(grid.runs, signs, strict=True) if sign == 0]
        if lost:
            kinds = sorted(set(lost))
            lines.append(
                f"{CLAIMS[name]}, lost in {len(lost)} runs: {'; '.join(kinds[:8])}{' and others' if len(kinds) > 8 else ''}."
            )
    still = sorted({_setting(run) for run, sign in zip(grid.runs, grid.signs["values"], strict=True) if np.isnan(sign)})
    waiting = f"Not converged in {STEPS:,} steps: {'; '.join(still) or 'none'}."
    return " ".join([*(lines or ["No converged run lost a sign."]), waiting])


def _setting(run: PopulationRun) -> str:
    return f"{run.optimiser} {run.learning_rate:g} {run.loss} l2 {run.l2:g}"


def _figure(grid: Grid) -> FigureData:
    rows = [
        f"{rule} {rate:g}, {'squared' if loss == 'squared' else 'cross-entropy'}"
        for (rule, rate), loss in itertools.product(RULES, LOSSES)
    ]
    values = np.full((len(rows), len(CLAIMS)), np.nan)
    for column, name in enumerate(CLAIMS):
        for row, ((rule, rate), loss) in enumerate(itertools.product(RULES, LOSSES)):
            here = [
                s
                for run, s in zip(grid.runs, grid.signs[name], strict=True)
                if (run.optimiser, run.learning_rate, run.loss) == (rule, rate, loss)
            ]
            known = [s for s in here if not np.isnan(s)]
            values[row, column] = np.mean(known) if known else np.nan
    return FigureData(
        id="fig-topics-robustness",
        kind="heatmap",
        title="Share of converged runs whose sign is the claimed one",
        caption=f"Penalties, starts and seeds together: {len(grid.runs) // len(rows)} runs a cell at most; empty where none "
        "converged in time, or where attention never moved.",
        alt="Heatmap of shares between 0 and 1: optimisers, rates and losses in rows, claims in columns "
        f"({'; '.join(CLAIMS.values())}).",
        data={
            "rows": rows,
            "columns": list(CLAIMS.values()),
            "value_title": "share of converged runs",
            "range": [0, 1],
            "cell_text": True,
            "panels": [{"title": "grid", "values": [[None if np.isnan(v) else v for v in row] for row in values]}],
        },
    )
