"""Claim: one layer of attention stores the topics of a topic model in its embedding, its values and its attention, in two stages.

The model is the one that theory describes, so optimum, gradients and floors are known exactly and stand beside every number.
Population runs are trained while the page is made; runs on sampled documents are shipped. Controls: untrained weights, labels at
random, one topic per document, the unigram, the best predictor linear in the histogram, uniform and class-averaged attention.
"""

from __future__ import annotations

from analyses.shared.suitable import only
from analyses.topic_structure.attention import study_attention
from analyses.topic_structure.compensation import study_compensation
from analyses.topic_structure.controls import study_controls
from analyses.topic_structure.documents import is_attention
from analyses.topic_structure.embeddings import study_embeddings
from analyses.topic_structure.overlap import is_overlapping, study_overlap
from analyses.topic_structure.robustness import study_robustness
from analyses.topic_structure.stages import study_stages
from analyses.topic_structure.thresholds import thresholds
from analyses.topic_structure.trained import is_hidden_values, study_trained
from analyses.topic_structure.use import study_use
from analyses.topic_structure.values import study_values
from mechbp.report.opening import Opening, Said
from mechbp.report.parts import left_out
from mechbp.study import Findings, Page, Study

RUNS = (
    "topics-values-ce",
    "topics-values-squared",
    "topics-values-ce-sgd",
    "topics-values-squared-sgd",
    "topics-attention",
    "topics-joint-ce",
    "topics-joint-squared",
    *(f"topics-ring-values-s{seed}" for seed in range(5)),
    *(f"topics-ring-joint-s{seed}" for seed in range(5)),
)


def study_page(study: Study) -> Findings:
    """Return the claims and sections of the page."""
    runs = list(study.runs)
    values = [run for run in runs if is_hidden_values(run)]
    overlapping = [run for run in runs if is_overlapping(run)]
    parts = [study_embeddings(study), study_values(study)]
    if values:
        parts.append(study_trained(study, values))
    parts += [study_stages(study), study_attention(study, runs), study_use(study, runs), study_compensation(study)]
    if overlapping:
        parts.append(study_overlap(study, overlapping))
    parts.append(study_robustness(study))
    claims = [claim for found, _ in parts for claim in found] + study_controls(study)
    others = [run.name for run in runs if not _is_theorys(run)]
    sections = [section for _, section in parts if section is not None]
    return claims, [*sections, *left_out(others, "this page studies theory's one-layer model")]


def _is_theorys(run: Run) -> bool:
    return is_hidden_values(run) or is_overlapping(run) or is_attention(run)


PAGE = Page(
    title="How one layer of attention learns topics",
    lead="Documents mix a few topics; a single layer without residual stream, trained to fill in hidden words, has optima and "
    "gradients that are known in closed form.",
    runs=RUNS,
    family="topics",
    study=study_page,
    why_not=only("studies theory's one-layer model", _is_theorys),
    thresholds=thresholds,
    opening=Opening(
        telling="fig-topics-gram",
        result=(
            Said(
                "Trained from near zero, values take up the topics first and attention later, and both come to "
                "what theory gives in closed form.",
                {
                    "holds": ("topics-embeddings", "topics-stages", "topics-values-sampled", "topics-attention"),
                },
            ),
        ),
        wing="topics",
        papers=("Li et al. 2023",),
    ),
)
