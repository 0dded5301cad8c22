"""Runs that train values (or embeddings) on documents: held-out losses against their floors, and the weights beside theory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from analyses.topic_structure.criteria import CRITERIA
from analyses.topic_structure.documents import document_losses
from analyses.topic_structure.setting import mapped_words
from mechbp.methods.statistics.intervals import Interval, bootstrap_ratio
from mechbp.models.runs import Run
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import estimate
from mechbp.study import Study
from mechbp.theory.topics.document_floors import DocumentFloors, document_floors
from mechbp.theory.topics.floors import LdaCorpus, squared_contrast
from mechbp.theory.topics.linear_logits import best_linear_logits
from mechbp.theory.topics.pairs import PairClasses

DOCUMENTS, QUICK_DOCUMENTS = 10_000, 1000
LOSSES = {"cross-entropy": "cross-entropy", "squared": "squared loss"}
OPTIMISERS = {"adamw": "Adam", "sgd": "gradient descent"}


@dataclass(frozen=True, eq=False)
class Held:
    """A run of regime wv on held-out documents, per document: sums over its selected words."""

    run: Run
    loss: np.ndarray
    """Sum of the run's own loss."""
    floors: DocumentFloors

    @property
    def excess(self) -> np.ndarray:
        """Sum of the loss above the floor of the same documents."""
        return self.loss - (self.floors.ce_nats if self.run.config.objective.loss == "cross-entropy" else self.floors.squared)

    def mean(self, values: np.ndarray, rng: np.random.Generator) -> Interval:
        """Mean per selected word, with an interval over documents."""
        return bootstrap_ratio(values, self.floors.n_targets.astype(float), rng)


def is_hidden_values(run: Run) -> bool:
    """Return whether a run trains values alone with hidden keys on disjoint topics of Dirichlet proportions."""
    model, process = run.config.model, run.config.process
    theory = model.kind == "topic-attention" and model.regime == "wv" and run.config.objective.task == "mask-b"
    return theory and not process.shared and not process.topics_per_document


def study_trained(study: Study, runs: Sequence[Run]) -> tuple[list[Claim], Section]:
    """Hold runs of values alone against exact floors of the very documents that they are asked about."""
    study.stage("values trained on documents")
    held = [measure(study, run) for run in runs]
    text = (
        "These runs see fresh documents at every step, START and END among the keys, while what stands in a selected position "
        "is no key. The Bayes answer is linear in the histogram, so squared loss can reach its floor; logits linear in the "
        "histogram cannot reach that of cross-entropy, and what is left is the price of a softmax, not of training.",
    )
    claims = [_claim(study, held)] if {h.run.config.objective.loss for h in held} == set(LOSSES) else []
    return claims, Section("trained", "Values trained on documents", text, (_losses_figure(study, held), _matrix_figure(held)))


