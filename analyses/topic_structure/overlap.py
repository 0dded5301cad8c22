"""Overlapping topics, where the posterior is no longer linear in the histogram: how near do trained layers come, and where?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from analyses.topic_structure.criteria import CRITERIA
from analyses.topic_structure.documents import document_losses
from mechbp.figures.intervals import points
from mechbp.methods.statistics.intervals import Interval, bootstrap_ratio, seed_mean
from mechbp.models.runs import Run
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import estimate
from mechbp.study import Study
from mechbp.theory.topics.hidden_words import unigram
from mechbp.theory.topics.pairs import PairClasses

DOCUMENTS, QUICK_DOCUMENTS = 8000, 800
FITTED = 3
"""Times as many documents fit the linear rival as judge it."""


@dataclass(frozen=True, eq=False)
class Documents:
    """Masked documents of one process: histograms, answers, and the exact posterior predictive of their hidden words."""

    inputs: np.ndarray
    reads: np.ndarray
    targets: np.ndarray
    document: np.ndarray
    histogram: np.ndarray
    """[n, id]: visible ids over their number."""
    predictive: np.ndarray
    """[n, word]: exact P(word | visible words)."""


def is_overlapping(run: Run) -> bool:
    """Return whether a run is a theory model on overlapping topics, trained on squared loss with hidden keys."""
    recipe = run.config
    theory = recipe.model.kind == "topic-attention" and recipe.objective.loss == "squared" and recipe.objective.task == "mask-b"
    return theory and bool(recipe.process.shared) and recipe.model.regime in ("wv", "joint")


def study_overlap(study: Study, runs: Sequence[Run]) -> tuple[list[Claim], Section]:
    """Hold runs on overlapping topics against the exact posterior and against the best predictor linear in the histogram."""
    study.stage("overlapping topics")
    held = draw(study, runs[0], study.size(DOCUMENTS, QUICK_DOCUMENTS), "judged")
    linear = _linear(draw(study, runs[0], FITTED * study.size(DOCUMENTS, QUICK_DOCUMENTS), "fitted"), held)
    losses = {run.name: _loss(held, _outputs(run, held)) for run in runs}
    losses["linear in the histogram"] = _loss(held, linear[held.document])
    losses["exact posterior"] = _loss(held, held.predictive[held.document])
    losses["unigram"] = _unigram(runs[0], held)
    values = [run for run in runs if run.config.model.regime == "wv"]
    text = (
        "Topics share words here, so a word may have several topics, and the exact posterior comes from a sum over counts of "
        "topics; no linear map of the histogram gives it. A layer of uniform attention is such a map. The rival is the best "
        f"one, fitted by least squares to {FITTED * len(held.inputs):,} other documents. Exact answers see the words that are "
        "keys, not what the query shows.",
    )
    closed = [_closed(held, linear, run) for run in runs if run.config.model.regime == "joint"]
    claims = [_overlap_claim(study, held, losses, values, closed), _ambiguity_claim(study, values)] if values else []
    return claims, Section("overlap", "Overlapping topics", text, (_figure(study, held, losses),))


def linear_excess(study: Study, run: Run) -> Interval:
    """Return a run's loss above the best linear map's, as a share of what that learns from the unigram on."""
    held = draw(study, run, study.size(DOCUMENTS, QUICK_DOCUMENTS), "judged")
    linear = _loss(held, _linear(draw(study, run, FITTED * len(held.inputs), "fitted"), held)[held.document])
    return bootstrap_ratio(_loss(held, _outputs(run, held)) - linear, _unigram(run, held) - linear, study.rng("excess", run.name))


def draw(study: Study, run: Run, n: int, label: str) -> Documents:
    """Draw documents masked as the run was trained on."""
    rng = study.rng("overlap", label)
    sample = run.task.draw(run.process, n, rng)
    lesson = run.task.lesson(run.process, run.config.objective, sample, rng)
    task: Any = run.task
    vocabulary = task.vocabulary(run.process)
    seen = (lesson.inputs < vocabulary.n_ids) & (lesson.inputs != vocabulary.pad)
    flat = np.where(seen, lesson.inputs, vocabulary.n_ids) + (vocabulary.n_ids + 1) * np.arange(n)[:, None]
    counts = np.bincount(flat.ravel(), minlength=n * (vocabulary.n_ids + 1)).reshape(n, -1)[:, :-1].astype(float)
    words = np.where(seen & (lesson.inputs < vocabulary.n_words), lesson.inputs, -1)
    return Documents(
        lesson.inputs,
        lesson.reads,
        lesson.targets,
        np.nonzero(lesson.reads)[0],
        counts / counts.sum(axis=1, keepdims=True),
        run.process.beliefs(words).predictive,
    )


def _linear(fitted: Documents, held: Documents) -> np.ndarray:
    """The answers [n, word] on `held` of the map of the histogram that least squares fits to the words asked for in `fitted`."""
    n_words = held.predictive.shape[1]
    design = fitted.histogram  # sums to 1, so that a constant is one of its linear maps
    asked = np.bincount(fitted.document, minlength=len(design)).astype(float)
    wanted = np.bincount(fitted.document * n_words + fitted.targets, minlength=len(design) * n_words).reshape(-1, n_words)
    weights = np.linalg.pinv((design * asked[:, None]).T @ design, hermitian=True) @ (design.T @ wanted)
    return held.histogram @ weights


def _outputs(run: Run, held: Documents) -> np.ndarray:
    with torch.no_grad():
        return run.model.read(torch.from_numpy(held.inputs), torch.from_numpy(held.reads)).double().cpu().numpy()


def _unigram(run: Run, held: Documents) -> np.ndarray:
    prior = unigram(run.process)
    return _loss(held, np.broadcast_to(prior, (len(held.targets), len(prior))))


def _loss(held: Documents, answers: np.ndarray, where: np.ndarray | None = None) -> np.ndarray:
    """Sum of squared distances to the words asked for, per document; `where` picks some of those words."""
    chosen = np.ones(len(answers), bool) if where is None else where
    outputs = torch.from_numpy(np.ascontiguousarray(answers[chosen]))
    return document_losses("squared", outputs, held.targets[chosen], held.document[chosen], len(held.inputs))


def _overlap_claim(
    study: Study, held: Documents, losses: dict[str, np.ndarray], runs: Sequence[Run], closed: Sequence[float]
) -> Claim:
    linear, unigram, exact = (losses[name] for name in ("linear in the histogram", "unigram", "exact posterior"))
    excess = [bootstrap_ratio(losses[run.name] - linear, unigram - linear, study.rng("excess", run.name)) for run in runs]
    gap = bootstrap_ratio(linear - exact, unigram - exact, study.rng("gap"))
    lines = [f"{run.name}: {estimate(interval, 4)}" for run, interval in zip(runs, excess, strict=True)]
    if closed:
        lines.append(
            f"attention trained too, queries that show MASK: closes {estimate(seed_mean(np.array(closed)), 3)} of the gap from "
            f"linear to exact, {len(closed)} seeds"
        )
    return CRITERIA.claim(
        "overlap",
        id="topics-overlap",
        statement="With overlapping topics uniform attention comes to the best predictor that is linear in the histogram.",
        reference="excess below 2 % of what the linear predictor learns",
        measured="excess loss as a share of what the linear predictor learns\n" + "\n".join(lines),
        control=f"from linear to exact: {estimate(gap, 4)} of what there is to learn",
        numbers={"excess": [float(interval.mean) for interval in excess]},
        figure="fig-topics-overlap",
    )


def _closed(held: Documents, linear: np.ndarray, run: Run) -> float:
    """Share of the loss between the best linear map and the exact posterior that a run saves, where its query shows MASK "
    "alone."""
    task: Any = run.task
    vocabulary = task.vocabulary(run.process)
    masked = held.inputs[held.reads] % vocabulary.n_ids == vocabulary.mask
    best, exact, own = (
        float(_loss(held, answers, masked).sum())
        for answers in (linear[held.document], held.predictive[held.document], _outputs(run, held))
    )
    return (best - own) / (best - exact)


