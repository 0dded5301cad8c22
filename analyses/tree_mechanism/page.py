"""Claim: where and how the network computes belief propagation: which messages it holds, where they flow, what attention does.

The headline is causal: messages written into a run, or erased from it, against exact inference with that message replaced or
missing. Beside it, each with its control: linear probes for upward, downward and marginal messages of every ancestor, held out
by sequence; activation patching of pairs that differ in one subtree, and how well gradients estimate it; attention against the
pattern of the paper's construction, with its causal companion, replacing patterns and measuring the loss. Probes and maps
correlate; the others intervene. All of it is on data of the run's own filter level.
"""

from __future__ import annotations

from analyses.tree_mechanism.approximations import study_approximations
from analyses.tree_mechanism.attention import study_attention
from analyses.tree_mechanism.interchange import study_interchange
from analyses.tree_mechanism.patching import study_patching
from analyses.tree_mechanism.probes import study_probes
from mechbp.report.document import Section
from mechbp.study import Findings, Page, Study

RUNS = ("tree-mlm-k0", "tree-root-k0")


def study_page(study: Study) -> Findings:
    """Return the claims and sections of the page."""
    sections, claims = [], []
    for run in study.runs:
        if run.config.objective.task not in ("masked", "root"):
            reason = "probing, patching and attention maps are defined here for models asked at one position, a leaf or ROOT"
            sections.append(Section(f"run-{run.name}", run.name, (), (), "skipped", reason))
            continue
        probe_claims, probe_section, read = study_probes(study, run)
        message_claims, message_section = study_interchange(study, run, read)
        claims += [*message_claims, *probe_claims]
        sections += [message_section, probe_section]
        for part in (study_patching, study_approximations, study_attention):
            part_claims, section = part(study, run)
            claims += part_claims
            sections.append(section)
    return claims, sections


PAGE = Page(
    title="Where and how does the network compute it?",
    lead="Probes say what can be read where; writing a message into a run, and "
    "erasing it, say which of what can be read is used; patching says what flows where, and replacing attention patterns "
    "says what the attention is needed for.",
    runs=RUNS,
    family="tree",
    study=study_page,
    by_run=True,
)
