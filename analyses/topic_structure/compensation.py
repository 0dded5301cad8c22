"""Train or freeze embedding and attention: does whichever is trained take up the topics?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analyses.topic_structure.criteria import CRITERIA
from analyses.topic_structure.embeddings import topic_labels
from analyses.topic_structure.setting import QUICK_SEEDS, QUICK_STEPS, RATE, SEEDS, SIGMAS, STEPS, THEORY, joint_runs
from mechbp.figures.intervals import points
from mechbp.methods.statistics.intervals import seed_mean
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import estimate
from mechbp.study import Study
from mechbp.theory.topics.bounds import population_bound
from mechbp.theory.topics.dynamics import Trajectories, train_population
from mechbp.theory.topics.pairs import PairClasses, topic_label_test
from mechbp.theory.topics.parameters import TopicParameters
from mechbp.theory.topics.population_run import PopulationRun

OWN_SEEDS = 5
BOTH_STEPS, QUICK_BOTH_STEPS = 400, 130


@dataclass(frozen=True, eq=False)
class Cell:
    """One corner of the square: what is trained, and the tables of pairs of words that the trained parts give."""

    name: str
    trajectories: Trajectories
    parts: dict[str, list[np.ndarray]]
    """Name of the part -> [word, word] table per seed."""
    tests: dict[str, list[float]]
    """p of permuted topic labels of the same tables."""


def study_compensation(study: Study) -> tuple[list[Claim], Section]:
    """Train three corners of the square on the population; the fourth trains nothing."""
    study.stage("embedding or attention")
    seeds = study.size(OWN_SEEDS, QUICK_SEEDS)
    steps = study.size(BOTH_STEPS, QUICK_BOTH_STEPS)
    embedding = train_population([_run("emb", seed) for seed in range(seeds)], steps, record=[0, steps])
    both = train_population([_run("both", seed) for seed in range(seeds)], steps, record=[0, steps], precision="float32")
    attention = joint_runs("squared", SIGMAS[0], study.size(SEEDS, QUICK_SEEDS), study.size(STEPS, QUICK_STEPS))
    cells = [
        _cell(study, "embedding trained, attention frozen", embedding, {"embedding": _gram}),
        _cell(study, "embedding frozen, attention trained", attention, {"values": _values, "scores": _scores}),
        _cell(study, "both trained", both, {"embedding": _gram, "scores": _scores}),
    ]
    text = (
        "Squared loss on the population, ten topics of ten words, two to a document. Frozen embeddings are the identity, "
        "frozen attention is uniform with the identity as values. Where both are frozen nothing is learnt: the share is 0.",
        "A part holds the topics if its table of pairs (Gram matrix of the embedding, value matrix, scores before softmax) is "
        "larger for distinct words of one topic than for words of two, against 10,000 permutations of the labels.",
    )
    return [_claim(cells)], Section("compensation", "Embedding or attention", text, (_figure(cells),))


def _run(regime: str, seed: int) -> PopulationRun:
    return PopulationRun(THEORY, regime, RATE, bias=True, seed=seed)  # type: ignore[arg-type]


def _gram(weights: TopicParameters) -> np.ndarray:
    words = weights.embed[: THEORY.n_words]
    return words @ words.T


def _values(weights: TopicParameters) -> np.ndarray:
    return weights.value_matrix[:, : THEORY.n_words]


def _scores(weights: TopicParameters) -> np.ndarray:
    return weights.scores[: THEORY.n_words, : THEORY.n_words]


def _cell(study: Study, name: str, trajectories: Trajectories, parts: dict) -> Cell:
    tables = {part: [of(weights) for weights in trajectories.final] for part, of in parts.items()}
    tests = {
        part: [topic_label_test(table, topic_labels(), study.rng(name, part, seed)) for seed, table in enumerate(found)]
        for part, found in tables.items()
    }
    return Cell(name, trajectories, tables, tests)


def _shares(cell: Cell) -> np.ndarray:
    """Share of the learnable squared loss that each seed has learnt: 0 for a uniform answer, 1 for the exact posterior."""
    uniform = 1 - 1 / THEORY.n_words
    return (uniform - cell.trajectories.loss[:, -1]) / (uniform - population_bound(THEORY).squared)


def _claim(cells: list[Cell]) -> Claim:
    classes = PairClasses.of(topic_labels())
    lines = []
    differences, p = [], []
    for cell in cells:
        words = []
        for part, tables in cell.parts.items():
            found = np.array([classes.difference(table) for table in tables])
            differences.append(float(found.min()))
            p.append(max(cell.tests[part]))
            words.append(f"{part} {estimate(seed_mean(found), 4)}")
        lines.append(f"{cell.name}: {', '.join(words)}; learnt {estimate(seed_mean(_shares(cell)), 3)}")
    return CRITERIA.claim(
        "compensation",
        id="topics-compensation",
        statement="Whichever of embedding and attention is trained takes up the topics, so that each makes up for the other "
        "when that is frozen.",
        reference="embedding and attention compensate (recalled from the publication)",
        measured="same less different topic, distinct words\n" + "\n".join(lines),
        control=f"largest p of permuted labels {max(p):.1e}; nothing trained: 0 of the learnable",
        numbers={"difference": differences, "p": p},
        figure="fig-topics-compensation",
    )


def _figure(cells: list[Cell]) -> FigureData:
    shares = [seed_mean(_shares(cell)) for cell in cells]
    return FigureData(
        id="fig-topics-compensation",
        kind="dots",
        title="What each corner of the square learns",
        caption="Share of the learnable squared loss: 0 is a uniform answer, 1 the exact posterior, which also reads the word "
        f"shown. 95 % t intervals over {len(cells[0].trajectories.loss)} to {len(cells[1].trajectories.loss)} seeds.",
        alt=f"Share of the learnable loss, one row per combination: {'; '.join(cell.name for cell in cells)}.",
        data={
            "x_title": "share of the learnable loss",
            "categories": [cell.name for cell in cells],
            "series": [{"name": "learnt", **points(shares, "x")}],
        },
    )
