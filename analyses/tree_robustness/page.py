"""Claim: the picture does not hang on one grammar, nor on the kind of probe that reads it.

Runs on grammars of other seeds, each beside the ladder of its own oracles; and ancestors read by the paper's two-layer probe
beside a linear one. Controls: random weights, and what a leaf's block of leaves can tell at best.
"""

from __future__ import annotations

from analyses.tree_robustness.ancestors import study_ancestors
from analyses.tree_robustness.grammars import study_grammars
from mechbp.errors import InputError
from mechbp.models.runs import Run
from mechbp.report.document import Section
from mechbp.report.opening import Opening, Said
from mechbp.report.parts import left_out
from mechbp.study import Findings, Page, Study
from mechbp.theory.tree.block_ceilings import block_ceilings

PROBED = ("tree-mlm-k0", "tree-mlm-k0-exact")
"""Runs whose ancestors are probed; where none of them is given, the first that can be."""
RUNS = (*PROBED, "tree-root-k0", "tree-mlm-k0-g1")


def study_page(study: Study) -> Findings:
    """Return the claims and sections of the page."""
    claims = []
    sections: list[Section] = []
    unfiltered = [run for run in study.runs if run.config.process.filter_level == 0]
    for task in ("root", "masked"):
        runs = [run for run in unfiltered if run.config.objective.task == task]
        if runs:
            found, section = study_grammars(study, task, runs)
            claims += found
            sections.append(section)
    probed = [run for run in unfiltered if _can_be_probed(run)]
    chosen = [run for run in probed if run.name in PROBED] or probed[:1]
    if chosen:
        found, parts = study_ancestors(study, chosen)
        claims += found
        sections += parts
    others = [run.name for run in study.runs if run not in unfiltered or run.config.objective.task == "next-token"]
    return claims, [*sections, *left_out(others, "this page compares masked and root models of filter level 0")]


def _can_be_probed(run: Run) -> bool:
    try:
        block_ceilings(run.process)
    except InputError:
        return False
    return run.config.objective.task == "masked"


def _why_not(runs: Sequence[Run]) -> str:
    """Grammars are compared, or ancestors probed; the seed of the grammar is what tells grammars apart."""
    unfiltered = [run for run in runs if run.config.process.filter_level == 0 and run.config.objective.task in ("root", "masked")]
    if any(map(_can_be_probed, unfiltered)):
        return ""
    grammars = {run.config.process for run in unfiltered}
    return "" if len(grammars) > 1 else "compares masked or root models of several grammars, and these runs have one or none"


PAGE = Page(
    title="Does it hang on the grammar, or on the probe?",
    lead="Models on grammars of other seeds beside their own ladders of oracles, and ancestors read with and without a hidden "
    "layer.",
    runs=RUNS,
    family="tree",
    study=study_page,
    why_not=_why_not,
    opening=Opening(
        telling="fig-grammars-masked",
        result=(
            Said(
                "On grammars of two seeds the masked leaf model answers as its own oracle, and two-layer probes "
                "name no ancestor more often than its block of leaves tells.",
                {
                    "holds": ("grammars-masked", "tree-mlm-k0-two-layer-bounded"),
                },
            ),
        ),
        wing="trees",
        papers=("Garnier-Brun et al. 2025",),
    ),
)
