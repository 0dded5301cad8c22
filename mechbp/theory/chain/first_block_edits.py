"""Change what a one-block model writes and where it looks, and read off what its answers lose.

The stream after the first attention is a sum of table entries, so that a changed table or pattern gives a changed stream in
closed form; the rest of the model runs on it. Every part of the theory of attention becomes a causal test: put the predicted
pattern or the predicted values in place of the model's own, and see what the exact loss says.
(Source: Piotrowski et al. 2025, Eqs. 3-4, for the sum.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from mechbp.brief import Brief
from mechbp.errors import InputError
from mechbp.hooks import HookedModel
from mechbp.processes.chain.words import Words
from mechbp.theory.chain.first_block import OneBlock
from mechbp.theory.chain.prefix_activations import finished_answers, rewritten_answers

STREAM = "blocks.0.hook_resid_mid"


@dataclass(frozen=True, eq=False, repr=False)
class Profile(Brief):
    """Values of one head as mean[m] + factor[m] * shape[z]: one vector per token, longer or shorter by position."""

    mean: Float64[np.ndarray, "position d"]
    factor: Float64[np.ndarray, " position"]
    shape: Float64[np.ndarray, "token d"]
    share: float
    """Share of the variance around the means that this form holds."""

    def values(self, factor: Float64[np.ndarray, " position"] | None = None) -> Float64[np.ndarray, "position token d"]:
        """Return the values, with other lengths if given."""
        chosen = self.factor if factor is None else factor
        return self.mean[:, None] + chosen[:, None, None] * self.shape


def profile(written: Float64[np.ndarray, "position token d"]) -> Profile:
    """Return the least-squares profile of a head's values; factors have mean 1."""
    mean = written.mean(axis=1)
    centred = (written - mean[:, None]).reshape(len(written), -1)
    left, values, right = np.linalg.svd(centred, full_matrices=False)
    factor = left[:, 0] * values[0]
    scale = factor.mean()
    shape = (right[0] * scale).reshape(written.shape[1:])
    return Profile(mean, factor / scale, shape, float(values[0] ** 2 / np.square(values).sum()))


def predicted_lengths(found: Profile, predicted: Float64[np.ndarray, " known"]) -> Float64[np.ndarray, " position"]:
    """Return factors in the predicted proportions, scaled by least squares; positions beyond keep their own."""
    known = len(predicted)
    if not 1 <= known <= len(found.factor):
        raise InputError(f"predicted_lengths: need 1..{len(found.factor)} predictions, got {known}.")
    own = found.factor[:known]
    scale = (predicted * own).sum() / np.square(predicted).sum()
    return np.append(scale * predicted, found.factor[known:])


def with_values(
    block: OneBlock,
    written: Sequence[Float64[np.ndarray, "position token d"]] | Float64[np.ndarray, "head position token d"],
) -> OneBlock:
    """Return the tables with what every head writes replaced."""
    if np.shape(written) != block.written.shape:
        raise InputError(
            f"with_values: need {list(block.written.shape)} [head, position, token, d], got {list(np.shape(written))}."
        )
    return replace(block, written=np.stack(list(written)))


def answers_under(
    model: HookedModel, words: Words, block: OneBlock, pattern: Float64[np.ndarray, "head destination source"]
) -> Float64[np.ndarray, "prefix token"]:
    """Return the model's probabilities after every prefix if its first attention had these tables and this pattern.

    Rows of the pattern need not sum to 1. Raises InputError where pattern and tables differ in heads or positions.
    """
    heads, positions = block.written.shape[:2]
    length = words.tokens.shape[1]
    if pattern.shape != (heads, length, length) or positions != length:
        raise InputError(
            f"answers_under: need a pattern [{heads}, {length}, {length}] and tables of {length} positions, got "
            f"{list(pattern.shape)} and {positions}."
        )

    if model.cfg.n_layers == 1:  # no later attention mixes positions, so that every prefix can be finished on its own
        return finished_answers(model, STREAM, block.after_prefixes(words, pattern))

    def stream(tokens: np.ndarray) -> np.ndarray:
        return block.after_attention(tokens, np.broadcast_to(pattern, (len(tokens), *pattern.shape)))

    return rewritten_answers(model, words, STREAM, stream)
