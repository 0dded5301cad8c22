"""Do words attend more to words that share a topic with them, head by head, than to others as far away and as frequent?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float64, Int
from numpy.typing import NDArray

from analyses.topic_text.comparison import (
    OWN,
    SCRAMBLED,
    SHUFFLED,
    TRAINED,
    Comparison,
    Pairs,
    compare_over_fits,
    sharing,
    weights_of,
)
from analyses.topic_text.corpus import NO_WORD, PASSAGE, Passages
from analyses.topic_text.encoder import Encoder
from analyses.topic_text.material import BANDS, THRESHOLDS, Material
from mechbp.hooks import capture, to_array
from mechbp.methods.attention.patterns import pattern_hooks
from mechbp.methods.statistics.matched_pairs import CrossedResampling, matched_weights
from mechbp.study import Study

ATTENTION_THRESHOLDS = THRESHOLDS[:4]
"""Above the last of them too few pairs of words are left in a passage."""
MAIN = 0.5
"""Threshold of what is shown head by head and by distance: a word has one topic or none."""
EXACT = 16
"""Distances up to this one are matched each by itself."""
STEP = 8
"""Farther ones are matched within so many positions."""
DISTANCES = (1, 2, 4, 8, 16, 32, 64, PASSAGE)
"""Ends of the bands of distance that are shown: from each up to but without the next."""
BATCH = 4


@dataclass(frozen=True, eq=False)
class Positions:
    """Ordered pairs of positions in passages at which different words with topics stand."""

    passage: Int[np.ndarray, " pair"]
    query: Int[np.ndarray, " pair"]
    key: Int[np.ndarray, " pair"]


@dataclass(frozen=True, eq=False)
class Measured:
    """Attention in some passages, in one encoder."""

    n_passages: int
    n_pairs: int
    compared: Comparison
    """Mean over heads."""
    heads: dict[str, Float64[np.ndarray, "fit draw head"]]
    """Case -> ratio of mean attention, same over different topics, at MAIN."""
    by_distance: dict[str, Float64[np.ndarray, "fit draw band"]]
    """Case -> the ratio among pairs within a band of distance, mean over heads, at MAIN."""
    topical: Float64[np.ndarray, " head"]
    """The ratio, mean over fits, in the even passages."""


@dataclass(frozen=True, eq=False)
class AttentionResults:
    """Attention from words to words of the same topic and of different topics."""

    n_passages: int
    n_pairs: int
    n_passages_fitted: int
    n_passages_scrambled: int
    chosen: Passages
    """The unseen passages measured; the even ones alone decide which heads are the topical ones."""
    unseen: Comparison
    """Mean over heads, in articles that topics were not fitted on."""
    fitted: Comparison
    """The same in articles that they were fitted on, trained encoder only."""
    heads: dict[str, Float64[np.ndarray, "fit draw layer head"]]
    by_distance: dict[str, Float64[np.ndarray, "fit draw band"]]
    topical: Float64[np.ndarray, "layer head"]


def study_attention(study: Study, material: Material) -> AttentionResults:
    """Compare attention in passages of unseen articles, in the scrambled encoder, and in passages of articles fitted."""
    draw = study.rng("attention")
    resamples = study.size(200, 60)
    chosen = sample(material.unseen, study.size(200, 16), draw)
    seen = sample(material.fitted, study.size(48, 4), draw)
    some = chosen[np.arange(min(study.size(60, 8), len(chosen)))]
    study.stage("attention")
    own = measure(material.encoder, chosen, material, OWN, draw, resamples)
    study.stage("attention with scrambled weights")
    control = measure(material.scrambled, some, material, (SCRAMBLED,), draw, resamples)
    study.stage("attention in fitted articles")
    fitted = measure(material.encoder, seen, material, (TRAINED,), draw, resamples)
    layers = material.encoder.model.cfg.n_layers
    return AttentionResults(
        n_passages=own.n_passages,
        n_pairs=own.n_pairs,
        n_passages_fitted=fitted.n_passages,
        n_passages_scrambled=control.n_passages,
        chosen=chosen,
        unseen=own.compared.beside(control.compared),
        fitted=fitted.compared,
        heads={case: ratios.reshape(*ratios.shape[:2], layers, -1) for case, ratios in (own.heads | control.heads).items()},
        by_distance=own.by_distance | control.by_distance,
        topical=own.topical.reshape(layers, -1),
    )


def measure(
    encoder: Encoder, passages: Passages, material: Material, cases: Sequence[str], rng: np.random.Generator, resamples: int
) -> Measured:
    """Compare attention between all pairs of positions of the passages; resamples draw passages and words."""
    positions = word_positions(passages)
    values = attention_between(encoder, passages, positions)
    by_head = position_pairs(passages, positions, material, values, rng, resamples)
    averaged = replace(by_head, values=values.mean(axis=1, keepdims=True))
    band = band_of(np.abs(positions.key - positions.query))
    heads, by_distance = main_ratios(by_head, averaged, band, material, cases)
    return Measured(
        n_passages=len(passages),
        n_pairs=len(positions.query),
        compared=compare_over_fits(averaged, material, ATTENTION_THRESHOLDS, cases),
        heads=heads,
        by_distance=by_distance,
        topical=topical_heads(by_head, material, positions.passage % 2 == 0),
    )


def sample(passages: Passages, most: int, rng: np.random.Generator) -> Passages:
    """Return at most so many of the passages."""
    return passages[rng.permutation(len(passages))[:most]]


def word_positions(passages: Passages) -> Positions:
    """Return every ordered pair of positions of a passage at which two different words stand."""
    is_word = passages.words != NO_WORD
    other = passages.words[:, :, None] != passages.words[:, None, :]
    return Positions(*np.nonzero(is_word[:, :, None] & is_word[:, None, :] & other))


def attention_between(encoder: Encoder, passages: Passages, positions: Positions) -> Float[np.ndarray, "pair head"]:
    """Return the attention of each pair's query to its key, heads of all layers in order, times the number of keys.

    Attention that is spread evenly is 1.
    """
    hooks = pattern_hooks(encoder.model)
    found = []
    for start in range(0, len(passages), BATCH):
        here = (positions.passage >= start) & (positions.passage < start + BATCH)
        where = (positions.passage[here] - start, slice(None), positions.query[here], positions.key[here])
        patterns = capture(encoder.model, passages.tokens[start : start + BATCH], hooks)
        found.append(np.concatenate([to_array(patterns[name])[where] for name in hooks], axis=1))
    return np.concatenate(found) * passages.tokens.shape[1]


def distance_cells(signed: Int[np.ndarray, " pair"]) -> Int[np.ndarray, " pair"]:
    """Number signed distances: each by itself up to EXACT, within STEP positions beyond; before and after are told apart."""
    far = np.abs(signed)
    step = np.where(far <= EXACT, far, EXACT + 1 + (far - EXACT - 1) // STEP)
    return 2 * step + (signed > 0)


def band_of(distance: Int[np.ndarray, " pair"]) -> Int[np.ndarray, " pair"]:
    """Number the band of DISTANCES in which a distance lies."""
    return np.searchsorted(DISTANCES, distance, side="right") - 1


def position_pairs(
    passages: Passages,
    positions: Positions,
    material: Material,
    values: NDArray,
    rng: np.random.Generator,
    resamples: int,
) -> Pairs:
    """Return pairs of positions, matched by signed distance and by the bands of both words' frequencies."""
    first, second = (passages.words[positions.passage, at] for at in (positions.query, positions.key))
    signed = positions.key - positions.query
    band = material.frequency_band
    frequencies = band[first] * BANDS + band[second]
    resampling = CrossedResampling.draw((len(passages.vocabulary), len(passages)), resamples, rng)
    return Pairs(
        first,
        second,
        cells=distance_cells(signed) * BANDS**2 + frequencies,
        coarse=band_of(np.abs(signed)) * BANDS + band[second],
        members=((1, positions.passage), (0, first), (0, second)),
        resampling=resampling,
        values=values,
    )


