"""The population loss of one layer of attention over infinite documents, and its exact gradients, in NumPy.

Nothing is sampled: for a set of topics the document is the vector of type frequencies p, and the loss an expectation over sets,
over what a selected position shows (x) and over its word (y):

    A[x, j] = p_j e^S[x, j] / sum over j     out[x] = sum_j A[x, j] U[j]     L = mean over sets of sum_xy pi[x, y] l(out[x], y)
    pi[MASK, y] = (1 - keep - random) q_y    pi[x, y] = keep q_y 1[x = y] + u q_y        u = random / n_ids

with l the squared distance to the one-hot target or cross-entropy. S [query, key] holds the scores and U [key, word] what a key
writes, bias included, since attention sums to 1. p is constant over the words of a topic: numerators and normalisers are summed
within topics once and combined over sets, whose number therefore costs little.
(Source: Li, Li and Risteski 2023, the population objective; gradients by plain derivation.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from einops import rearrange, reduce, repeat
from jaxtyping import Float64

from mechbp.errors import InputError
from mechbp.theory.topics.setting import TopicSetting

LossName = Literal["squared", "ce"]

Scores = Float64[np.ndarray, "query key"]
"""Queries and keys: the words, then MASK."""
Written = Float64[np.ndarray, "key word"]


@dataclass(frozen=True, eq=False)
class PopulationLoss:
    """A loss and what it changes by, per score and per written value."""

    loss: float
    """Per selected position; queries that show an id beyond the words left out."""
    masked_loss: float
    """The part of MASK queries, times their share."""
    score_gradient: Scores
    written_gradient: Written


def population_loss(scores: Scores, written: Written, setting: TopicSetting, loss: LossName = "squared") -> PopulationLoss:
    """Return the loss and its gradients. Raises InputError for wrong sizes or an unknown loss."""
    _check(scores, written, setting, loss)
    size = setting.words_per_topic
    mass = setting.key_mass()
    weight = np.exp(scores - scores.max(axis=1, keepdims=True))
    # A block is a topic, or MASK on its own: p is its share of keys divided by its words.
    numerator = np.concatenate([_block_sums(weight, written, size), weight[:, -1:, None] * written[-1]], axis=1)
    normaliser = np.concatenate([_topic_means(weight[:, :-1], size), weight[:, -1:]], axis=1)
    summed = np.einsum("sb,qb->qs", mass, normaliser)
    out = np.matmul(mass, numerator) / summed[:, :, None]  # [query, support, word]

    joint, marginal = _target_weights(setting)
    value, slope = _pointwise(out, joint, marginal, loss)
    per_query = value.mean(axis=1)

    to_numerator = slope / (summed[:, :, None] * len(mass))
    to_normaliser = -np.einsum("qsw,qsw->qs", to_numerator, out)
    block = np.matmul(mass.T, to_numerator)  # [query, block, word]
    total = np.einsum("sb,qs->qb", mass, to_normaliser)
    spread = repeat(block[:, :-1], "query topic out -> query (topic word) out", word=size) / size
    to_weight = np.empty_like(scores)
    to_weight[:, :-1] = np.einsum("qkw,kw->qk", spread, written[:-1])
    to_weight[:, :-1] += repeat(total[:, :-1], "query topic -> query (topic word)", word=size) / size
    to_weight[:, -1] = block[:, -1] @ written[-1] + total[:, -1]
    to_written = np.vstack([np.einsum("qk,qkw->kw", weight[:, :-1], spread), weight[:, -1] @ block[:, -1]])
    return PopulationLoss(float(per_query.sum()), float(per_query[-1]), weight * to_weight, to_written)


def _block_sums(weight: np.ndarray, written: np.ndarray, size: int) -> np.ndarray:
    """Mean over the words of a topic of weight times written value, [query, topic, word]."""
    keys = rearrange(weight[:, :-1], "query (topic key) -> topic query key", key=size)
    values = rearrange(written[:-1], "(topic key) word -> topic key word", key=size)
    return rearrange(np.matmul(keys, values) / size, "topic query word -> query topic word")


def _topic_means(words: np.ndarray, size: int) -> np.ndarray:
    return reduce(words, "query (topic word) -> query topic", "mean", word=size)


def _target_weights(setting: TopicSetting) -> tuple[np.ndarray, np.ndarray]:
    """pi as [query, support, word], and its sum over words."""
    wanted = setting.spread(setting.supports() / setting.topics_per_document)  # q, [support, word]
    n_words = setting.n_words
    rate = np.append(np.full(n_words, setting.random_per_word), setting.hidden)
    joint = rate[:, None, None] * wanted
    words = np.arange(n_words)
    joint[words, :, words] += setting.keep * wanted.T
    return joint, joint.sum(axis=2)


def _pointwise(out: np.ndarray, joint: np.ndarray, marginal: np.ndarray, loss: LossName) -> tuple[np.ndarray, np.ndarray]:
    """sum_y pi l(out, y) as [query, support], and its derivative by the outputs."""
    if loss == "squared":
        value = marginal * (np.square(out).sum(axis=2) + 1) - 2 * (joint * out).sum(axis=2)
        return value, 2 * (marginal[:, :, None] * out - joint)
    top = out.max(axis=2, keepdims=True)
    exponential = np.exp(out - top)
    total = exponential.sum(axis=2, keepdims=True)
    value = marginal * (top + np.log(total))[:, :, 0] - (joint * out).sum(axis=2)
    return value, marginal[:, :, None] * (exponential / total) - joint


def _check(scores: np.ndarray, written: np.ndarray, setting: TopicSetting, loss: str) -> None:
    ids = setting.n_words + 1
    if scores.shape != (ids, ids) or written.shape != (ids, ids - 1):
        raise InputError(
            f"population_loss: need scores [{ids}, {ids}] and written [{ids}, {ids - 1}], words then MASK, "
            f"got {scores.shape} and {written.shape}."
        )
    if loss not in ("squared", "ce"):
        raise InputError(f"population_loss: loss must be squared or ce, got {loss!r:.40}.")
