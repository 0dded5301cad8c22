"""Claim: between an oracle that lacks the top of the tree and exact inference stands what attention makes of what it reads.

Masked models lose their top levels once their attention is static. Patterns of single blocks, rows and levels are made static
while all others stay as they were, and rows are taken from other sequences that share some of what the tree tells: what must be
shared for the answer to stay is what attention depends on. Controls: donors that share nothing, static patterns, the messages of
exact inference, and the other oracles.
"""

from __future__ import annotations

from analyses.shared.suitable import only
from analyses.tree_content.claims import claims_of
from analyses.tree_content.measurements import can_be_measured, measure
from analyses.tree_content.sections import sections_of
from mechbp.report.opening import Opening, Said
from mechbp.report.parts import left_out
from mechbp.study import Findings, Page, Study

SEEDS = ("tree-mlm-k0", "tree-mlm-k0-40k-s1", "tree-mlm-k0-40k-s2")
RUNS = (*SEEDS, "tree-mlm-k0-exact", "tree-mlm-k0-single", "tree-mlm-k0-s1", "tree-mlm-k1")
"""The rules of this page were developed on tree-mlm-k0-s2 and -g1, which are not among them."""


def study_page(study: Study) -> Findings:
    """Return the claims and sections of the page."""
    able = [run for run in study.runs if can_be_measured(run)]
    studied = [run for run in able if run.process.depth == able[0].process.depth]
    measured = [measure(study, run) for run in studied]
    others = [run.name for run in study.runs if run not in studied]
    left = left_out(others, "asked are masked models of filter level 0 or 1 with one block per level, on trees of one depth")
    if not measured:
        return [], left
    return claims_of(measured), [*sections_of(measured), *left]


PAGE = Page(
    title="What does content-dependent attention add?",
    lead="Attention patterns are made static, or taken from other sequences that are matched on part of what the tree tells, and "
    "the answers are held against belief propagation of every filter level.",
    runs=RUNS,
    family="tree",
    study=study_page,
    why_not=only("asks masked models of filter level 0 or 1 with one block per level", can_be_measured),
    opening=Opening(
        telling="fig-content-parts",
        result=(
            Said(
                "Made static, attention leaves part of the models with answers that miss the top levels of the tree.",
                {
                    "partly": ("content-static",),
                },
            ),
            Said(
                "What content decides is which leaf of a subtree is read, more than which subtree.",
                {
                    "holds": ("content-leaf",),
                },
            ),
        ),
        wing="trees",
        papers=("Garnier-Brun et al. 2025",),
    ),
)
