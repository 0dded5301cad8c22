"""Checks where the truth is known: the hooked encoder against transformers' own, and the comparison on planted attention."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float64

from analyses.topic_text.attention import MAIN, AttentionResults, Positions, position_pairs, word_positions
from analyses.topic_text.comparison import TRAINED, UNMATCHED, Pairs, sharing, weights_of
from analyses.topic_text.corpus import Passages
from analyses.topic_text.encoder import Encoder, in_float64, reference_outputs
from analyses.topic_text.material import Material
from mechbp.hooks import capture
from mechbp.study import Study

PLANTED = 1.5
"""Ratio planted."""
PASSAGES_COMPARED = 2


@dataclass(frozen=True, eq=False)
class CheckResults:
    """What is found where the truth is known."""

    largest_error: float
    """Of any activation compared with transformers' BertModel, float64."""
    scrambled_error: float
    """The same, had the weights been scrambled in one of the two."""
    found: Float64[np.ndarray, " fit"]
    """Ratio where PLANTED was planted."""
    empty: Float64[np.ndarray, " fit"]
    """Ratio where none was planted."""
    unmatched: Float64[np.ndarray, " fit"]
    """Ratio where none was planted, nothing matched."""
    n_passages: int


def study_checks(study: Study, material: Material, attention: AttentionResults) -> CheckResults:
    """Run both checks on the passages of the attention part."""
    study.stage("checks")
    some = attention.chosen[np.arange(min(PASSAGES_COMPARED, len(attention.chosen)))]
    exact = in_float64(material.encoder)
    truth = activations(exact, some)
    error = largest_error(truth, transformers_activations(exact, some))
    control = largest_error(truth, activations(in_float64(material.scrambled), some))
    positions = word_positions(attention.chosen)
    pairs = position_pairs(
        attention.chosen, positions, material, np.empty((len(positions.query), 0)), study.rng("planted"), resamples=1
    )
    found, empty, unmatched = planted_ratios(pairs, positions, material)
    return CheckResults(error, control, found, empty, unmatched, len(attention.chosen))


def activations(encoder: Encoder, passages: Passages) -> list[torch.Tensor]:
    """Return the embedding, every block's output and every block's pattern from the hooked encoder."""
    layers = range(encoder.model.cfg.n_layers)
    names = ["hook_full_embed", *(f"blocks.{layer}.hook_normalized_resid_post" for layer in layers)]
    names += [f"blocks.{layer}.attn.hook_pattern" for layer in layers]
    captured = capture(encoder.model, passages.tokens, names)
    return [captured[name] for name in names]


def transformers_activations(encoder: Encoder, passages: Passages) -> list[torch.Tensor]:
    """Return the same from transformers' BertModel."""
    states, patterns = reference_outputs(encoder, torch.from_numpy(passages.tokens))
    return [*states, *patterns]


def largest_error(first: list[torch.Tensor], second: list[torch.Tensor]) -> float:
    """Return the largest difference of any two activations that correspond."""
    return max(float((one - other).abs().max()) for one, other in zip(first, second, strict=True))


def planted_ratios(pairs: Pairs, positions: Positions, material: Material) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Plant attention that falls with distance and with the key's frequency, PLANTED times as high within topics; then none.

    Returns the ratio found of each fit where it was planted, where none was, and where none was with nothing matched.
    """
    distance = np.abs(positions.key - positions.query)
    bare = 1 / (1 + distance) / np.sqrt(material.fitted.counts[pairs.second])
    ratios = []
    for fit in material.fits:
        (kinds,) = sharing(fit, pairs, [MAIN])
        planted = np.stack([np.where(kinds[0], PLANTED * bare, bare), bare], axis=1)
        compared = replace(pairs, values=planted).contrasts(
            {way: weights_of(way, kinds, pairs.cells) for way in (TRAINED, UNMATCHED)}
        )
        ratios.append([*compared[TRAINED].ratio[0], compared[UNMATCHED].ratio[0, 1]])
    found, empty, unmatched = np.array(ratios).T
    return found, empty, unmatched
