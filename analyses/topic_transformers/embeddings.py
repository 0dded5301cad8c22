"""Whether embeddings of words of one topic lie together, and those of ambiguous words between topics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from analyses.topic_transformers.criteria import CRITERIA
from analyses.topic_transformers.subjects import Subject
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import DECIMALS
from mechbp.study import Study
from mechbp.theory.topics.pairs import SHUFFLES, cosine_table, pair_class_test

FEW_WORDS = 24
"""Vocabularies up to this size are drawn word by word, larger ones topic by topic."""


@dataclass(frozen=True, eq=False)
class Likeness:
    """One number per pair of words, beside the classes of pairs."""

    table: Float64[np.ndarray, "word word"]
    same: float
    different: float
    same_sd: float
    different_sd: float
    """Spread over pairs."""
    p: float
    """One-sided, of permuted topic labels."""
    shuffles: int

    @classmethod
    def of(cls, subject: Subject, table: Float64[np.ndarray, "word word"], rng: np.random.Generator, shuffles: int) -> Likeness:
        """Compare the classes of a table, with so many permutations of the labels."""
        pairs = subject.pairs
        same, different = table[pairs.same], table[pairs.different]
        means = float(same.mean()), float(different.mean())
        spreads = float(same.std()), float(different.std())
        return cls(table, *means, *spreads, pair_class_test(table, pairs, rng, shuffles), shuffles)

    @property
    def difference(self) -> float:
        """Words of the same topic less words of different topics."""
        return self.same - self.different


@dataclass(frozen=True, eq=False)
class Embedded:
    """Dot products and cosines of a run's embeddings, and those of random weights."""

    subject: Subject
    dot: Likeness
    cosine: Likeness
    random_dot: Likeness
    random_cosine: Likeness


def shuffles(study: Study) -> int:
    """Return how many times topic labels are permuted."""
    return study.size(SHUFFLES, 2000)


def embedded(study: Study, subject: Subject) -> Embedded:
    """Compare embeddings of all pairs of words."""
    study.stage(f"{subject.name}: embeddings")
    trained, random = (subject.embeddings(model) for model in (subject.run.model, subject.controls[0]))

    def likeness(table: np.ndarray, name: str) -> Likeness:
        return Likeness.of(subject, table, study.rng(subject.name, "labels", name), shuffles(study))

    return Embedded(
        subject,
        likeness(trained @ trained.T, "dot"),
        likeness(cosine_table(trained), "cosine"),
        likeness(random @ random.T, "random dot"),
        likeness(cosine_table(random), "random cosine"),
    )


def embeddings_claim(found: Sequence[Embedded]) -> Claim:
    """Words of one topic have the more similar embeddings."""
    return CRITERIA.claim(
        "embeddings",
        id="embeddings",
        statement="Embeddings of words of one topic are more alike than those of words of different topics, by dot product and "
        "by cosine, in every run.",
        reference="Li, Li and Risteski 2023: same-topic words have larger inner products and cosines of embeddings, on synthetic "
        "documents and on text",
        measured="\n".join(f"{one.subject.name}: {_in_words(one.cosine)}; dot product {_in_words(one.dot)}" for one in found),
        control="random weights: "
        + "; ".join(f"{one.subject.name} cosine {_in_words(one.random_cosine)}" for one in found)
        + f"\np: {found[0].cosine.shuffles:,} random assignments of the same topics to words",
        numbers={
            "dot_difference": [one.dot.difference for one in found],
            "cosine_difference": [one.cosine.difference for one in found],
            "p_dot": [one.dot.p for one in found],
            "p_cosine": [one.cosine.p for one in found],
            "random_p": [one.random_cosine.p for one in found],
        },
        figure="fig-cosines",
    )


def embeddings_section(found: Sequence[Embedded]) -> Section:
    """Return the section with its figures."""
    text = (
        "In the theory's embedding-only model every word's embedding must have a larger inner product with its own topic's "
        "words, by a gap that the rates of masking fix. Here embeddings also meet layer normalisation, attention and, in the "
        "deep runs, MLPs, so that only the sign is predicted. Where topics overlap two words count as of the same topic if any "
        "topic uses both.",
    )
    series = []
    for name, pick in (("same topic", "same"), ("different topics", "different")):
        for control in (False, True):
            ends = [one.random_cosine if control else one.cosine for one in found]
            means = [getattr(end, pick) for end in ends]
            spread = [getattr(end, f"{pick}_sd") for end in ends]
            series.append({
                "name": name + (", random weights" if control else ""),
                "x": means,
                "low": [mean - sd for mean, sd in zip(means, spread, strict=True)],
                "high": [mean + sd for mean, sd in zip(means, spread, strict=True)],
                "color": 0 if pick == "same" else 1,
                **({"control": True} if control else {}),
            })  # fmt: skip
    cosines = FigureData(
        id="fig-cosines",
        kind="dots",
        title="Cosine of the embeddings of two words",
        caption="Mean over pairs of distinct words; the bars reach one standard deviation over pairs to either side. Hollow: "
        "random weights.",
        alt="Mean cosine by run for words of the same topic and of different topics, trained and random weights.",
        data={"x_title": "cosine", "categories": [one.subject.name for one in found], "series": series},
    )
    return Section("embeddings", "Do embeddings group words by topic?", text, (cosines, *map(_map, found)))


def _map(one: Embedded) -> FigureData:
    subject = one.subject
    table = one.cosine.table
    topics = subject.process.word_given_topic.argmax(axis=0)
    if len(table) <= FEW_WORDS:
        shared = subject.process.topics_of_word.sum(axis=1) > 1
        labels = [f"{word}{'*' if shared[word] else ''}" for word in range(len(table))]
        values = table
        what = "Words in the order of the topic that uses them most; a star marks words of several topics."
    else:
        labels = [str(topic) for topic in np.unique(topics)]
        off = np.where(np.eye(len(table), dtype=bool), np.nan, table)
        values = np.array(
            [[np.nanmean(off[np.ix_(topics == a, topics == b)]) for b in np.unique(topics)] for a in np.unique(topics)]
        )
        what = "Mean over pairs of distinct words of two topics, each word under the topic that uses it most."
    kind = "word" if len(table) <= FEW_WORDS else "topic"
    return FigureData(
        id=f"fig-{subject.name}-cosines",
        kind="heatmap",
        title=f"{subject.name}: cosine of embeddings, {kind} by {kind}",
        caption=what,
        alt=f"Heat map of cosines, {kind} by {kind}.",
        data={
            "rows": labels,
            "columns": labels,
            "row_title": kind,
            "column_title": kind,
            "value_title": "cosine",
            "scale": "diverging",
            "range": [-1, 1],
            "panels": [{"title": "trained", "values": np.round(values, DECIMALS)}],
        },
    )


def _in_words(found: Likeness) -> str:
    p = f"p {found.p:.4f}" if found.p >= 0.001 else f"p {found.p:.0e}"
    return f"{found.same:.3f} against {found.different:.3f} ({p})"