def main_ratios(
    by_head: Pairs, averaged: Pairs, band: Int[np.ndarray, " pair"], material: Material, cases: Sequence[str]
) -> tuple[dict[str, Float64[np.ndarray, "fit draw head"]], dict[str, Float64[np.ndarray, "fit draw band"]]]:
    """Return, case by case, the ratio at MAIN of every head, and of the mean over heads within every band of distance."""
    bands = range(len(DISTANCES) - 1)
    heads, distances = [], []
    for fit, control in zip(material.fits, material.shuffled, strict=True):
        (own,), (other,) = (sharing(one, by_head, [MAIN]) for one in (fit, control))
        kinds = {case: other if case == SHUFFLED else own for case in cases}
        heads.append(by_head.contrasts({case: weights_of(case, kind, by_head.cells) for case, kind in kinds.items()}))
        within = {
            (case, one): weights_of(case, (same & (band == one), different & (band == one)), averaged.cells)
            for case, (same, different) in kinds.items()
            for one in bands
        }
        distances.append(averaged.contrasts(within))
    by_band = {
        case: np.stack([np.stack([one[case, at].ratio[:, 0] for at in bands], axis=1) for one in distances]) for case in cases
    }
    return {case: np.stack([one[case].ratio for one in heads]) for case in cases}, by_band


def topical_heads(pairs: Pairs, material: Material, counted: NDArray[np.bool_]) -> Float64[np.ndarray, " head"]:
    """Return the ratio of every head at MAIN among some pairs, mean over fits; 1 where they are too few for any fit."""
    found = []
    for fit in material.fits:
        ((same, different),) = sharing(fit, pairs, [MAIN])
        weights = matched_weights(same & counted, different & counted, pairs.cells)
        if weights.kept:
            found.append((weights.same @ pairs.values) / (weights.different @ pairs.values))
    return np.mean(found, axis=0) if found else np.ones(pairs.values.shape[1])
