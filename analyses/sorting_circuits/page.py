"""Claim: one block of attention sorts by looking at the smallest larger value and copying it; its heads split or suppress values.

Circuits between tokens, patches, exchanges and ablations of models that sort; how their heads share the values between them, with
and without weight decay, over seeds, designs of lists and architectures, beside hand-built sorters whose mode is known.
(Source: Urdshals and Urdshals, "Structure development in list-sorting transformers", 2025.)
"""

from __future__ import annotations

from analyses.shared.sorter import Sorter, unsuitable
from analyses.shared.suitable import unless
from analyses.sorting_circuits.algorithm import algorithm, algorithm_claims, algorithm_section
from analyses.sorting_circuits.carrying import carrying, carrying_claims, carrying_section
from analyses.sorting_circuits.closely import closely
from analyses.sorting_circuits.detectors import detectors, detectors_claim, detectors_section
from analyses.sorting_circuits.end_states import end_states_claims, end_states_section
from analyses.sorting_circuits.gaps import gaps
from analyses.sorting_circuits.gaps_section import gap_claims, gap_section
from analyses.sorting_circuits.known import known_splitter, known_suppressors
from analyses.sorting_circuits.robustness import robustness, robustness_claims, robustness_section
from analyses.sorting_circuits.splitting import splitting, splitting_claim, splitting_section
from analyses.sorting_circuits.suppression import suppression
from analyses.sorting_circuits.suppression_claims import suppression_claims
from analyses.sorting_circuits.suppression_section import suppression_section
from analyses.sorting_circuits.thresholds import thresholds
from mechbp.processes.sorting.sorted_lists import SortedLists
from mechbp.report.document import Section
from mechbp.report.opening import Opening, Said
from mechbp.study import Findings, Page, Study

SEEDS = range(3)
RUNS = (
    *(f"sorting-{decay}-s{seed}" for decay in ("decay", "free") for seed in range(2)),
    *(f"sorting-small-{decay}-s{seed}" for decay in ("decay", "free") for seed in range(6)),
    "sorting-small-free-long",
    *(f"sorting-window{width}-s{seed}" for width in (8, 11, 15, 20, 26) for seed in SEEDS),
    *(f"sorting-gap{least}-s{seed}" for least in (2, 3, 4, 5) for seed in SEEDS),
    *(f"sorting-values{number}-s{seed}" for number in (24, 48, 64) for seed in SEEDS),
    *(f"sorting-heads{number}-s{seed}" for number in (1, 3, 4) for seed in range(2)),
    *(f"sorting-plain-{decay}-s{seed}" for decay in ("decay", "free") for seed in range(2)),
    *(f"sorting-{other}-s0" for other in ("length4", "length10", "repeats")),
)
KNOWN = SortedLists(32, 6)
"""Lists that sorters built by hand sort, beside trained ones."""


def study_page(study: Study) -> Findings:
    """Return the claims and sections of the page."""
    why = {run.name: reason for run in study.runs if (reason := unsuitable(run))}
    skipped = [Section(f"skipped-{name}", name, (), (), "skipped", f"{name} {reason}") for name, reason in why.items()]
    sorters = [Sorter.last(run) for run in study.runs if run.name not in why]
    if not sorters:
        return [], skipped
    close = closely(sorters)
    watched = [algorithm(study, sorter) for sorter in close]
    carried = [carrying(study, sorter) for sorter in close if not sorter.process.repeats]
    truth = detectors(study)
    suppressing = [suppression(study, sorter) for sorter in sorters if sorter.label in ("suppression", "both")]
    known_suppressing = [suppression(study, sorter) for sorter in known_suppressors(KNOWN)]
    split = [splitting(study, sorter) for sorter in sorters if sorter.label == "splitting"]
    known_split = [splitting(study, known_splitter(KNOWN))]
    gapped = gaps(study, sorters)
    varied = robustness(study, sorters)
    claims = [
        *algorithm_claims(watched),
        *carrying_claims(carried),
        *end_states_claims(sorters),
        detectors_claim(truth),
        *suppression_claims(suppressing, known_suppressing),
        splitting_claim(split, known_split),
        *gap_claims(gapped),
        *robustness_claims(varied),
    ]
    sections = [
        algorithm_section(watched),
        carrying_section(carried),
        end_states_section(sorters),
        detectors_section(truth),
        suppression_section(suppressing, known_suppressing),
        splitting_section(split, known_split),
        gap_section(gapped),
        robustness_section(varied),
        *skipped,
    ]
    return claims, sections


PAGE = Page(
    title="How does one block of attention sort?",
    lead="Attention-only transformers of one block sort lists. Their circuits between values are read from the weights, and "
    "held against patches, exchanged activations, ablations, and sorters built by hand whose heads are specialised in a known "
    "way.",
    runs=RUNS,
    family="sorting",
    study=study_page,
    why_not=unless(unsuitable),
    thresholds=thresholds,
    opening=Opening(
        telling="fig-circuits",
        result=(
            Said(
                "One block of attention learns to sort, with heads that copy values forward.",
                {
                    "holds": ("sorts", "copies"),
                },
            ),
            Said(
                "The two published end states are not where training always ends, and the mean gap between values"
                " does not decide which.",
                {
                    "fails": ("end-states", "gap-mode"),
                },
            ),
        ),
        wing="lists",
        papers=("Urdshals and Urdshals 2025",),
    ),
)
