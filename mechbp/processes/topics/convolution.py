"""Topics that share no word, seen through noise: the posterior of how many shown words are genuine, topic by topic.

A topic with n_t words of probability f shows

    g_t(k) = C(n_t, k) (a f)^k b^(n_t - k) G(alpha_t + k) / G(alpha_t)

for k of them genuine; words of another probability multiply one more such polynomial. With K genuine ones in all and the
convolution c = g_1 * ... * g_T,

    P(shown)           = sum_K c(K) G(A) / G(A + K)
    E[theta_t | shown] = sum_K c_t(K) G(A) / G(A + K + 1) / P(shown),     c_t has g_t(k) (alpha_t + k) in place of g_t(k)

where G is the Gamma function. Summed over t, the numerators of the second line are the first.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int
from scipy.special import gammaln, xlogy

LEAST = np.finfo(float).min


def genuine_posterior(
    word_given_topic: Float64[np.ndarray, "topic word"],
    alpha: Float64[np.ndarray, " topic"],
    histogram: Int[np.ndarray, "n word"],
    genuine: float,
    random: float,
) -> tuple[Float64[np.ndarray, "n topic"], Float64[np.ndarray, " n"]]:
    """Return E theta and the log evidence, -inf where impossible, of words that are genuine with weight `genuine` each.

    `random` is the weight b with which any one word is shown instead. Needs topics that share no word.
    """
    total = alpha.sum()
    n_words = histogram.sum(axis=1)
    # G(alpha_t + k) and 1 / G(A + K) grow and fall like factorials. Dividing the first by tilt^k and multiplying the second by
    # tilt^K changes no sum, and with a tilt close to A + K no term that matters is further than e^-n from the largest.
    log_tilt = np.log(total + n_words / 2)[:, None]
    polynomials, log_evidence = _topic_polynomials(word_given_topic, alpha, histogram, genuine, random, log_tilt)
    per_topic = histogram @ (word_given_topic > 0).T.astype(np.int64)
    # The topics of a document from the most to the least frequent: those at rank j have n / j words at most.
    order = np.argsort(-per_topic, axis=1, kind="stable")
    polynomials = np.take_along_axis(polynomials, order[..., None], axis=1)
    sizes = np.take_along_axis(per_topic, order, axis=1).max(axis=0, initial=0) + 1
    shown = [polynomials[:, j, :size] for j, size in enumerate(sizes)]
    before = [np.ones((len(histogram), 1))]
    for polynomial in shown[:-1]:
        before.append(_convolved(before[-1], polynomial))
    k = np.arange(before[-1].shape[1] + sizes[-1] - 1)
    after, log_scale = _scaled(gammaln(total) - gammaln(total + k + 1) + k * log_tilt)
    log_evidence = log_evidence + log_scale
    weights = np.empty(per_topic.shape)
    for j in reversed(range(len(shown))):
        one_more = shown[j] * (alpha[order[:, j], None] + np.arange(sizes[j]))
        counts = _convolved(before[j], one_more)
        weights[:, j] = (counts * after[:, : counts.shape[1]]).sum(axis=1)
        after = _correlated(after, shown[j])
    evidence = weights.sum(axis=1)
    proportions = np.empty_like(weights)
    np.put_along_axis(proportions, order, weights / np.where(evidence > 0, evidence, 1.0)[:, None], axis=1)
    return proportions, log_evidence + np.log(np.where(evidence > 0, evidence, 1.0))


def _topic_polynomials(
    word_given_topic: np.ndarray, alpha: np.ndarray, histogram: np.ndarray, genuine: float, random: float, log_tilt: np.ndarray
) -> tuple[Float64[np.ndarray, "n topic k"], Float64[np.ndarray, " n"]]:
    """g_t(k) over tilt^k, each scaled to a maximum of 1, and the log of all scales and of words that no topic uses."""
    columns, group = np.unique(word_given_topic.T, axis=0, return_inverse=True)
    counts = histogram @ (group.ravel()[:, None] == np.arange(len(columns))).astype(np.int64)
    largest = (histogram @ (word_given_topic > 0).T.astype(np.int64)).max(initial=0)
    k = np.arange(largest + 1)
    found = np.zeros((len(histogram), len(alpha), largest + 1))
    log_scales = np.zeros(len(histogram))
    for t in range(len(alpha)):
        product = np.ones((len(histogram), 1))
        for g in np.flatnonzero(columns[:, t]):
            polynomial, log_scale = _binomial(counts[:, g], genuine * columns[g, t], random)
            product = _convolved(product, polynomial)
            log_scales += log_scale
        size = min(product.shape[1], largest + 1)  # higher powers are 0: no document has so many words of the topic
        with np.errstate(divide="ignore"):
            log_terms = np.log(product[:, :size]) + gammaln(alpha[t] + k[:size]) - gammaln(alpha[t]) - k[:size] * log_tilt
        found[:, t, :size], log_scale = _scaled(log_terms)
        log_scales += log_scale
    unused = counts[:, ~columns.any(axis=1)].sum(axis=1)
    return found, log_scales + xlogy(unused, random)


def _binomial(
    n: Int[np.ndarray, " n"], genuine: float, random: float
) -> tuple[Float64[np.ndarray, "n k"], Float64[np.ndarray, " n"]]:
    """C(n, k) genuine^k random^(n - k) for every k, scaled to a maximum of 1, and the log of the scale."""
    k = np.arange(n.max(initial=0) + 1)
    rest = n[:, None] - k
    others = np.maximum(rest, 0)
    log_terms = gammaln(n + 1)[:, None] - gammaln(k + 1) - gammaln(others + 1) + xlogy(k, genuine) + xlogy(others, random)
    return _scaled(np.where(rest < 0, -np.inf, log_terms))


def _scaled(log_terms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Exponentials of rows whose maximum is taken out, and the maxima; a row of -inf gives zeros."""
    top = log_terms.max(axis=1)
    return np.exp(log_terms - np.maximum(top, LEAST)[:, None]), top


def _convolved(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """sum_k one[:, K - k] other[:, k] for every K."""
    if one.shape[1] < other.shape[1]:
        one, other = other, one
    length = one.shape[1]
    result = np.zeros((len(one), length + other.shape[1] - 1))
    for k in range(other.shape[1]):
        result[:, k : k + length] += one * other[:, k, None]
    return result


def _correlated(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """sum_k one[:, K + k] other[:, k] for every K that leaves no k out."""
    length = one.shape[1] - other.shape[1] + 1
    result = np.zeros((len(one), length))
    for k in range(other.shape[1]):
        result += one[:, k : k + length] * other[:, k, None]
    return result
