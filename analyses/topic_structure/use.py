"""Is attention to the same topic used? Patterns are replaced, and the loss on held-out documents says what they were worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from analyses.topic_structure.criteria import CRITERIA
from analyses.topic_structure.documents import documents_of, is_attention, loss_with
from mechbp.methods.statistics.intervals import Interval, bootstrap_ratio
from mechbp.models.runs import Run
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import estimate
from mechbp.study import Study
from mechbp.theory.topics.attention import best_attention
from mechbp.theory.topics.key_classes import CLASSES, HIDDEN, SAME, SELF, class_weights
from mechbp.theory.topics.setting import TopicSetting
from mechbp.theory.topics.values import setting_values

PATTERNS = {"uniform": "uniform", "by class": "averaged by class", "theory": "theory's optimum"}


@dataclass(frozen=True, eq=False)
class Use:
    """Rise of a run's loss per selected word under each pattern."""

    run: Run
    rises: dict[str, Interval]


def study_use(study: Study, runs: list[Run]) -> tuple[list[Claim], Section | None]:
    """Replace the pattern of every run that trains attention; no section where there is none."""
    trained = [run for run in runs if is_attention(run)]
    if not trained:
        return [], None
    study.stage("is attention used")
    found = [_measure(study, run) for run in trained]
    text = (
        "Each pattern is put in place of the run's own at its hook, for all queries: uniform over the keys; the run's own "
        "averaged by class of pair (own word, same topic, another topic, MASK) over all documents; and theory's optimum for "
        "frozen values. The rise is that of the loss the run was trained on, on the same documents.",
    )
    return [_claim(found)], Section("use", "Is attention used?", text, (_figure(found),))


def _measure(study: Study, run: Run) -> Use:
    held = documents_of(study, run)
    uniform = np.ones((1, len(CLASSES)))
    weights = {"uniform": uniform, "by class": class_weights(held.attention)[0], "theory": _theory_weights(run)}
    own = loss_with(run, held, None)
    n_targets = held.reads.sum(axis=1).astype(float)
    rises = {}
    for name, given in weights.items():
        if given is not None:
            changed = loss_with(run, held, given)
            rises[name] = bootstrap_ratio(changed - own, n_targets, study.rng("use", run.name, name))
    return Use(run, rises)


def _theory_weights(run: Run) -> np.ndarray | None:
    """Weights of the classes at the optimum for values of theory; None where documents do not have a fixed number of topics."""
    recipe = run.config.process
    task: Any = run.task
    rates = task.rates
    if not recipe.topics_per_document:
        return None
    setting = TopicSetting(
        recipe.n_topics, recipe.words_per_topic, recipe.topics_per_document, rates.rate, rates.keep, rates.random
    )
    best = best_attention(setting, setting_values(setting), mask_free=True)
    weights = np.ones((1, len(CLASSES)))
    weights[:, [SELF, SAME]] = best.ratio
    weights[:, HIDDEN] = best.mask_ratio
    return weights


def _claim(found: list[Use]) -> Claim:
    lines = [
        f"{use.run.name}: " + ", ".join(f"{PATTERNS[name]} {estimate(rise, 4)}" for name, rise in use.rises.items())
        for use in found
    ]
    return CRITERIA.claim(
        "use",
        id="topics-use",
        statement="Attention by topic is used: uniform attention costs loss in every run, and all that matters of the pattern "
        "is its average by class of pair.",
        reference="no published number; high attention to the same topic is published as a finding in itself",
        measured="rise of the loss per selected word\n" + "\n".join(lines),
        control="the run's own pattern: 0 by definition",
        numbers={
            "uniform_rise": [float(use.rises["uniform"].mean) for use in found],
            "uniform_rise_low": [float(use.rises["uniform"].low) for use in found],
            "class_rise_high": [float(use.rises["by class"].high) for use in found],
        },
        figure="fig-topics-use",
    )


def _figure(found: list[Use]) -> FigureData:
    series = []
    for index, (key, name) in enumerate(PATTERNS.items()):
        given = [use.rises.get(key) for use in found]
        scale = [float(use.rises["uniform"].mean) for use in found]
        ends = {"y": "mean", "low": "low", "high": "high"}
        columns = {
            axis: [None if rise is None else float(getattr(rise, end)) / unit for rise, unit in zip(given, scale, strict=True)]
            for axis, end in ends.items()
        }
        series.append({"name": name, **columns, "color": index, "control": key == "uniform"})
    return FigureData(
        id="fig-topics-use",
        kind="bars",
        title="What replacing attention costs",
        caption="Rise of the loss per selected word when the pattern is replaced, as a share of the rise with uniform "
        "attention; 95 % bootstrap intervals over documents (of the rise, at a fixed unit).",
        alt="Bars of the rise of the loss relative to uniform attention, one group per run, one bar per pattern: "
        f"{', '.join(PATTERNS.values())}.",
        data={"y_title": "rise / rise with uniform attention", "categories": [use.run.name for use in found], "series": series},
    )
