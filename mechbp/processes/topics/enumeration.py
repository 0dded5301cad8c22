"""The slow twin of the posterior, document by document: a dynamic programme over how many words every topic has.

    f_0(0) = 1,   f_i(c) = sum_t phi[t, w_i] f_{i-1}(c - e_t)
    P(words)           = sum_c f_n(c) prod_t G(alpha_t + c_t) / G(alpha_t)  G(A) / G(A + n)
    E[theta_t | words] = (alpha_t + E[c_t | words]) / (A + n)

where G is the Gamma function. Shares no code with what tests and benchmarks compare with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
from jaxtyping import Float64
from scipy.special import gammaln

from mechbp.brief import Brief
from mechbp.errors import LimitExceeded
from mechbp.processes.topics.topic_model import TopicModel

MAX_STATES = 200_000
"""More vectors of counts are refused before they are listed."""


@dataclass(frozen=True, eq=False, repr=False)
class EnumeratedTopics(Brief):
    """What `TopicBeliefs` holds about one document, but for its positions; all NaN where the words are impossible."""

    counts: Float64[np.ndarray, " topic"]
    """E[number of words drawn from topic t | words]."""
    proportions: Float64[np.ndarray, " topic"]
    predictive: Float64[np.ndarray, " word"]
    log_evidence: float
    """log P(words), nats; -inf where impossible."""


def enumerate_counts(model: TopicModel, words: Sequence[int] | np.ndarray) -> EnumeratedTopics:
    """Return the exact posterior given one document, all of whose words are seen.

    Raises LimitExceeded, with their number, if there are more than MAX_STATES vectors of counts.
    """
    n = len(words)
    n_topics = model.n_topics
    n_states = comb(n + n_topics - 1, n_topics - 1)
    if n_states > MAX_STATES:
        raise LimitExceeded(
            f"enumerate_counts: {n} words and {n_topics} topics have {float(n_states):.1e} vectors of counts; at most "
            f"{MAX_STATES:,} are listed.\nUse TopicModel.beliefs, or fewer words."
        )
    paths, log_scale = _weights_of_counts(model.word_given_topic, words)
    counts = np.indices(paths.shape).reshape(n_topics - 1, -1)
    counts = np.concatenate([counts, n - counts.sum(axis=0, keepdims=True)])
    possible = paths.ravel() > 0
    counts = counts[:, possible]
    alpha = model.alpha[:, None]
    log_weight = np.log(paths.ravel()[possible]) + (gammaln(alpha + counts) - gammaln(alpha)).sum(axis=0)
    top = log_weight.max(initial=-np.inf)
    weight = np.exp(log_weight - top)
    total = weight.sum()
    mean = counts @ weight / total if total else np.full(n_topics, np.nan)
    proportions = (model.alpha + mean) / (model.alpha.sum() + n)
    log_prior = gammaln(model.alpha.sum()) - gammaln(model.alpha.sum() + n)
    log_evidence = float(np.log(total) + top + log_scale + log_prior) if total else -np.inf
    return EnumeratedTopics(mean, proportions, proportions @ model.word_given_topic, log_evidence)


def _weights_of_counts(
    word_given_topic: Float64[np.ndarray, "topic word"], words: Sequence[int] | np.ndarray
) -> tuple[Float64[np.ndarray, "*counts"], float]:
    """f_n [count of topic 0, ..., count of the last topic but one], scaled, and the log of the scale."""
    n_topics = len(word_given_topic)
    paths = np.ones((1,) * (n_topics - 1))
    log_scale = 0.0
    for word in words:
        longer = np.zeros(tuple(size + 1 for size in paths.shape))
        for t in range(n_topics):
            one_more = tuple(slice(1, None) if axis == t else slice(None, -1) for axis in range(n_topics - 1))
            longer[one_more] += word_given_topic[t, word] * paths
        scale = longer.max()
        if scale == 0:
            return longer, 0.0
        paths = longer / scale
        log_scale += float(np.log(scale))
    return paths, log_scale
