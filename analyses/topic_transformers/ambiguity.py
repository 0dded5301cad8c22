"""Whether words of several topics stand out less from words of other topics than words of one topic do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from analyses.topic_transformers.attention import Looking
from analyses.topic_transformers.criteria import CRITERIA
from analyses.topic_transformers.embeddings import Embedded
from analyses.topic_transformers.subjects import Subject
from mechbp.figures.intervals import points
from mechbp.methods.statistics.intervals import RESAMPLES, Interval
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import estimate
from mechbp.study import Study

NAMES = ("embeddings", "attention", "embeddings, random weights", "attention, random weights")


@dataclass(frozen=True, eq=False)
class Ambiguity:
    """Contrasts of every word, and what ambiguity takes from them."""

    subject: Subject
    ambiguous: Bool[np.ndarray, " word"]
    contrasts: dict[str, Float64[np.ndarray, " word"]]
    """Mean over words of the same topic less mean over words of different topics."""
    differences: dict[str, Interval]
    """Ambiguous words less unambiguous ones, over words."""


def ambiguity(study: Study, embeddings: Embedded, attention: Looking) -> Ambiguity | None:
    """Compare words; None where no word is ambiguous, or all are."""
    subject = embeddings.subject
    ambiguous = subject.process.topics_of_word.sum(axis=1) > 1
    if not ambiguous.any() or ambiguous.all():
        return None
    tables = (embeddings.cosine, attention.by_word, embeddings.random_cosine, attention.random_by_word)
    contrasts = {name: word_contrasts(subject, found.table) for name, found in zip(NAMES, tables, strict=True)}
    differences = {
        name: group_difference(values, ambiguous, study.rng(subject.name, "ambiguity", name))
        for name, values in contrasts.items()
    }
    return Ambiguity(subject, ambiguous, contrasts, differences)


def word_contrasts(subject: Subject, table: Float64[np.ndarray, "word word"]) -> Float64[np.ndarray, " word"]:
    """Return each row's mean over same-topic words less its mean over different-topic words; NaN where there are none."""
    same, different = (
        np.where(mask, table, 0).sum(axis=1) / np.where(mask.any(axis=1), mask.sum(axis=1), np.nan)
        for mask in (subject.pairs.same, subject.pairs.different)
    )
    return same - different


def group_difference(values: Float64[np.ndarray, " n"], member: Bool[np.ndarray, " n"], rng: np.random.Generator) -> Interval:
    """Return the mean over members less that over the rest, each group resampled by itself."""
    groups = [values[chosen & np.isfinite(values)] for chosen in (member, ~member)]
    means = [rng.choice(group, (RESAMPLES, len(group))).mean(axis=1) for group in groups]
    low, high = np.quantile(means[0] - means[1], [0.025, 0.975])
    return Interval(
        np.asarray(groups[0].mean() - groups[1].mean()), np.asarray(low), np.asarray(high), int(np.isfinite(values).sum())
    )


def ambiguity_claim(found: Sequence[Ambiguity]) -> Claim:
    """Ambiguous words have the smaller contrast."""
    measured = "\n".join(
        f"{one.subject.name}: cosine {estimate(one.differences[NAMES[0]], 3)}, attention "
        f"{estimate(one.differences[NAMES[1]], 3)}; {int(one.ambiguous.sum())} ambiguous words of {len(one.ambiguous)}"
        for one in found
    )
    control = "random weights: " + "; ".join(
        f"{one.subject.name} cosine {estimate(one.differences[NAMES[2]], 3)}, attention {estimate(one.differences[NAMES[3]], 3)}"
        for one in found
    )
    return CRITERIA.claim(
        "ambiguity",
        id="ambiguity",
        statement="Where topics overlap, words of several topics have the smaller contrast between words of their topics and "
        "words of others, in embeddings and in attention.",
        reference="Li, Li and Risteski 2023: on text the contrast is larger for unambiguous words",
        measured=measured if found else "no run has topics that overlap: 0 runs",
        control=control if found else "none: 0 runs",
        numbers={
            "embedding_high": [float(one.differences[NAMES[0]].high) for one in found],
            "attention_high": [float(one.differences[NAMES[1]].high) for one in found],
        }
        if found
        else None,
        figure="fig-ambiguity" if found else "",
    )


def ambiguity_section(found: Sequence[Ambiguity]) -> Section:
    """Return the section with its figure, a skipped one where no topics overlap."""
    place = ("ambiguity", "Are ambiguous words less distinct?")
    if not found:
        return Section(*place, (), (), "skipped", "no run here has words that some topics share and others do not")
    text = (
        "In a ring of topics each borrows the first words of the next, which then have two topics, though unequally: the "
        "borrowing topic gives them a quarter of its probability, the owner more. A word's contrast is its mean over words of "
        "the same topic less its mean over words of different topics, of cosines, or of the attention that it pays.",
        "There are few words, so that intervals over words are wide; they treat the words of a ring, which are alike by "
        "symmetry, as draws.",
    )
    figure = FigureData(
        id="fig-ambiguity",
        kind="dots",
        title="Contrast of ambiguous words less that of unambiguous ones",
        caption="Mean difference over words with 95 % bootstrap intervals, words resampled within both groups. Below 0 ambiguous "
        "words have the smaller contrast. Cosines, and attention in units of uniform attention. Hollow: random weights.",
        alt="Difference of contrasts by run, for embeddings and attention, trained and random weights.",
        data={
            "x_title": "ambiguous less unambiguous",
            "categories": [one.subject.name for one in found],
            "series": [
                {
                    "name": name,
                    **points([one.differences[name] for one in found], "x"),
                    "color": index % 2,
                    **({"control": True} if index > 1 else {}),
                }
                for index, name in enumerate(NAMES)
            ],
            "references": [{"name": "no difference", "x": 0.0}],
        },
    )
    return Section(*place, text, (figure,))
