"""Claim: the picture on the paper grammar holds where rules overlap, the tree is deeper, and symbols are more.

One masked model per change, beside the model of the paper grammar that was trained alike: its answers beside exact inference,
the order in which training took in the hierarchy, where its blocks look, and which messages they write. Controls: random weights,
uniform attention.
"""

from __future__ import annotations

from analyses.tree_beyond.claims import claims_of
from analyses.tree_beyond.figures import figures_of
from analyses.tree_beyond.measurements import measure
from mechbp.report.document import Section
from mechbp.report.parts import left_out
from mechbp.study import Findings, Page, Study

RUNS = ("tree-mlm-k0-exact", "tree-mlm-ambiguous", "tree-mlm-d5", "tree-mlm-q8")
"""The first is what the others are held against."""


def study_page(study: Study) -> Findings:
    """Return the claims and sections of the page."""
    masked = [run for run in study.runs if run.config.objective.task == "masked"]
    measured = [measure(study, run) for run in masked]
    sections = []
    claims = []
    if measured:
        claims = claims_of(measured)
        texts = (
            f"`{measured[0].run.name}` is the paper's setting; each of the other runs changes one thing. Architecture and recipe "
            "are the same but for one block per level of the tree, and the length of training. Runs trained on exact posteriors "
            "as soft targets say what the architecture comes to compute, not how fast symbols alone would teach it.",
            "In an ambiguous grammar a pair of children may come from any parent, so even the full sequence has many parses, and "
            "the root stays uncertain; belief propagation sums over all of them. Ambiguity 0.01 was chosen because at 0.1, tried "
            "first, the oracles of neighbouring levels agree so closely that no model could show which of them it follows.",
        )
        sections.append(Section("pictures", "The same measurements, side by side", texts, figures_of(measured)))
    others = [run.name for run in study.runs if run not in masked]
    return claims, [*sections, *left_out(others, "this page compares masked models")]


PAGE = Page(
    title="Does the picture hold beyond the paper?",
    lead="Each change to grammar or tree has one run, so what differs may be the change or the run.",
    runs=RUNS,
    family="tree",
    study=study_page,
)
