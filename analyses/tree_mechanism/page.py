"""Claim: where and how the network computes belief propagation: which messages it holds, where they flow, what attention does.

The headline is causal: messages written into a run, or erased from it, against exact inference with that message replaced or
missing. Beside it, each with its control: linear probes for upward, downward and marginal messages of every ancestor, held out
by sequence; activation patching of pairs that differ in one subtree, and how well gradients estimate it; attention against the
pattern of the paper's construction, with its causal companion, replacing patterns and measuring the loss. Probes and maps
correlate; the others intervene. The tests of messages are repeated over training seeds and under another objective. All of it is
on data of the run's own filter level.
"""

from __future__ import annotations

from analyses.shared.suitable import asked, only
from analyses.tree_mechanism.approximations import study_approximations
from analyses.tree_mechanism.attention import study_attention
from analyses.tree_mechanism.interchange import study_interchange
from analyses.tree_mechanism.message_grid import MessageGrid
from analyses.tree_mechanism.patching import study_patching
from analyses.tree_mechanism.probes import study_probes
from analyses.tree_mechanism.replicates import study_brief, study_replicates
from mechbp.models.runs import Run
from mechbp.report.claim import Claim
from mechbp.report.document import Section
from mechbp.report.opening import Opening, Said
from mechbp.study import Findings, Page, Study

STUDIED = ("tree-mlm-k0", "tree-root-k0")
SEEDS = ("tree-mlm-k0-40k-s1", "tree-mlm-k0-40k-s2")
"""Other training seeds of the first run."""
OBJECTIVES = ("tree-mlm-k0-single",)
"""The same task trained on one hidden leaf per sequence."""
CRITERIA_OF_RUNS = ("message-used", "message-idle")
"""Of the claims about each of these runs by itself, which stand after all others."""
RUNS = (*STUDIED, *SEEDS, *OBJECTIVES)


def study_page(study: Study) -> Findings:
    """Return the claims and sections of the page."""
    sections: list[Section] = []
    claims: list[Claim] = []
    briefly, first = _briefly(study), STUDIED[0]
    grids: dict[str, MessageGrid] = {}
    for run in study.runs:
        if run in briefly:
            continue
        if run.config.objective.task not in ("masked", "root"):
            reason = "probing, patching and attention maps are defined here for models asked at one position, a leaf or ROOT"
            sections.append(Section(f"run-{run.name}", run.name, (), (), "skipped", reason))
            continue
        probe_claims, probe_section, read = study_probes(study, run)
        message_claims, message_section, upward = study_interchange(study, run, read)
        if upward is not None:
            grids[run.name] = upward
        claims += [*message_claims, *probe_claims]
        sections += [message_section, probe_section]
        for part in (study_patching, study_approximations, study_attention):
            part_claims, section = part(study, run)
            claims += part_claims
            sections.append(section)
    if briefly and first in grids:
        grids |= {run.name: study_brief(study, run) for run in briefly}
        same, other = ([name for name in names if name in grids] for names in ((first, *SEEDS), OBJECTIVES))
        part_claims, part_sections = study_replicates(study, grids, same, other)
        own = [claim for claim in part_claims if claim.criterion in CRITERIA_OF_RUNS]
        claims = [*(claim for claim in part_claims if claim not in own), *claims, *own]
        sections = [*part_sections, *sections]
    return claims, sections


def _briefly(study: Study) -> list[Run]:
    """Runs that only repeat the first one's tests of messages; all are studied in full where that one is not studied."""
    if STUDIED[0] not in {run.name for run in study.runs}:
        return []
    return [run for run in study.runs if run.name in (*SEEDS, *OBJECTIVES)]


PAGE = Page(
    title="Where and how does the network compute it?",
    lead="Probes say what can be read where; writing a message into a run, and "
    "erasing it, say which of what can be read is used; patching says what flows where, and replacing attention patterns "
    "says what the attention is needed for.",
    runs=RUNS,
    family="tree",
    study=study_page,
    why_not=only("studies models asked at one position, a leaf or ROOT", asked("masked", "root")),
    opening=Opening(
        telling="fig-tree-mlm-k0-messages",
        result=(
            Said(
                "The masked leaf model writes the upward message m levels up in block m, where it is used in part"
                " and read by one block only.",
                {
                    "holds": ("tree-mlm-k0-probe-order", "tree-mlm-k0-message-idle"),
                    "partly": ("tree-mlm-k0-message-used",),
                },
            ),
            Said(
                "That the root model uses messages there is not supported.",
                {
                    "fails": ("tree-root-k0-message-used",),
                },
            ),
        ),
        wing="trees",
        papers=("Garnier-Brun et al. 2025",),
    ),
)
