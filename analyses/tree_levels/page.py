"""Claim: trained on data of any filter level, a transformer becomes the exact oracle of that level, right or wrong about others.

Models of one architecture and task that differ in the filter level of their data stand side by side: their answers on data of
every level beside BP's, where they look and which levels they need to tell apart, and which ancestors can be read from them.
Controls: random weights, the mismatched oracles, uniform attention, and what a block of leaves tells in closed form.
"""

from __future__ import annotations

from analyses.shared.suitable import asked, only
from analyses.tree_levels.ancestors import study_ancestors
from analyses.tree_levels.answers import study_answers
from analyses.tree_levels.attention import study_looking
from analyses.tree_levels.end_probes import study_first_and_last
from analyses.tree_levels.groups import TASKS, families
from mechbp.report.opening import Opening, Said
from mechbp.report.parts import left_out
from mechbp.study import Findings, Page, Study

RUNS = (*(f"tree-{task}-k{level}" for task in ("mlm", "root") for level in range(5)), "tree-mlm-k0-exact")


def study_page(study: Study) -> Findings:
    """Return the claims and sections of the page."""
    sections = []
    claims = []
    for family in families(study.runs):
        parts = (study_answers, study_looking, study_ancestors, study_first_and_last)
        for part in parts if family.task == "masked" else parts[:-1]:
            part_claims, section = part(study, family)
            claims += part_claims
            sections.append(section)
    others = [run.name for run in study.runs if run.config.objective.task not in TASKS]
    return claims, [
        *sections,
        *left_out(others, "filter levels are compared for models asked for a masked leaf, or for the root at a ROOT token"),
    ]


PAGE = Page(
    title="Does a model become the oracle of its own data?",
    lead="Models that differ only in the filter level of their training data are "
    "held against belief propagation of that level, on their own data and on all others.",
    runs=RUNS,
    family="tree",
    study=study_page,
    why_not=only("compares models asked for a masked leaf, or for the root at a ROOT token", asked(*TASKS)),
    opening=Opening(
        telling="fig-masked-oracles",
        result=(
            Said(
                "Trained at any filter level, models give the exact posterior of their own data, and infer under "
                "its assumption on all other data too.",
                {
                    "holds": ("masked-exact", "masked-mismatched", "root-exact", "root-mismatched"),
                },
            ),
        ),
        wing="trees",
        papers=("Garnier-Brun et al. 2025",),
    ),
)
