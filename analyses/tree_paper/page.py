"""Claim: the paper's own architecture becomes the same oracles by the same mechanism, with no ROOT token in the way.

Post-norm encoders with sinusoidal positions, asked for a masked leaf, or for the root from the final tokens of all leaves; beside
them pre-norm models of the other pages, and a twin of the root model that is read at a ROOT token. Controls: random weights, the
other oracles, exact inference without the message, subspaces of shuffled messages, relabelled and uniform patterns.
"""

from __future__ import annotations

from analyses.shared.suitable import asked, only
from analyses.tree_paper.claims import answer_claims, mechanism_claims
from analyses.tree_paper.figures import accuracy_figure, divergence_figure, mechanism_figures, token_figure
from analyses.tree_paper.groups import QUESTIONS, groups
from analyses.tree_paper.measurements import measure, twins
from analyses.tree_paper.token import token_claims
from mechbp.report.document import Section
from mechbp.report.opening import Opening, Said
from mechbp.report.parts import left_out, listed
from mechbp.study import Findings, Page, Study

RUNS = (
    *("paper-root-k0", "paper-root-k0-query", "tree-root-k0", "paper-mlm-k0", "tree-mlm-k0"),
    *("paper-root-k2", "paper-mlm-k2", "paper-root-k4", "paper-mlm-k4"),
)
"""Both questions at three filter levels; beside the first level a twin with a ROOT token, and the pre-norm models."""


def study_page(study: Study) -> Findings:
    """Return the claims and sections of the page."""
    asked = groups(study.runs)
    measured = {group.slug: [measure(study, group, run) for run in group.runs] for group in asked}
    everyone = [m for members in measured.values() for m in members]
    claims = [claim for m in everyone for claim in answer_claims(m)]
    mechanism = [claim for slug, members in measured.items() for m in members for claim in mechanism_claims(study, m, slug)]
    pair = twins(everyone)
    decided = token_claims(study, pair, mechanism)
    sections = []
    if everyone:
        figures = (divergence_figure(everyone), accuracy_figure(everyone))
        sections.append(Section("answers", "Which oracle does every model become?", _answers_text(), figures))
    if pair is not None:
        figure = token_figure(study, *pair)
        sections.append(
            Section("token", "What is the ROOT token's doing?", _token_text(pair[0].run.name, pair[1].run.name), (figure,))
        )
    for group in asked:
        members = measured[group.slug]
        title = f"{group.heading}, filter level {group.runs[0].config.process.filter_level}: how it is computed"
        names = listed([f"`{run.name}`" for run in group.runs])
        text = (f"{names}, on the same sequences and pairs of sequences.", *_mechanism_text(bool(members[0].messages)))
        sections.append(Section(group.slug, title, text, tuple(mechanism_figures(study, group, members))))
    others = [run.name for run in study.runs if run.config.objective.task not in QUESTIONS]
    return [*decided, *claims, *mechanism], [
        *sections,
        *left_out(others, "asked for the next leaf, which the paper does not ask"),
    ]


def _answers_text() -> tuple[str, ...]:
    return (
        "Models whose names begin with `paper` are built as the paper's are: a norm after every addition, sinusoidal positions, "
        "width 128, one head, four blocks; the root is read from the final tokens of all leaves side by side. Three things "
        "differ: their MLPs are 256 wide and not 2048, there is no dropout, and they learn from exact posteriors, which have the "
        "same optimum as sampled symbols and less noise. Models whose names begin with `tree` are the pre-norm models of the "
        "other pages.",
        "Each model is held against exact belief propagation of every filter level, in both directions of the divergence.",
    )


def _token_text(without: str, twin: str) -> tuple[str, ...]:
    return (
        f"The pre-norm root model fails most of what is asked of its mechanism. It differs from the paper's in many ways; "
        f"`{twin}` differs from `{without}` in one: a ROOT token after the leaves, where the answer is read, instead of a "
        "read-out of all final tokens. A failure counts as the token's where the twin fails, the model without it passes, and "
        "the difference on the same sequences has an interval above 0.",
    )


def _mechanism_text(tested: bool) -> tuple[str, ...]:
    if not tested:
        return ("Where the construction is not at home, on filtered data, only attention is shown.",)
    return (
        "Messages are written, and erased, at the leaves below their node, after as many blocks as the node is levels above the "
        "leaves: where the paper's construction has them. Written: the model is to answer what exact inference says with another "
        "sequence's message. An edit that only destroys the old message moves the answer there too; the scale is set so that "
        "exact inference without any message is 0. Conditional means are fitted without the model's answers, and are what is "
        "judged; subspaces learned by gradient on other pairs stand beside them for root models.",
        "Attention patterns are replaced in all blocks at once, leaf to leaf; what a ROOT token attends to stays. Answers near "
        "the exact ones are not enough, for the next oracle is near them too: a model keeps its answers where it still follows "
        "the oracle of its data, in both directions of the divergence.",
    )


PAGE = Page(
    title="Does the paper's own architecture do the same?",
    lead="Post-norm encoders built as the paper's are held against exact inference and against the pre-norm models of the other "
    "pages; a twin with a ROOT token says what that token changes.",
    runs=RUNS,
    family="tree",
    study=study_page,
    why_not=only("studies models asked for a masked leaf or the root", asked(*QUESTIONS)),
    opening=Opening(
        telling="fig-divergence",
        result=(
            Said(
                "Encoders built as the paper's give the exact posterior of the root at filter levels 0, 2 and 4; "
                "of masked leaves they miss it at level 0.",
                {
                    "holds": ("paper-root-k0-exact", "paper-root-k2-exact", "paper-root-k4-exact"),
                    "fails": ("paper-mlm-k0-exact",),
                },
            ),
            Said(
                "That root models use messages where the construction has them is not supported.",
                {
                    "fails": ("paper-root-k0-used", "paper-root-k0-query-used", "tree-root-k0-used"),
                },
            ),
        ),
        wing="trees",
        papers=("Garnier-Brun et al. 2025",),
    ),
)
