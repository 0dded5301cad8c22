"""Claim: the picture on the paper grammar holds where rules overlap, the tree is deeper, and symbols are more.

One masked model per change, beside the model of the paper grammar that was trained alike: its answers beside exact inference,
the order in which training took in the hierarchy, where its blocks look, and which messages they write. Controls: random weights,
uniform attention.
"""

from __future__ import annotations

from analyses.shared.suitable import asked, only
from analyses.tree_beyond.account import WIDE, account_section, wide_claim
from analyses.tree_beyond.claims import claims_of
from analyses.tree_beyond.figures import figures_of
from analyses.tree_beyond.measurements import measure
from mechbp.report.document import Section
from mechbp.report.opening import Opening, Said
from mechbp.report.parts import left_out, listed
from mechbp.study import Findings, Page, Study

RUNS = ("tree-mlm-k0-exact", "tree-mlm-ambiguous", "tree-mlm-d5-10k", "tree-mlm-q8", "tree-mlm-d5")
"""The first is what the others are held against."""
LATER = ("tree-mlm-d5", WIDE)
"""Runs whose recipe was written after a first run of their setting had been looked at: shown, but no claim rests on them, except
where they are all that is given."""


def study_page(study: Study) -> Findings:
    """Return the claims and sections of the page."""
    masked = [run for run in study.runs if run.config.objective.task == "masked"]
    measured = [measure(study, run) for run in masked]
    sections = []
    claims = []
    if measured:
        later = [p for p in measured if p.run.name in LATER]
        graded = [p for p in measured if p not in later]
        claims = claims_of(graded or measured, later if graded else [])
        claims.append(wide_claim(measured))
        texts = (
            f"`{measured[0].run.name}` is the paper's setting; each of the other runs changes one thing. Architecture and recipe "
            "are the same but for one block per level of the tree, and the length of training. Runs trained on exact posteriors "
            "as soft targets say what the architecture comes to compute, not how fast symbols alone would teach it.",
            "In an ambiguous grammar a pair of children may come from any parent, so even the full sequence has many parses, and "
            "the root stays uncertain; belief propagation sums over all of them. Ambiguity 0.01 was chosen because at 0.1, tried "
            "first, the oracles of neighbouring levels agree so closely that no model could show which of them it follows.",
        )
        if graded and later:
            texts += (
                f"{listed([f'`{p.run.name}`' for p in later])}: trained again, longer or wider, after a first run of the setting "
                "had been looked at. Shown beside the others; claims are graded by the first runs.",
            )
        sections.append(Section("pictures", "The same measurements, side by side", texts, figures_of(measured)))
        sections.append(account_section(measured))
    others = [run.name for run in study.runs if run not in masked]
    return claims, [*sections, *left_out(others, "this page compares masked models")]


PAGE = Page(
    title="Does the picture hold beyond the paper?",
    lead="Each change to grammar or tree has one seed, so what differs may be the change or the seed.",
    runs=RUNS,
    family="tree",
    study=study_page,
    why_not=only("compares masked models", asked("masked")),
    opening=Opening(
        telling="fig-beyond-oracles",
        result=(
            Said(
                "With changed grammars and deeper trees part of the runs keep the picture: they answer as their "
                "own oracle, learn levels from the leaves up, and write messages block by block.",
                {
                    "partly": ("beyond-exact", "beyond-order", "beyond-writing"),
                },
            ),
            Said(
                "Attention averaged per level does not suffice.",
                {
                    "fails": ("beyond-needed",),
                },
            ),
        ),
        wing="trees",
        papers=("Garnier-Brun et al. 2025",),
    ),
)
