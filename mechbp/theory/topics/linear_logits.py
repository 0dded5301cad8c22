"""The least cross-entropy with logits linear in the histogram: what uniform attention and a block matrix can reach.

Logit of topic t: c n_t / (n + markers), c the contrast. The exact answer needs ln(alpha + n_t), so a gap to the floor remains
that no training closes. Per selected position, with x the histogram,

    CE(n, c) = ln v + E[ln Z] - c E[x of the target's topic]      Z = sum over topics of e^(c x_t).

E[ln Z] has no closed form, but E[e^(-s Z)] has: counts are Dirichlet-multinomial, weights alpha (alpha+1) .. (alpha+k-1) / k!
per topic conditioned on the sum, so it is a T-fold convolution of sequences of length n + 1, and by Frullani's integral

    ln Z = integral over s > 0 of (e^-s - e^(-s Z)) / s ds.

The integrand in ln s is analytic and dies off at both ends, where the trapezoidal rule converges geometrically.
(Source: plain derivation.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import gammaln

from mechbp.theory.topics.floors import LdaCorpus

STEP = 0.3
"""Grid of ln s; halving it moves E[ln Z] by less than 1e-12."""
TAILS = (-32.0, 3.7)
"""Beyond these ln(s Z) the integrand is below 1e-13."""
NEGLIGIBLE = 1e-9
"""Share of selected positions that may be left out for seeing an unlikely number of words."""


@dataclass(frozen=True)
class LinearLogits:
    """The best block matrix for cross-entropy."""

    contrast: float
    """Entry of the own topic less that of another."""
    ce_nats: float
    """Cross-entropy per selected position."""


def best_linear_logits(corpus: LdaCorpus, markers: int = 2) -> LinearLogits:
    """Return the contrast of least cross-entropy; `markers` is the number of START and END keys in the histogram.

    The contrast is exact to about 1e-5, the loss to 1e-8: it is flat there.
    """
    found: Any = minimize_scalar(lambda contrast: linear_ce(corpus, float(contrast), markers), bracket=(3.0, 6.0), tol=1e-6)
    return LinearLogits(float(found.x), float(found.fun))


def linear_ce(corpus: LdaCorpus, contrast: float, markers: int = 2) -> float:
    """Return the cross-entropy in nats per selected position at a given contrast."""
    lengths, share = corpus.visible_lengths()
    kept = _most_likely(share)
    values = np.array([linear_ce_at(corpus, contrast, int(n), markers) for n in lengths[kept]])
    return float(share[kept] @ values / share[kept].sum())


def linear_ce_at(corpus: LdaCorpus, contrast: float, visible: int, markers: int = 2) -> float:
    """Return the same where `visible` words are visible."""
    keys = max(visible + markers, 1)
    own = visible * (corpus.alpha + 1) / (corpus.concentration + 1) / keys
    return float(np.log(corpus.words_per_topic) + _mean_log_sum(corpus, contrast / keys, visible) - contrast * own)


def _mean_log_sum(corpus: LdaCorpus, per_word: float, visible: int) -> float:
    """E[ln sum_t e^(per_word n_t)] over the counts of `visible` words."""
    count = np.arange(visible + 1)
    log_weight = gammaln(corpus.alpha + count) - gammaln(corpus.alpha) - gammaln(count + 1)
    term = np.exp(per_word * count)
    least, most = corpus.n_topics * term.min(), corpus.n_topics * term.max()
    log_s = np.arange(TAILS[0] - np.log(most), TAILS[1] - min(np.log(least), 0.0), STEP)
    # Weights are at most 1 for alpha <= 1 and grow as k^(alpha - 1) above: no scaling is needed for any length of interest.
    rows = np.exp(log_weight - np.exp(log_s)[:, None] * term)
    normaliser = gammaln(corpus.concentration + visible) - gammaln(corpus.concentration) - gammaln(visible + 1)
    transform = _power(rows, corpus.n_topics)[:, visible] / np.exp(normaliser)
    return float(STEP * (np.exp(-np.exp(log_s)) - transform).sum())


def _power(rows: np.ndarray, exponent: int) -> np.ndarray:
    """Every row convolved with itself `exponent` times, cut to its length, by repeated squaring."""
    length = rows.shape[1]
    size = 1 << (2 * length - 1).bit_length()  # a power of 2 with room for the product
    result = None
    while True:
        if exponent % 2:
            result = rows if result is None else _convolved(result, rows, size)
        exponent //= 2
        if exponent == 0:
            assert result is not None
            return result[:, :length]
        rows = _convolved(rows, rows, size)


def _convolved(first: np.ndarray, second: np.ndarray, size: int) -> np.ndarray:
    product = np.fft.rfft(first, size) * np.fft.rfft(second, size)
    return np.fft.irfft(product, size)[:, : first.shape[1]]


def _most_likely(share: np.ndarray) -> np.ndarray:
    """The fewest entries that hold all but a negligible share."""
    order = np.argsort(share)[::-1]
    return order[: int(np.searchsorted(np.cumsum(share[order]), 1 - NEGLIGIBLE)) + 1]
