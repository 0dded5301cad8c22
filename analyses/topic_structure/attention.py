"""Stage two alone (values frozen): the ratio of attention to words of the same topic, on the population and from documents."""

from __future__ import annotations

import numpy as np

from analyses.topic_structure.criteria import CRITERIA
from analyses.topic_structure.documents import documents_of, held_documents, is_attention
from analyses.topic_structure.setting import THEORY
from analyses.topic_structure.training_maps import is_joint, training_maps
from mechbp.figures.intervals import points
from mechbp.methods.statistics.intervals import Interval, bootstrap_ratio
from mechbp.models.runs import Run
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import estimate
from mechbp.study import Study
from mechbp.theory.topics.attention import best_attention, hidden_key_ratio
from mechbp.theory.topics.dynamics import Trajectories, train_population
from mechbp.theory.topics.key_classes import CLASSES, DIFF, HIDDEN, SAME
from mechbp.theory.topics.population_run import PopulationRun
from mechbp.theory.topics.setting import TopicSetting
from mechbp.theory.topics.values import setting_values

HIDDEN_KEYS = TopicSetting(THEORY.n_topics, THEORY.words_per_topic, THEORY.topics_per_document, keys="unselected")
RATE = 1e-2
STEPS, QUICK_STEPS = 500, 150


def study_attention(study: Study, runs: list[Run]) -> tuple[list[Claim], Section]:
    """Train queries and keys over frozen values and compare the ratio with its optimum; then look at runs on documents."""
    study.stage("attention over frozen values")
    steps = study.size(STEPS, QUICK_STEPS)
    seen = train_population([PopulationRun(THEORY, "kq", RATE)], steps)
    hidden = train_population([PopulationRun(HIDDEN_KEYS, "kq", RATE, values="blocks")], steps)
    held = {run.name: documents_of(study, run) for run in runs if is_attention(run)}
    ratios = {name: same_over_different(study, name, found.by_class) for name, found in held.items()}
    frozen = next((run.name for run in runs if run.name in held and run.config.model.regime == "kq"), None)
    text = (
        "A query that shows a word can weigh the words of its topic more than others. How much pays is known: random words in "
        "the place of hidden ones keep the best ratio finite. Queries that show MASK know nothing of a topic, so only one "
        "selected word in five can teach this.",
        "High attention alone does not say that it is used; the section on use replaces patterns and looks at the loss.",
    )
    figures = (_class_figure(study, held),) if held else ()
    figures += tuple(training_maps(run) for run in runs if is_joint(run))
    shown = figures[0].id if held else ""
    return [_claim(seen, hidden, ratios.get(frozen or ""), frozen, shown)], Section(
        "attention", "Attention over frozen values", text, figures
    )


def same_over_different(study: Study, name: str, by_class: np.ndarray) -> Interval:
    """Return attention to another word of the same topic over that to a word of another topic, documents that have both."""
    both = ~np.isnan(by_class[:, SAME]) & ~np.isnan(by_class[:, DIFF])
    return bootstrap_ratio(by_class[both, SAME], by_class[both, DIFF], study.rng("ratio", name))


def _claim(seen: Trajectories, hidden: Trajectories, sampled: Interval | None, frozen: str | None, figure: str) -> Claim:
    best = best_attention(THEORY, setting_values(THEORY), mask_free=True)
    best_hidden = hidden_key_ratio(THEORY.n_topics, THEORY.words_per_topic, THEORY.topics_per_document)
    ratio = float(seen.same_over_different[0, -1])
    hidden_ratio = float(hidden.same_over_different[0, -1])
    numbers = None
    if sampled is not None:
        numbers = {
            "ratio_over_theory": ratio / best.ratio,
            "hidden_over_theory": hidden_ratio / best_hidden.ratio,
            "sampled_ratio": sampled.mean,
            "sampled_low": sampled.low,
        }
    return CRITERIA.claim(
        "attention",
        id="topics-attention",
        statement="With values at their optimum, words attend more to words of their topic, by the ratio that theory gives.",
        reference=f"ratio {best.ratio:.3f}, MASK {best.mask_ratio:.3f}; hidden keys and plain blocks {best_hidden.ratio:.3f} "
        "(theory)",
        measured=f"population: {ratio:.3f}, MASK {seen.mask_over_different[0, -1]:.3f}; hidden keys {hidden_ratio:.3f}\n"
        + (
            f"{frozen}: {estimate(sampled, 2)}, n = {sampled.n:,} documents"
            if sampled is not None
            else "no run over frozen values given"
        ),
        control="step 0: 1.000; one topic per document: best ratio 1",
        numbers=numbers,
        figure=figure,
    )


def _class_figure(study: Study, held: dict) -> FigureData:
    series = []
    for index, (name, found) in enumerate(held.items()):
        intervals = []
        for place in range(HIDDEN + 1):
            values = found.by_class[:, place]
            there = ~np.isnan(values)
            intervals.append(bootstrap_ratio(values[there], np.ones(there.sum()), study.rng("classes", name, place)))
        series.append({"name": name, **points(intervals, "x"), "color": index})
    return FigureData(
        id="fig-topics-attention-classes",
        kind="dots",
        title="Attention by class of key",
        caption="Mean attention of queries that show a word, to a key of each class, times the number of keys (1 is uniform); "
        f"95 % bootstrap intervals over {held_documents(study):,} held-out documents, masked as in training.",
        alt=f"Attention relative to uniform, one row per class of key ({', '.join(CLASSES[: HIDDEN + 1])}), one marker per run.",
        data={
            "x_title": "attention x number of keys",
            "x_log": True,
            "categories": list(CLASSES[: HIDDEN + 1]),
            "series": series,
            "references": [{"name": "uniform", "x": 1.0}],
        },
    )
