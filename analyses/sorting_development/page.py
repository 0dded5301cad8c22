"""Claim: heads of a sorter first copy the same values and then part, and the learning coefficient falls when they do.

Runs with steps stored along training, with and without weight decay. The local learning coefficient was measured beside them, at
three settings; rival explanations of its fall, growing confidence and shrinking weights, are put to the test here.
(Source: Urdshals and Urdshals 2025, "Structure development in list-sorting transformers".)
"""

from __future__ import annotations

from analyses.shared.suitable import unless
from analyses.sorting_development.boundaries import boundaries, boundaries_claim, boundaries_section
from analyses.sorting_development.checks import checks_section, known_answers, known_claim, recheck_claim, rechecks
from analyses.sorting_development.coefficient import coefficient_claim, coefficient_section
from analyses.sorting_development.comparisons import (
    comparisons_section,
    matched_claim,
    matched_runs,
    within_claim,
    within_runs,
)
from analyses.sorting_development.confidence import confidence_section, confidences
from analyses.sorting_development.falls import JUDGED, falls
from analyses.sorting_development.scale import rescaled, scale_claim, scale_section
from analyses.sorting_development.snapshots import snapshots_section
from analyses.sorting_development.stages import sharing, stages_claim, stages_section
from analyses.sorting_development.thresholds import thresholds
from analyses.sorting_development.trajectory import trajectory, unsuitable
from mechbp.report.document import Section
from mechbp.report.opening import Opening, Said
from mechbp.study import Findings, Page, Study

RUNS = ("sorting-decay-s0", "sorting-decay-s1", "sorting-free-s0", "sorting-small-decay-s1", "sorting-small-decay-s2")


def study_page(study: Study) -> Findings:
    """Return the claims and sections of the page."""
    why = {run.name: reason for run in study.runs if (reason := unsuitable(run))}
    skipped = [Section(f"skipped-{name}", name, (), (), "skipped", f"{name} {reason}") for name, reason in why.items()]
    found = [trajectory(study, run) for run in study.runs if run.name not in why]
    if not found:
        return [], skipped
    shared = [sharing(one) for one in found]
    fallen = falls(found, JUDGED)
    equal = confidences(study, fallen)
    within, matched = within_runs(found), matched_runs(found)
    ends = boundaries(study, found)
    changed = rescaled(study, found)
    known = known_answers(study)
    again = rechecks(study, found)
    claims = [
        stages_claim(shared),
        coefficient_claim(found, fallen, equal),
        within_claim(found, within),
        matched_claim(found, matched),
        boundaries_claim(ends),
        scale_claim(changed),
        recheck_claim(again),
        known_claim(known),
    ]
    sections = [
        stages_section(shared),
        snapshots_section(found),
        coefficient_section(found),
        boundaries_section(ends),
        comparisons_section(within, matched),
        confidence_section(equal),
        scale_section(found, changed),
        checks_section(known, again),
        *skipped,
    ]
    return claims, sections


PAGE = Page(
    title="How heads part while a sorter learns",
    lead="Models that sort are followed through training: loss, what each head copies, and the local learning coefficient, which "
    "is said to fall when heads specialise. Whether it does, and whether something else would make it fall as well.",
    runs=RUNS,
    family="sorting",
    study=study_page,
    why_not=unless(unsuitable),
    thresholds=thresholds,
    opening=Opening(
        telling="fig-llc-units",
        result=(
            Said(
                "That the learning coefficient has its maximum within training while cross-entropy stays is not "
                "supported; whether specialised heads have the lower one depends on how it is set.",
                {
                    "fails": ("interior-maximum",),
                    "partly": ("specialised-lower",),
                },
            ),
        ),
        wing="lists",
        papers=("Urdshals and Urdshals 2025",),
    ),
)
