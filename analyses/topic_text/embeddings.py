"""Are the embeddings of words that share a topic nearer to each other than those of words that do not?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int

from analyses.topic_text.comparison import OWN, SCRAMBLED, Comparison, Pairs, compare_over_fits
from analyses.topic_text.encoder import Encoder
from analyses.topic_text.material import BANDS, THRESHOLDS, Material, static_embeddings
from mechbp.methods.statistics.matched_pairs import CrossedResampling
from mechbp.study import Study

MEASURES = ("cosine", "dot product")


@dataclass(frozen=True, eq=False)
class EmbeddingResults:
    """Cosine and dot product of the embeddings of same-topic and different-topic pairs of words."""

    n_words: int
    n_pairs: int
    compared: Comparison


def study_embeddings(study: Study, material: Material) -> EmbeddingResults:
    """Compare all pairs of a sample of words, matched by the band of both frequencies; resamples draw words."""
    study.stage("embeddings")
    draw = study.rng("embeddings")
    n_known = len(material.fitted.vocabulary)
    words = draw.choice(n_known, min(study.size(600, 250), n_known), replace=False)
    resampling = CrossedResampling.draw((len(words),), study.size(200, 60), draw)
    own, control = (word_pairs(words, material, encoder, resampling) for encoder in (material.encoder, material.scrambled))
    compared = compare_over_fits(own, material, THRESHOLDS, OWN)
    compared = compared.beside(compare_over_fits(control, material, THRESHOLDS, (SCRAMBLED,)))
    return EmbeddingResults(len(words), len(own.first), compared)


def word_pairs(words: Int[np.ndarray, " word"], material: Material, encoder: Encoder, resampling: CrossedResampling) -> Pairs:
    """Pair each of the words with each other one once, and compare their embeddings in this encoder."""
    first, second = np.triu_indices(len(words), k=1)
    values = similarities(static_embeddings(encoder, material.fitted)[words], first, second)
    low, high = np.sort(material.frequency_band[[words[first], words[second]]], axis=0)
    cells = low * BANDS + high
    return Pairs(words[first], words[second], cells, cells, ((0, first), (0, second)), resampling, values)


def similarities(
    embeddings: Float64[np.ndarray, "word d_model"], first: Int[np.ndarray, " pair"], second: Int[np.ndarray, " pair"]
) -> Float64[np.ndarray, "pair measure"]:
    """Return cosine and dot product of the embeddings of each pair."""
    dots = embeddings @ embeddings.T
    lengths = np.sqrt(np.diag(dots))
    return np.stack([(dots / np.outer(lengths, lengths))[first, second], dots[first, second]], axis=-1)
