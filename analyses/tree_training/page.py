"""Claim: training climbs the hierarchy from the leaves up, one level after another, in every seed and on other grammars.

The ladder of oracles over all given runs of a task, from their training curves; then every run that stored enough steps is
watched along training: its answers on data of every filter level, its attention, and the messages that can be read from it.
Control: the same measurements at step 0, random weights.
"""

from __future__ import annotations

from analyses.shared.suitable import only
from analyses.shared.tree_training import curve_of
from analyses.tree_training.ladder import study_ladder
from analyses.tree_training.trajectory import study_trajectory
from mechbp.report.opening import Opening, Said
from mechbp.report.parts import left_out
from mechbp.study import Findings, Page, Study

RUNS = (
    *(f"tree-mlm-k0{variant}" for variant in ("", "-40k-s1", "-40k-s2", "-s1", "-s2", "-g1", "-single")),
    *(f"tree-root-k0{variant}" for variant in ("", "-s1")),
)
DENSE = 20
"""A run with at least this many stored steps is watched; where no run of a task has as many, the one with the most is."""


def study_page(study: Study) -> Findings:
    """Return the claims and sections of the page."""
    sections = []
    claims = []
    for task in ("masked", "root"):
        runs = [run for run in study.runs if run.config.objective.task == task]
        measured = [run for run in runs if curve_of(run)]
        for level in sorted({run.config.process.filter_level for run in measured}):
            group = [run for run in measured if run.config.process.filter_level == level]
            found, section = study_ladder(study, task, group)
            claims += found
            sections.append(section)
        most = max((len(run.steps) for run in runs), default=0)
        for run in (run for run in runs if len(run.steps) >= min(DENSE, max(most, 2))):
            found, section = study_trajectory(study, run)
            claims += found
            sections.append(section)
    others = [run.name for run in study.runs if run.config.objective.task not in ("masked", "root") or not curve_of(run)]
    return claims, [*sections, *left_out(others, "no training curve, or a task without a ladder of oracles")]


def _can_be_followed(run: Run) -> bool:
    return run.config.objective.task in ("masked", "root") and (bool(curve_of(run)) or len(run.steps) > 1)


PAGE = Page(
    title="In which order does training find the hierarchy?",
    lead="Along training, models are held against the oracles of every filter level: each knows the tree up to one level only.",
    runs=RUNS,
    family="tree",
    study=study_page,
    why_not=only("follows masked and root models along training, by stored steps or a curve", _can_be_followed),
    opening=Opening(
        telling="fig-tree-mlm-k0-s1-match",
        result=(
            Said(
                "Training passes the oracles from the leaves up: each is for a while the one that the model agrees with most.",
                {
                    "holds": ("tree-mlm-k0-s1-ranking", "root-k0-ladder"),
                },
            ),
            Said(
                "All runs of the root model take in the levels one after another, of the masked leaf model a part.",
                {
                    "holds": ("root-k0-ladder",),
                    "partly": ("masked-k0-ladder",),
                },
            ),
        ),
        wing="trees",
        papers=("Garnier-Brun et al. 2025",),
    ),
)
