"""How far a one-block model is from the exact answer, and how far from the theory of constrained updates, in a few numbers.

Both distances are exact expectations over all words, so that a model can be followed along training and compared with others: the
theory may describe what training passes on its way and not what it ends at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from mechbp.errors import InputError
from mechbp.hooks import HookedModel
from mechbp.processes.chain.hmm import HiddenMarkovModel
from mechbp.processes.chain.words import Words
from mechbp.theory.chain.constrained_attention import (
    Lags,
    decay_prediction,
    lags_of_heads,
    only_eigenvalue,
    own_decay,
    parity_mass,
    pattern_fit,
    softmax_warp,
)
from mechbp.theory.chain.exact_loss import exact_loss
from mechbp.theory.chain.first_block import one_block, pattern_and_activations
from mechbp.theory.chain.first_block_edits import STREAM, answers_under, with_values
from mechbp.theory.chain.prefix_activations import prefix_answers
from mechbp.theory.chain.prefix_probe import word_probe
from mechbp.theory.chain.substitutes import DECAY, LENGTHS, MEAN, UNIFORM, substitutes


@dataclass(frozen=True)
class TheoryFit:
    """One model, over all words of one length. Shares are of the learnable nats, KL(exact || uniform)."""

    kl_nats: float
    """KL(exact || model), mean per token."""
    missed: float
    """Share missed by the model as it is."""
    missed_mean: float
    """Share missed where attention cannot depend on tokens: the mean pattern in its place."""
    missed_predicted: float
    """Share missed with predicted attention and predicted lengths of values."""
    missed_uniform: float
    """Share missed with uniform attention."""
    law_missed: float
    """1 - R² of the decay law on attention, mean over heads."""
    warp_missed: float
    """1 - R² of the softmax warp."""
    constrained_missed: float
    """1 - R² of the constrained belief in the stream after attention, as fitted on all words."""
    parity: float
    """Least share of a head's off-diagonal attention on lags of its own parity; 1 where heads have all lags."""
    decay: tuple[float, ...]
    """Fall of attention from one own lag to the next, per head, odd lags before even ones."""


def theory_fit(model: HookedModel, words: Words, hmm: HiddenMarkovModel, rng: np.random.Generator) -> TheoryFit:
    """Measure a one-block model. Raises InputError for a model of other depth, or a process that the theory does not cover."""
    if model.cfg.n_layers != 1:
        raise InputError(f"theory_fit: the theory is about one block, got a model of {model.cfg.n_layers}.")
    zeta = only_eigenvalue(hmm)
    pattern, columns = pattern_and_activations(model, words, (STREAM,))
    lags = lags_of_heads(pattern.mean, zeta)
    target = words.of_prefixes(hmm.constrained_beliefs(words.tokens)[:, 1:])
    score = word_probe(columns[STREAM], {"constrained": target}, words, rng=rng, repeats=0)["constrained"]
    block = one_block(model, hmm.vocab_size, words.tokens.shape[1])
    found = substitutes(block, pattern.mean, zeta, lags)

    def missed(name: str) -> float:
        return exact_loss(answers_under(model, words, block, found.patterns[name]), words, hmm).relative

    predicted = answers_under(model, words, with_values(block, found.values[LENGTHS]), found.patterns[DECAY])
    own = exact_loss(prefix_answers(model, words), words, hmm)
    return TheoryFit(
        kl_nats=own.mean_nats,
        missed=own.relative,
        missed_mean=missed(MEAN),
        missed_predicted=exact_loss(predicted, words, hmm).relative,
        missed_uniform=missed(UNIFORM),
        law_missed=_law_missed(pattern.mean, zeta, lags),
        warp_missed=_warp_missed(pattern.mean, zeta, lags),
        constrained_missed=1 - score.r2,
        parity=min(1.0 if reach.step == 1 else parity_mass(p, reach.first % 2) for p, reach in _heads(pattern.mean, lags)),
        decay=tuple(own_decay(p, reach) for p, reach in sorted(_heads(pattern.mean, lags), key=lambda pair: pair[1].first)),
    )


def _heads(pattern: Float64[np.ndarray, "head destination source"], lags: Sequence[Lags]) -> list[tuple[np.ndarray, Lags]]:
    return list(zip(pattern, lags, strict=True))


def _law_missed(pattern: np.ndarray, zeta: float, lags: Sequence[Lags]) -> float:
    fits = [pattern_fit(p, decay_prediction(p, zeta, reach), reach) for p, reach in _heads(pattern, lags)]
    return 1 - float(np.mean([fit.r2 for fit in fits]))


def _warp_missed(pattern: np.ndarray, zeta: float, lags: Sequence[Lags]) -> float:
    fits = [pattern_fit(p, softmax_warp(len(p), zeta, reach), reach) for p, reach in _heads(pattern, lags)]
    return 1 - float(np.mean([fit.r2 for fit in fits]))
