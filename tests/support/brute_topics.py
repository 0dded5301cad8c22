"""Posteriors of topic models by a plain sum over every assignment of a topic to every position."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.special import gammaln


@dataclass
class Answers:
    evidence: float
    assignments: np.ndarray  # [position, topic]
    proportions: np.ndarray  # [topic]
    variance: np.ndarray  # [topic]


def assignments_of(n_topics, n_positions):
    return np.indices((n_topics,) * n_positions).reshape(n_positions, -1).T  # [state, position]


def dirichlet_prior(alpha):
    def prior(z):
        counts = np.stack([(z == t).sum(axis=1) for t in range(len(alpha))], axis=1)
        rising = gammaln(alpha + counts) - gammaln(alpha)
        return np.exp(rising.sum(axis=1) + gammaln(alpha.sum()) - gammaln(alpha.sum() + z.shape[1]))

    return prior


def support_prior(n_topics, tau):
    def prior(z):
        supports = list(combinations(range(n_topics), tau))
        total = np.zeros(len(z))
        for support in supports:
            total += np.prod([np.where(np.isin(column, support), 1 / tau, 0) for column in z.T], axis=0)
        return total / len(supports)

    return prior


def posterior(weight_given_topic, prior, words):
    """Answers given `words`, None where no word is seen, P(word | topic) being `weight_given_topic[topic, word]`.

    Two positions more, where no word is seen: the topic of the first has the probability E theta, both share topic t with
    probability E theta_t^2.
    """
    n_topics = len(weight_given_topic)
    z = assignments_of(n_topics, len(words) + 2)
    weight = prior(z)
    for i, word in enumerate(words):
        if word is not None:
            weight = weight * weight_given_topic[z[:, i], word]
    evidence = weight.sum()
    share = weight / evidence
    marginals = np.array([[share[column == t].sum() for t in range(n_topics)] for column in z.T])
    squares = np.array([share[(z[:, -1] == t) & (z[:, -2] == t)].sum() for t in range(n_topics)])
    return Answers(evidence, marginals[:-2], marginals[-1], squares - marginals[-1] ** 2)


def random_topics(rng, zeros=True):
    """Words of 2 to 4 topics, 3 to 6 of them, some of probability 0 in some topics, some words proportional to others."""
    n_topics = int(rng.integers(2, 5))
    n_words = int(rng.integers(3, 7))
    table = rng.dirichlet(np.full(n_words, 0.7), size=n_topics) + 1e-3
    if rng.random() < 0.3:
        table[:, 1] = 0.7 * table[:, 0]
    if zeros:
        table *= rng.random(table.shape) < 0.7
        table[np.arange(n_topics), rng.integers(n_words, size=n_topics)] += 0.1
    return table / table.sum(axis=1, keepdims=True)
