"""Claim: ordinary transformers, asked for hidden words of topic-mixture documents, hold the exact belief about topics and use it.

The theory of topics in transformers is about one layer of attention without residual stream, normalisation, MLP or positions.
Here models as people use them see the same documents. Their answers are held against exact inference, their embeddings and
attention against the theory's picture, and their beliefs are read, written and erased, as for trees and chains.
(Source: Li, Li and Risteski, "How do transformers learn topic structure: towards a mechanistic understanding", ICML 2023.)
"""

from __future__ import annotations

from analyses.shared.suitable import unless
from analyses.topic_transformers.ambiguity import ambiguity, ambiguity_claim, ambiguity_section
from analyses.topic_transformers.answers import LinearLogits, answering, answers_claim, answers_section
from analyses.topic_transformers.attention import attention_claim, attention_section, looking
from analyses.topic_transformers.embeddings import embedded, embeddings_claim, embeddings_section
from analyses.topic_transformers.reading import reading, reading_claim, reading_section
from analyses.topic_transformers.replacing import replacing, replacing_claims, replacing_section
from analyses.topic_transformers.single_words import single_words, single_words_claim, single_words_section
from analyses.topic_transformers.subjects import Subject, unsuitable
from analyses.topic_transformers.writing import writing, writing_claim, writing_section
from mechbp.report.document import Section
from mechbp.report.opening import Opening, Said
from mechbp.study import Findings, Page, Study

RUNS = ("topics-1l", "topics-4l", "topics-ring-1l", "topics-ring-4l")


def study_page(study: Study) -> Findings:
    """Return the claims and sections of the page."""
    why = {run.name: reason for run in study.runs if (reason := unsuitable(run))}
    skipped = [Section(f"skipped-{name}", name, (), (), "skipped", f"{name} {reason}") for name, reason in why.items()]
    subjects = [Subject(run) for run in study.runs if run.name not in why]
    if not subjects:
        return [], skipped
    rivals = [
        LinearLogits.of(subject.hidden_words(study, "linear logits", study.size(2000, 300))) for subject in subjects
    ]  # fmt: skip
    answered = [answering(study, subject, rival) for subject, rival in zip(subjects, rivals, strict=True)]
    alike = [embedded(study, subject) for subject in subjects]
    looked = [looking(study, subject) for subject in subjects]
    ambiguous = [
        found for one, other in zip(alike, looked, strict=True) if (found := ambiguity(study, one, other)) is not None
    ]  # fmt: skip
    replaced = [replacing(study, subject) for subject in subjects]
    read = [reading(study, subject) for subject in subjects]
    written = [writing(study, subject) for subject in subjects]
    exchanged = [single_words(study, subject, rival) for subject, rival in zip(subjects, rivals, strict=True)]
    claims = [
        answers_claim(answered),
        reading_claim(read),
        writing_claim(study, written),
        single_words_claim(exchanged),
        embeddings_claim(alike),
        attention_claim(looked),
        *replacing_claims(replaced),
        ambiguity_claim(ambiguous),
    ]
    sections = [
        answers_section(study, answered),
        reading_section(read),
        writing_section(study, written),
        single_words_section(study, exchanged),
        embeddings_section(alike),
        attention_section(looked),
        replacing_section(replaced),
        ambiguity_section(ambiguous),
        *skipped,
    ]
    return claims, sections


PAGE = Page(
    title="Do ordinary transformers hold the posterior over topics?",
    lead="Transformers of one and of four blocks see documents of known topics with some words hidden. Their answers are held "
    "against the exact posterior, beliefs about topics are read, written and erased, and the theory's picture of embeddings and "
    "attention is looked for, and tested for being used.",
    runs=RUNS,
    family="topics",
    study=study_page,
    why_not=unless(unsuitable),
    opening=Opening(
        telling="fig-answers",
        result=(
            Said(
                "Ordinary transformers answer as the exact posterior over topics in part.",
                {
                    "partly": ("answers",),
                },
            ),
            Said(
                "Topics stand in their embeddings, while shown words do not attend more to their own topic in every run.",
                {
                    "holds": ("embeddings",),
                    "fails": ("attention",),
                },
            ),
        ),
        wing="topics",
        papers=("Li et al. 2023",),
    ),
)
