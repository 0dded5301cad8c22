"""Claim: a transformer with one block per level and one head can compute belief propagation exactly; here is one, by hand.

No trained run is studied. The page shows what the model is made of, holds it against belief propagation over depths,
vocabularies, filter levels and kinds of evidence, replaces its squares by plain ReLU, and follows one sequence through it.
Then the methods of the suite are asked what is known of this model: where messages can be read, where differences travel, which
slots are used, and who is fooled by circuits planted in it.
Controls: uniform attention, messages of other sequences, the model of another filter level, leaf frequencies, random weights of
the same architecture, and every place where by construction there is nothing to find.
"""

from __future__ import annotations

import numpy as np

from analyses.compiled_bp.accuracy import grammar, study_accuracy, study_relu
from analyses.compiled_bp.construction import study_construction
from analyses.compiled_bp.interchange import study_causal
from analyses.compiled_bp.patching import study_flow
from analyses.compiled_bp.planted import study_plants
from analyses.compiled_bp.probes import study_probes
from analyses.compiled_bp.trace import walk
from mechbp.models.compiled.bp import CompiledBP, compile_bp
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.report.document import Section
from mechbp.report.opening import Opening, Said
from mechbp.study import Findings, Page, Study

EXAMPLE = [3, 2, 1, 0, 2, 4, 4, 2, 3, 0, 1, 3, 2, 2, 0, 1]
"""A sequence of the paper grammar, leaves 5 and 6 masked."""


def study_page(study: Study) -> Findings:
    """Return the claims and sections of the page."""
    compiled = compile_bp(FilteredTree(grammar(4), 4))
    parts = [study_construction(study, compiled), study_accuracy(study), study_relu(study)]
    parts += [part(study, compiled) for part in (study_probes, study_flow, study_causal)]
    parts.append(study_plants(study, compiled.tree))
    claims = [claim for found, _ in parts for claim in found]
    claims.sort(key=lambda claim: claim.id != "compiled-exact")
    construction, *others = (section for _, section in parts)
    return claims, (construction, _walk_section(compiled), *others)


def _walk_section(compiled: CompiledBP) -> Section:
    lines = walk(compiled, np.array(EXAMPLE), leaf=5)
    text = (
        "The token of leaf 5, which is hidden, through the first two blocks. Numbers are read from slots of the running model; "
        '"BP" is the exact message of `tree.beliefs`, divided by its sum.',
        "`" + "\n".join(lines) + "`",
    )
    return Section("walk", "One sequence through two blocks", text)


PAGE = Page(
    title="A transformer that is belief propagation",
    lead="This model was built by hand, so what it computes, where, and what it "
    "reads is known: it is the ground truth on which the methods of the other pages are judged here.",
    runs=(),
    family=None,
    study=study_page,
    opening=Opening(
        telling="fig-compiled-maps",
        result=(
            Said(
                "A transformer built by hand computes belief propagation, one level of the tree per block.",
                {
                    "holds": ("compiled-exact", "compiled-support", "compiled-slots"),
                },
            ),
            Said(
                "Held against it, patching, erasing and writing find what is used; probes also find what nothing reads.",
                {
                    "holds": ("tools-patching", "tools-erasure", "tools-interchange", "planted-probe"),
                },
            ),
        ),
        wing="trees",
        papers=("Garnier-Brun et al. 2025",),
    ),
)
