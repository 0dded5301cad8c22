"""The exact posterior of a document's topics where its proportions can be listed: every integral over them is a finite sum.

With c_g words of class g and psi_g(t) = P(word of that class | topic t), all that is asked for is a ratio of expectations

    P(words)           = E prod_g (psi_g . theta)^c_g
    E[theta_t | words] = E theta_t prod_g (psi_g . theta)^c_g / P(words)
    P(z_i = t | words) = E psi_g(t) theta_t / (psi_g . theta) prod_g (psi_g . theta)^c_g / P(words)      where w_i is of class g

over the proportions theta. Where theta ~ Dirichlet(alpha), all are polynomials in theta, of degree n + 2 at most (the variance)
for n words, and the list is Gauss's rule, which has the same expectation: see `simplex`. Expanding the product over all vectors
of topic counts instead is the dynamic programme that `enumeration` spells out; the sum over proportions has fewer terms, and
the same ones for every document, so that a batch is a product of matrices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from mechbp.brief import Brief
from mechbp.processes.topics.posterior import CountBeliefs
from mechbp.processes.topics.words import WordClasses

CHUNK = 2**17
"""Documents times proportions that are worked on at once, so that they stay in cache."""


@dataclass(frozen=True, eq=False, repr=False)
class ListedProportions(Brief):
    """Proportions of topics and their prior weights."""

    theta: Float64[np.ndarray, "topic node"]
    weight: Float64[np.ndarray, " node"]
    """Above 0, sums to 1."""


def listed_posterior(
    listed: ListedProportions, classes: WordClasses, counts: Float64[np.ndarray, "n class"]
) -> CountBeliefs:  # fmt: skip
    """Return the posterior by summation over the proportions listed."""
    theta = listed.theta
    mix = classes.likelihood @ theta
    excluded = mix == 0
    log_mix = np.log(np.where(excluded, 1.0, mix))
    log_weight = np.log(listed.weight)
    odds = np.divide(1.0, mix, out=np.zeros_like(mix), where=~excluded)
    moments = np.concatenate([theta, theta**2]).T
    ambiguous = np.flatnonzero((classes.likelihood > 0).sum(axis=1) > 1)
    expected = np.empty((len(counts), moments.shape[1]))
    log_evidence = np.empty(len(counts))
    # A class of one topic leaves no doubt: its row is 0 but for a 1 already.
    responsibilities = np.tile(classes.likelihood, (len(counts), 1, 1))
    step = max(1, CHUNK // len(log_weight))
    for rows in (slice(i, i + step) for i in range(0, len(counts), step)):
        share = counts[rows] @ log_mix
        share += log_weight
        if excluded.any():
            share[counts[rows] @ excluded > 0] = -np.inf
        top = share.max(axis=1, keepdims=True)
        np.exp(np.subtract(share, np.maximum(top, np.finfo(float).min), out=share), out=share)
        total = share.sum(axis=1, keepdims=True)
        share /= np.maximum(total, np.finfo(float).tiny)  # 0 only where all is excluded
        log_evidence[rows] = np.log(np.where(total > 0, total, 1.0))[:, 0] + top[:, 0]
        expected[rows] = share @ moments
        for g in ambiguous:
            responsibilities[rows, g] = (share * odds[g]) @ theta.T * classes.likelihood[g]
    mean, square = np.split(expected, 2, axis=1)
    return CountBeliefs(mean, np.maximum(square - mean**2, 0.0), log_evidence, responsibilities)