def _ambiguity_claim(study: Study, runs: Sequence[Run]) -> Claim:
    process = runs[0].process
    shared = process.ambiguity > 1e-9
    differences = []
    by_kind = []
    for run in runs:
        contrasts = _word_contrasts(run)
        by_kind.append((contrasts[shared].mean(), contrasts[~shared].mean()))
        differences.append(float(contrasts[shared].mean() - contrasts[~shared].mean()))
    ambiguous, plain = (seed_mean(np.array(column)) for column in zip(*by_kind, strict=True))
    return CRITERIA.claim(
        "ambiguity",
        id="topics-ambiguity",
        statement="Words of several topics are separated less than words of one.",
        reference="the advantage of the same topic is larger for unambiguous words (published, on text)",
        measured=f"same less different topic: ambiguous words {estimate(ambiguous, 4)}, others {estimate(plain, 4)}\n"
        f"{len(runs)} seeds",
        control=f"{int(shared.sum())} of {len(shared)} words are ambiguous; differences per seed "
        + ", ".join(f"{value:.4f}" for value in differences),
        numbers={"difference": differences},
    )


def _word_contrasts(run: Run) -> np.ndarray:
    """Of every word: mean value to words that share a topic with it, itself apart, less the mean to words that share none."""
    n_words = run.process.vocab_size
    values = run.model.values().detach().double().cpu().numpy()[:, :n_words]
    classes = PairClasses.of_sets(run.process.word_given_topic)

    def column_mean(mask: np.ndarray) -> np.ndarray:
        return np.where(mask, values, 0).sum(axis=0) / mask.sum(axis=0)

    return column_mean(classes.same) - column_mean(classes.different)


def _figure(study: Study, held: Documents, losses: dict[str, np.ndarray]) -> FigureData:
    exact, unigram = losses["exact posterior"], losses["unigram"]
    shown = [name for name in losses if name not in ("exact posterior", "unigram")]
    left: list[Interval] = [bootstrap_ratio(losses[name] - exact, unigram - exact, study.rng("left", name)) for name in shown]
    return FigureData(
        id="fig-topics-overlap",
        kind="dots",
        title="What is left to the exact posterior",
        caption="Squared loss above that of the exact posterior given the visible words, as a share of what they tell; below "
        "0 is possible for a layer that also reads the word its query shows. 95 % bootstrap intervals over "
        f"{len(held.inputs):,} documents.",
        alt=f"Share of the learnable loss that is left, one row per answerer: {', '.join(shown)}.",
        data={
            "x_title": "share left (0: exact posterior)",
            "categories": shown,
            "series": [{"name": "left", **points(left, "x")}],
            "references": [{"name": "exact posterior", "x": 0.0}],
        },
    )