def measure(study: Study, run: Run) -> Held:
    """Ask a run for all selected words of held-out documents."""
    rng = study.rng(run.config.process.name, "held-out documents")
    sample = run.task.draw(run.process, study.size(DOCUMENTS, QUICK_DOCUMENTS), rng)
    lesson = run.task.lesson(run.process, run.config.objective, sample, rng)
    reads = torch.from_numpy(lesson.reads)
    with torch.no_grad():
        output = run.model.read(torch.from_numpy(lesson.inputs), reads)
    document = np.nonzero(lesson.reads)[0]
    loss = document_losses(run.config.objective.loss, output, lesson.targets, document, len(sample.tokens))
    topic = run.process.topic_of_word
    n_topics = run.process.n_topics
    asked = _topic_counts(document, topic[lesson.targets], len(sample.tokens), n_topics)
    present = np.nonzero(sample.tokens >= 0)
    everything = _topic_counts(present[0], topic[sample.tokens[present]], len(sample.tokens), n_topics)
    floors = document_floors(everything - asked, asked, run.process.alpha, run.process.vocab_size // n_topics)
    return Held(run, loss, floors)


def _topic_counts(document: np.ndarray, topic: np.ndarray, n: int, n_topics: int) -> np.ndarray:
    return np.bincount(document * n_topics + topic, minlength=n * n_topics).reshape(n, n_topics)


def corpus_of(run: Run) -> LdaCorpus:
    """Return the corpus of a run as exact floors know it."""
    recipe = run.config.process
    return LdaCorpus(recipe.n_topics, recipe.words_per_topic, recipe.alpha, recipe.length_low, recipe.length_high)


def contrast(run: Run) -> float:
    """Return the mean value of words of the same topic, the own included, less that of words of another topic."""
    n_words = run.process.vocab_size
    values = run.model.values().detach().double().cpu().numpy()[:, :n_words]
    classes = PairClasses.of(run.process.topic_of_word)
    return float(values[classes.own | classes.same].mean() - values[classes.different].mean())


def _claim(study: Study, held: Sequence[Held]) -> Claim:
    first = {h.run.config.objective.loss: h for h in reversed(held)}
    by_ce, by_square = first["cross-entropy"], first["squared"]
    corpus = corpus_of(by_ce.run)
    linear = best_linear_logits(corpus)
    ce = by_ce.mean(by_ce.loss, study.rng("ce"))
    floor = by_ce.floors.mean_ce_nats
    n_words = by_square.run.process.vocab_size
    targets = by_square.floors.n_targets
    learnable = (1 - 1 / n_words) * targets - by_square.floors.squared
    missed = bootstrap_ratio(by_square.excess, learnable, study.rng("skill"))
    theory = squared_contrast(corpus_of(by_square.run)) / by_square.run.config.process.words_per_topic
    found = contrast(by_square.run)
    return CRITERIA.claim(
        "values-hidden",
        id="topics-values-hidden",
        statement="Trained on documents, values reach what a histogram can give: cross-entropy that of the best linear "
        "logits, squared loss its floor, at the theory's contrast.",
        reference=f"best linear logits {linear.ce_nats:.4f} nats at contrast {linear.contrast:.3f}; contrast for squared loss "
        f"{theory:.6f}",
        measured=f"cross-entropy {estimate(ce, 4, 'nats')}, contrast {contrast(by_ce.run):.3f}\nsquared loss: share of the "
        f"learnable {1 - missed.mean:.4f} [{1 - missed.high:.4f}, {1 - missed.low:.4f}], contrast {found:.6f}\n"
        f"{len(by_ce.loss):,} held-out documents, one run each",
        control=f"uniform answer {np.log(n_words):.4f} nats; floor of the same documents {floor:.4f} nats",
        numbers={
            "ce_nats": ce.mean,
            "ce_over_linear_nats": float(ce.mean) - linear.ce_nats,
            "skill": 1 - float(missed.mean),
            "contrast_over_theory": found / theory,
        },
        figure="fig-topics-values-losses",
    )


def _name(run: Run) -> str:
    return f"{LOSSES[run.config.objective.loss]}, {OPTIMISERS[run.config.training.optimizer]}"


def _losses_figure(study: Study, held: Sequence[Held]) -> FigureData:
    shares = []
    for h in held:
        floors = h.floors
        n_words = h.run.process.vocab_size
        start = np.log(n_words) if h.run.config.objective.loss == "cross-entropy" else 1 - 1 / n_words
        learnable = start * floors.n_targets - (h.loss - h.excess)
        shares.append(bootstrap_ratio(h.excess, learnable, study.rng("share", h.run.name)))
    series = {
        "name": "left above the floor",
        "x": [s.mean for s in shares],
        "low": [s.low for s in shares],
        "high": [s.high for s in shares],
    }
    return FigureData(
        id="fig-topics-values-losses",
        kind="dots",
        title="What is left to learn",
        caption="Loss above the exact floor of the same held-out documents, as a share of what the words seen tell (from a "
        f"uniform answer to the floor); 95 % bootstrap intervals over {len(held[0].loss):,} documents.",
        alt=f"Share of the learnable loss that is left, one row per run: {', '.join(_name(h.run) for h in held)}.",
        data={"x_title": "share left (0: the floor)", "categories": [_name(h.run) for h in held], "series": [series]},
    )


def _matrix_figure(held: Sequence[Held]) -> FigureData:
    words = mapped_words(held[0].run.process.topic_of_word)
    panels = []
    for h in held:
        n_words = h.run.process.vocab_size
        values = h.run.model.values().detach().double().cpu().numpy()[:, :n_words]
        values = values - values.mean(axis=0)
        panels.append({"title": _name(h.run), "values": np.round((values / np.abs(values).max())[np.ix_(words, words)], 2)})
    labels = [str(word) for word in words]
    return FigureData(
        id="fig-topics-values-matrix",
        kind="heatmap",
        title="Value matrices, words sorted by topic",
        caption="Entry of every input word (column) for every output word (row), centred per column and divided by the "
        "largest; the first two words of each topic.",
        alt="Heatmaps of value matrices, words sorted by topic in rows and columns, one per run: "
        f"{', '.join(_name(h.run) for h in held)}.",
        data={
            "rows": labels,
            "columns": labels,
            "row_title": "output word",
            "column_title": "input word",
            "value_title": "value / largest",
            "scale": "diverging",
            "range": [-1, 1],
            "panel_columns": 2,
            "panels": panels,
        },
    )
