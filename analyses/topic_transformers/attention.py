"""Where heads look, by what query and key show, and whether shown words look at words of their own topic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analyses.shared.attention_maps import by_head, head_names
from analyses.topic_transformers.criteria import CRITERIA
from analyses.topic_transformers.embeddings import Likeness, shuffles
from analyses.topic_transformers.subjects import Subject
from mechbp.figures.intervals import points
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean, bootstrap_ratio
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import estimate, panel
from mechbp.study import Study
from mechbp.theory.topics.key_classes import CLASSES, DIFF, SAME, SELF, ClassAttention, class_attention


@dataclass(frozen=True, eq=False)
class Looking:
    """Attention of one run by class of key, in units of uniform attention, and of random weights."""

    subject: Subject
    found: ClassAttention
    random: ClassAttention
    ratio: Interval
    """Same over different topics: means over layers, heads and documents."""
    random_ratio: Interval
    by_word: Likeness
    """Mean attention of query words to key words."""
    random_by_word: Likeness
    by_class: Interval
    """Mean over documents, [layer, head, class]."""


def looking(study: Study, subject: Subject) -> Looking:
    """Measure attention on documents as they are shown in training."""
    study.stage(f"{subject.name}: attention")
    shown = subject.documents(study, "attention", study.size(256, 48))
    found = class_attention(subject.run.model, shown, subject.keys)
    random = class_attention(subject.controls[0], shown, subject.keys)

    def labels(of: ClassAttention, name: str) -> Likeness:
        return Likeness.of(subject, of.by_word, study.rng(subject.name, "attention labels", name), shuffles(study))

    return Looking(
        subject,
        found,
        random,
        same_over_different(found, study.rng(subject.name, "ratio")),
        same_over_different(random, study.rng(subject.name, "random ratio")),
        labels(found, "trained"),
        labels(random, "random"),
        _by_class(found, study.rng(subject.name, "attention classes")),
    )


def same_over_different(found: ClassAttention, rng: np.random.Generator) -> Interval:
    """Return the ratio of mean attention to same and to different topics, over documents that have both."""
    same, different = (found.of_documents((member,)).mean(axis=(1, 2)) for member in (SAME, DIFF))
    both = np.isfinite(same) & np.isfinite(different)
    return bootstrap_ratio(same[both], different[both], rng)


def _by_class(found: ClassAttention, rng: np.random.Generator) -> Interval:
    """Each class over the documents that have it."""
    columns = []
    for member in range(len(CLASSES)):
        values = found.of_documents((member,))
        has = np.isfinite(values[:, 0, 0])
        empty = np.full(values.shape[1:], np.nan)
        columns.append(bootstrap_mean(values[has], rng) if has.any() else Interval(empty, empty, empty, 0))
    return Interval.stack(columns, axis=2)


def attention_claim(found: Sequence[Looking]) -> Claim:
    """Words look more at words of their own topic."""
    lines = []
    for one in found:
        heads = one.found.mean[..., SAME] / one.found.mean[..., DIFF]
        own = one.found.mean[..., SELF].mean() / one.found.mean[..., SAME].mean()
        lines.append(
            f"{one.subject.name}: same / different {estimate(one.ratio, 3)}, p {one.by_word.p:.4f}; heads {heads.min():.2f} to "
            f"{heads.max():.2f}; same word / same topic {own:.2f}"
        )
    return CRITERIA.claim(
        "attention",
        id="attention",
        statement="Shown words attend more to words of their own topic than to words of others, on average over blocks and "
        "heads, in every run.",
        reference="Li, Li and Risteski 2023: average attention between same-topic words exceeds that between different-topic "
        "words",
        measured="\n".join(lines),
        control="random weights: "
        + "; ".join(f"{one.subject.name} {estimate(one.random_ratio, 3)}, p {one.random_by_word.p:.3f}" for one in found)
        + f"\np: {found[0].by_word.shuffles:,} random assignments of the same topics to words",
        numbers={
            "ratio_low": [float(one.ratio.low) for one in found],
            "ratio": [float(one.ratio.mean) for one in found],
            "p": [one.by_word.p for one in found],
            "random_ratio": [float(one.random_ratio.mean) for one in found],
        },
        figure="fig-attention",
    )


def attention_section(found: Sequence[Looking]) -> Section:
    """Return the section with its figures."""
    text = (
        "Attention is counted in units of uniform attention: pattern times number of keys, so that 1 is what every key would get "
        "from uniform attention. Keys of a shown word: the same word, another word of the same topic, a word of a different "
        "topic, a hidden word. A query that shows MASK has no topic to compare with: its keys are its own position, shown words, "
        "and other hidden words.",
        "The loss is read at hidden words only, and none of them shows its topic. In a single block nothing that shown words "
        "attend to reaches an answer, so that training has no reason to give them same-topic attention there. Where more blocks "
        "follow, shown words can gather their topic before the hidden words read them.",
    )
    ratios = FigureData(
        id="fig-attention",
        kind="dots",
        title="Attention of shown words to the same topic over attention to different topics",
        caption="Ratio of means over blocks, heads and documents, with 95 % bootstrap intervals over documents. 1: no contrast.",
        alt="Ratio of attention to same-topic keys over different-topic keys by run, trained beside random weights.",
        data={
            "x_title": "same / different",
            "categories": [one.subject.name for one in found],
            "series": [
                {"name": "trained", **points([one.ratio for one in found], "x")},
                {"name": "random weights", **points([one.random_ratio for one in found], "x"), "control": True},
            ],
            "references": [{"name": "no contrast", "x": 1.0}],
        },
    )
    return Section("attention", "Do words attend to their own topic?", text, (ratios, *map(_map, found)))


def _map(one: Looking) -> FigureData:
    heads = one.found.mean.shape[:2]
    where = by_head(*heads)
    controls = np.round(one.random.mean[where], 3)
    return FigureData(
        id=f"fig-{one.subject.name}-attention",
        kind="heatmap",
        title=f"{one.subject.name}: attention by what query and key show",
        caption="Mean attention per key times the number of keys, over documents that have such keys; 1 is uniform attention. "
        "The first four columns are of queries that show a word, the others of queries that show MASK. Random weights in hover "
        "and table.",
        alt="Heat map of attention in units of uniform attention, heads in rows, classes of keys in columns.",
        data={
            "rows": head_names(*heads),
            "columns": list(CLASSES),
            "row_title": "head",
            "column_title": "key",
            "value_title": "attention / uniform attention",
            "cell_text": True,
            "panels": [panel("trained", one.by_class[where]) | {"control": controls}],
        },
    )
