"""Which Gram matrices of embeddings solve the task when only embeddings are trained.

Logits are E p + b with E = W_E W_E'; ids 0..V-1 are the words, V is MASK. They equal q, 0 at MASK, for all documents iff

    mean of E[i, j] over the topic of i - mean over another topic = 1 / (v a)       for every word i and every other topic,
    S s / v + b_noise / (a T v) + p0 E[i, MASK] + b[i] = 0                          s: sum of row i over another topic,
    all topics have one mean in the row of MASK, m, and S m + p0 E[MASK, MASK] + b[MASK] = 0.

Sufficient for any mixture of topics; necessary where documents leave some topic out. All else is free: entries are gauge.
(Source: Li, Li and Risteski 2023, the optimum over embeddings; constants by plain derivation.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from einops import rearrange
from jaxtyping import Float64

from mechbp.errors import InputError
from mechbp.theory.topics.setting import TopicSetting

GramMatrix = Float64[np.ndarray, "id id"]
Bias = Float64[np.ndarray, " id"]


@dataclass(frozen=True)
class GramResidual:
    """Largest violation of each condition, as absolute values."""

    contrast: float
    """Of the gap between the own topic and another one."""
    offset: float
    """Of what is left where the own topic is absent."""
    mask_row: float
    """Of the logit of MASK; 0 where the matrix has no effect on it."""

    @property
    def largest(self) -> float:
        """The largest of the three."""
        return max(self.contrast, self.offset, self.mask_row)


def gram_residual(gram: GramMatrix, bias: Bias, setting: TopicSetting) -> GramResidual:
    """Return how far a symmetric matrix and a bias are from the optimum. Raises InputError for a wrong size or asymmetry."""
    _check(gram, bias, setting)
    n_words = setting.n_words
    scale = setting.words_per_topic
    means = rearrange(gram[:, :n_words], "id (topic word) -> id topic word", word=scale).mean(axis=2)
    topic = np.repeat(np.arange(setting.n_topics), scale)
    own = means[np.arange(n_words), topic]
    other = topic[:, None] != np.arange(setting.n_topics)
    shown = setting.genuine + setting.noise
    gaps = (own[:, None] - means[:n_words] - 1 / (scale * setting.genuine))[other]
    fixed = setting.masked * gram[:n_words, n_words] + bias[:n_words] + setting.noise / (setting.genuine * n_words)
    left = (shown * means[:n_words] + fixed[:, None])[other]
    at_mask = shown * means[n_words] + setting.masked * gram[n_words, n_words] + bias[n_words]
    return GramResidual(*(float(np.abs(part).max(initial=0.0)) for part in (gaps, left, at_mask)))


def block_gap(gram: np.ndarray, setting: TopicSetting) -> float:
    """Return the mean entry over pairs of words of one topic, each word with itself included, less that over other pairs."""
    topic = np.repeat(np.arange(setting.n_topics), setting.words_per_topic)
    same = topic[:, None] == topic
    words = gram[: len(topic), : len(topic)]
    return float(words[same].mean() - words[~same].mean())


def gram_loss(gram: GramMatrix, bias: Bias, setting: TopicSetting) -> float:
    """Return the squared loss per selected position, summed over outputs, in infinite documents with uniform attention.

    E|E p + b - e_y|² = E|E p + b - q|² + 1 - E|q|², as y is a draw from q; the last two terms are 1 - 1 / (tau v).
    """
    _check(gram, bias, setting)
    mass = setting.key_mass()
    seen = np.hstack([setting.spread(mass[:, :-1]), mass[:, -1:]])
    wanted = setting.spread(setting.supports() / setting.topics_per_document)
    error = seen @ gram + bias - np.pad(wanted, ((0, 0), (0, 1)))
    return float(np.square(error).sum(axis=1).mean() + 1 - np.square(wanted).sum(axis=1).mean())


def optimal_gram(setting: TopicSetting, rng: np.random.Generator, scale: float = 0.1) -> tuple[GramMatrix, Bias]:
    """Draw a random symmetric matrix and bias that meet all conditions, `scale` the size of what is free.

    Row means over other topics m_i are free but for one mean over every topic, which symmetry asks for: the block of two topics
    has entries m_i + m_j - mean(m) + noise of zero row and column sums, plus 1 / (v a) on the diagonal blocks. The matrix need
    not be positive semi-definite.
    """
    topics = setting.n_topics
    size = setting.words_per_topic
    n_words = setting.n_words
    level = scale * rng.normal()
    row = level + _centred(scale * rng.normal(size=(topics, size)), 1).ravel()
    noise = _centred(_centred(scale * rng.normal(size=(topics, size, topics, size)), 1), 3).reshape(n_words, n_words)
    topic = np.repeat(np.arange(topics), size)
    gram = np.zeros((n_words + 1, n_words + 1))
    gram[:-1, :-1] = (noise + noise.T) / 2 + row[:, None] + row - level
    gram[:-1, :-1] += (topic[:, None] == topic) / (size * setting.genuine)
    to_mask = scale * rng.normal() + _centred(scale * rng.normal(size=(topics, size)), 1).ravel()
    gram[-1, :-1] = to_mask
    gram[:-1, -1] = to_mask
    gram[-1, -1] = scale * rng.normal()
    shown = setting.genuine + setting.noise
    bias = np.empty(n_words + 1)
    bias[:-1] = -(shown * row + setting.noise / (setting.genuine * n_words) + setting.masked * to_mask)
    bias[-1] = -(shown * to_mask.mean() + setting.masked * gram[-1, -1])
    return gram, bias


def _centred(values: np.ndarray, axis: int) -> np.ndarray:
    return values - values.mean(axis=axis, keepdims=True)


def _check(gram: np.ndarray, bias: np.ndarray, setting: TopicSetting) -> None:
    size = setting.n_words + 1
    if gram.shape != (size, size) or bias.shape != (size,):
        raise InputError(
            f"Gram conditions: need [{size}, {size}] and [{size}], words then MASK, got {gram.shape} and {bias.shape}."
        )
    if not np.allclose(gram, gram.T, rtol=0, atol=1e-12):
        raise InputError(f"Gram conditions: the matrix must be symmetric, got |E - E'| up to {np.abs(gram - gram.T).max():.2g}.")
