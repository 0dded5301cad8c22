"""What the value matrix becomes while attention is uniform: the least-squares map from a histogram to the next word.

With uniform attention the layer reads W p, p the frequencies of types, and should give q, the frequencies of words before
masking. W p = q holds for all documents iff within a row the sums over topics obey two equations. With s and d the mean entries
over the words of the row's own topic and of another one, and c the entry of the MASK column:

    s - d = 1 / (v a)             so that theta of the own topic is passed on and that of no other,
    d S + b / (v a T) + c p0 = 0  so that nothing is left where theta is 0, with S = a + b.

Entries of a row that share a topic are equal in the least-norm solution, and the norm T v d² + 2 d / a + c² + const is least
where c = p0 (T v d + 1/a) / S: with D = S² + T v p0²,

    d = (S / D - 1 / a) / (T v)      s = d + 1 / (v a)      c = p0 / D.

Only the span of the topic weights entered: neither how many topics a document has (short of all) nor their distribution.
(Source: Li, Li and Risteski 2023, the first stage; constants by plain derivation.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from mechbp.errors import InputError
from mechbp.theory.topics.setting import TopicSetting

ValueMatrix = Float64[np.ndarray, "word id"]
"""W^V as [output word, input id]; the last column is MASK."""


@dataclass(frozen=True)
class OptimalValues:
    """The block-constant value matrix: one entry for words of the same topic (the word itself included), of another, and MASK."""

    n_topics: int
    words_per_topic: int
    same: float
    different: float
    mask: float

    @property
    def contrast(self) -> float:
        """Entry of the same topic less that of another: 1 / (v a)."""
        return self.same - self.different

    def matrix(self) -> ValueMatrix:
        """Return the full matrix, outputs in rows."""
        topic = np.repeat(np.arange(self.n_topics), self.words_per_topic)
        words = np.where(topic[:, None] == topic, self.same, self.different)
        return np.hstack([words, np.full((len(topic), 1), self.mask)])


def optimal_values(
    n_topics: int, words_per_topic: int, mask_rate: float = 0.15, keep: float = 0.1, random: float = 0.1
) -> OptimalValues:
    """Return the value matrix of least norm among those of least squared loss, attention uniform and no bias.

    The limit of an L2 penalty that goes to 0 in infinite documents: see `finite_length_values` for the other order.
    Raises InputError where a size or a rate is out of range.
    """
    return setting_values(TopicSetting(n_topics, words_per_topic, mask_rate=mask_rate, keep=keep, random=random))


def setting_values(setting: TopicSetting) -> OptimalValues:
    """Return the same for a setting, which may hide selected positions from attention."""
    shown = setting.genuine + setting.noise
    scale = shown**2 + setting.n_words * setting.masked**2
    different = (shown / scale - 1 / setting.genuine) / setting.n_words
    same = different + 1 / (setting.words_per_topic * setting.genuine)
    return OptimalValues(setting.n_topics, setting.words_per_topic, same, different, setting.masked / scale)


def block_values(setting: TopicSetting) -> OptimalValues:
    """Return plain blocks: a word's topic is spread over its words, and other topics and MASK write nothing."""
    return OptimalValues(setting.n_topics, setting.words_per_topic, 1 / setting.words_per_topic, 0.0, 0.0)


def least_squares_values(setting: TopicSetting) -> ValueMatrix:
    """Return the least-norm solution of W p = q over all sets of topics, by pseudo-inverse."""
    mass = setting.key_mass()
    seen = np.hstack([setting.spread(mass[:, :-1]), mass[:, -1:]])
    wanted = setting.spread(setting.supports() / setting.topics_per_document)
    return wanted.T @ np.linalg.pinv(seen.T, rcond=1e-12)


def finite_length_values(setting: TopicSetting, length: int, penalty: float = 0.0) -> ValueMatrix:
    """Return the exact minimiser of squared loss + penalty * sum of squares for documents of `length` positions.

    The query's own position is a key, so that the histogram holds 1 / length of what it shows and least squares reads it there,
    in directions of variance 1 / length; the penalty per position decides whether that pays. Positions are selected
    independently. With h = (e(own) + sum of the other length - 1 draws) / length, own and other draws independent given the
    topics,

        E[h h'] = (E diag(r) + (n-1) E[r p' + p r' + diag(p)] + (n-1)(n-2) E[p p']) / n²      r: what a selected position shows
        E[y h'] = (E[y own'] + (n-1) E[q p']) / n                                             p: what any position shows

    and W = E[y h'] (E[h h'] + penalty)^-1. All moments follow from E[theta_t theta_s].
    Raises InputError for fewer than 2 positions, a negative penalty, or a setting whose selected positions are no keys.
    """
    if length < 2 or penalty < 0 or setting.keys != "all":
        raise InputError(
            f"finite_length_values: need length >= 2, penalty >= 0 and all positions as keys, "
            f"got {length}, {penalty} and {setting.keys!r}."
        )
    n_words = setting.n_words
    word_products = setting.spread(setting.spread(setting.topic_products()).T)
    mean = np.full(n_words, 1 / n_words)
    any_position = _products(word_products, mean, _shown(setting, selected=False), _shown(setting, selected=False))
    crossed = _products(word_products, mean, _shown(setting, selected=True), _shown(setting, selected=False))
    own_mean = _mean_shown(setting, selected=True)
    any_mean = _mean_shown(setting, selected=False)
    others = length - 1
    second = np.diag(own_mean) + others * (crossed + crossed.T + np.diag(any_mean)) + others * (length - 2) * any_position
    target_own = np.hstack([setting.keep * np.diag(mean), np.full((n_words, 1), setting.hidden / n_words)])
    target_own[:, :-1] += setting.random / n_words**2
    target_any = np.hstack([setting.genuine * word_products, np.full((n_words, 1), setting.masked / n_words)])
    target_any[:, :-1] += setting.noise / n_words**2
    inverse = np.linalg.pinv(second / length**2 + penalty * np.eye(n_words + 1), rcond=1e-12, hermitian=True)
    return (target_own + others * target_any) / length @ inverse


def _shown(setting: TopicSetting, selected: bool) -> tuple[float, float, float]:
    """Shares of the word drawn, of a random word and of MASK, at a selected or at any position."""
    if selected:
        return setting.keep, setting.random, setting.hidden
    return setting.genuine, setting.noise, setting.masked


def _mean_shown(setting: TopicSetting, selected: bool) -> np.ndarray:
    genuine, noise, masked = _shown(setting, selected)
    return np.append(np.full(setting.n_words, (genuine + noise) / setting.n_words), masked)


def _products(words: np.ndarray, mean: np.ndarray, first: tuple[float, ...], second: tuple[float, ...]) -> np.ndarray:
    """E[f g'] for f = first[0] q + first[1] / V, with first[2] appended, and g alike; `words` is E[q q'] and `mean` E[q]."""
    n = len(mean)
    found = np.empty((n + 1, n + 1))
    found[:n, :n] = first[0] * second[0] * words + (first[0] * second[1] + first[1] * second[0]) / n * mean[:, None]
    found[:n, :n] += first[1] * second[1] / n**2
    found[:n, n] = (first[0] * mean + first[1] / n) * second[2]
    found[n, :n] = (second[0] * mean + second[1] / n) * first[2]
    found[n, n] = first[2] * second[2]
    return found
