"""Which oracle do a model's choices and its ranking of the symbols agree with most, along training?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analyses.tree_training.criteria import CRITERIA
from mechbp.methods.statistics.answers import nearest, rank_correlation
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.models.runs import Run
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData
from mechbp.study import Study

MEASURES = {"match": "prediction match", "spearman": "rank correlation"}


@dataclass(frozen=True, eq=False)
class Ranking:
    """Agreement with every oracle at every stored step, by two measures."""

    scores: dict[str, Interval]
    """Measure -> [oracle, step]"""
    leaders: dict[str, list[int | None]]
    """Measure -> per step the oracle that agrees most, None where its lead over the next has an interval that holds 0."""
    n: int


def agreement_with(oracles: list[np.ndarray], answers: np.ndarray) -> np.ndarray:
    """Return match and rank correlation per sequence, [sequence, measure, oracle]."""
    match = [(answers.argmax(-1) == oracle.argmax(-1)).mean(axis=1) for oracle in oracles]
    spearman = [np.nanmean(rank_correlation(oracle, answers), axis=1) for oracle in oracles]
    return np.stack([np.stack(match, axis=1), np.stack(spearman, axis=1)], axis=1)


def ranking_of(study: Study, run: Run, values: np.ndarray) -> Ranking:
    """Summarise values [sequence, measure, oracle, step]; leads are paired, on the same sequences."""
    scores = {}
    leaders: dict[str, list[int | None]] = {}
    for i, measure in enumerate(MEASURES):
        scores[measure] = bootstrap_mean(values[:, i], study.rng(run.name, measure))
        leaders[measure] = []
        for step in range(values.shape[-1]):
            found, lead = nearest(-values[:, i, :, step], study.rng(run.name, measure, step))
            leaders[measure].append(found if lead.low > 0 else None)
    return Ranking(scores, leaders, len(values))


def ranking_figures(run: Run, ranking: Ranking, sequences: list[int]) -> list[FigureData]:
    """Draw each measure's agreement with every oracle along training."""
    figures = []
    for measure, name in MEASURES.items():
        found = ranking.scores[measure]
        series = [
            {
                "name": f"BP_{k}",
                "x": sequences[1:],
                "y": found.mean[k, 1:],
                "low": found.low[k, 1:],
                "high": found.high[k, 1:],
                "color": k,
            }
            for k in range(len(found.mean))
        ]
        figures.append(
            FigureData(
                id=f"fig-{run.name}-{measure}",
                kind="lines",
                title=f"{run.name}: {name} with every oracle, along training",
                caption=(
                    "Share of hidden leaves where model and BP_k hold the same symbol likeliest"
                    if measure == "match"
                    else "Spearman's correlation of the probabilities that model and BP_k give the symbols, mean over leaves"
                )
                + f"; 95 % intervals over {ranking.n:,} sequences of the run's own level.",
                alt=f"Lines of {name} with intervals against training sequences on a logarithmic axis, one per oracle.",
                data={"x_title": "training sequences", "x_log": True, "y_title": name, "series": series},
            )
        )
    return figures


def ranking_claim(run: Run, ranking: Ranking) -> Claim:
    """Grade the order in which oracles lead; steps without a clear leader, and step 0, say nothing."""
    own = run.config.process.filter_level
    depth = run.process.depth
    clear = {name: [found for found in steps[1:] if found is not None] for name, steps in ranking.leaders.items()}
    lines = [f"{MEASURES[name]}: {' '.join(map(str, found)) or 'no clear leader'}" for name, found in clear.items()]
    at_start = {MEASURES[name]: steps[0] for name, steps in ranking.leaders.items()}
    return CRITERIA.claim(
        "ranking",
        id=f"{run.name}-ranking",
        statement=f"By prediction match and by rank correlation alike, each of BP_{depth} to BP_{own} is for a while the oracle "
        f"that {run.name} agrees with most, one after another down the ladder, and none comes back.",
        reference="the paper's Fig. 10: the same order as that of the divergences",
        measured="oracles in the lead, step by step where the lead is clear\n"
        + "\n".join(lines)
        + f"\nn = {ranking.n:,} sequences, {len(next(iter(ranking.leaders.values()))) - 1} steps; one training seed",
        control="random weights: "
        + ", ".join(f"{name} {'no clear leader' if k is None else f'BP_{k}'}" for name, k in at_start.items()),
        numbers={
            **clear,
            **{f"distinct_{name}": len(set(found)) for name, found in clear.items()},
            "oracles": depth - own + 1,
        },
        figure=f"fig-{run.name}-match",
    )
