"""Claim: a transformer trained on a hidden Markov model holds the exact belief over its states, linearly, and answers from it.

The belief of the exact filter is read from every stage of the residual stream by affine regression, beside what shortcuts would
hold and what can be read without training; distances tell belief geometry from next-token geometry; writing one word's belief
into another's run says whether later answers are computed from it. Expectations are over all words, not samples.
(Source: Shai et al., "Transformers represent belief state geometry in their residual stream", 2024.)
"""

from __future__ import annotations

from collections.abc import Iterator

from analyses.belief_geometry.belief_states import study_belief_states
from analyses.belief_geometry.distances import distance_claim, distance_section, distances
from analyses.belief_geometry.emergence import emergence, emergence_section, optimal_claim
from analyses.belief_geometry.handing_on_claims import study_handing_on
from analyses.belief_geometry.held_out import held_out_section, study_held_out
from analyses.belief_geometry.held_out_claims import held_out_claims
from analyses.belief_geometry.regression import read, reading_section
from analyses.belief_geometry.regression_claims import reading_claims
from analyses.belief_geometry.thresholds import thresholds_of
from analyses.shared.prefix_corpus import Corpus, unsuitable
from analyses.shared.suitable import unless
from mechbp.models.verify import Check
from mechbp.report.document import Section
from mechbp.report.opening import Opening, Said
from mechbp.study import Findings, Page, Study

RUNS = ("mess3-s24", "rrxor-s24")
LENGTH = 10
QUICK_LENGTH = 7


def thresholds(study: Study) -> Iterator[tuple[str, Check]]:
    """Yield the numbers that the page is held to."""
    for run in study.runs:
        yield from thresholds_of(study, Corpus.of(run, LENGTH))


def study_page(study: Study) -> Findings:
    """Return the claims and sections of the page."""
    claim, machines = study_belief_states()
    claims = [claim]
    sections = [machines]
    for run in study.runs:
        if reason := unsuitable(run):
            sections.append(Section(f"skipped-{run.name}", run.name, (), (), "skipped", reason))
            continue
        corpus = Corpus.of(run, study.size(LENGTH, QUICK_LENGTH))
        grown = emergence(study, corpus)
        reading = read(study, corpus)
        apart = distances(study, corpus)
        left_out = study_held_out(study, corpus)
        handed, handing = study_handing_on(study, corpus)
        claims += [
            optimal_claim(grown),
            *reading_claims(reading),
            *held_out_claims(reading, left_out),
            distance_claim(apart),
            *handed,
        ]
        sections += [
            emergence_section(grown), reading_section(reading), held_out_section(left_out), distance_section(apart), handing,
        ]  # fmt: skip
    return claims, sections


PAGE = Page(
    title="Does the model hold the exact belief, and hand it on?",
    lead="Transformers trained on hidden Markov models are held against the "
    "exact filter: what can be read from them, how much of that needs training, and whether later answers are computed from "
    "the belief that stands after a token, or from the tokens anew.",
    runs=RUNS,
    family="chain",
    study=study_page,
    why_not=unless(unsuitable),
    thresholds=thresholds,
    by_run=True,
    opening=Opening(
        telling="fig-mess3-s24-whole",
        result=(
            Said(
                "Both models predict as the exact observer does, and its belief can be read from their last layers.",
                {
                    "holds": ("mess3-s24-optimal", "mess3-s24-linear", "rrxor-s24-optimal", "rrxor-s24-linear"),
                },
            ),
            Said(
                "They do not hand it on: later answers are computed anew from the tokens.",
                {
                    "holds": ("mess3-s24-computed-anew", "rrxor-s24-computed-anew"),
                    "fails": ("mess3-s24-belief-used", "rrxor-s24-belief-used"),
                },
            ),
        ),
        wing="chains",
        papers=("Shai et al. 2024",),
    ),
)
