"""The exact posterior of a document's topics given its words, for topics that share no word.

With n_t words of topic t and n in all, theta | words ~ Dirichlet(alpha + n_t), so that with A = sum_t alpha_t

    E theta_t = (alpha_t + n_t) / (A + n)
    log P(words) = sum_i log phi[t(w_i), w_i] + log G(A) - log G(A + n) + sum_t [log G(alpha_t + n_t) - log G(alpha_t)]

where G is the Gamma function. Everything is a function of the counts, so that the order of the words does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int
from scipy.special import gammaln

from mechbp.errors import ImpossibleEvidence
from mechbp.processes.topics.words import WordClasses


@dataclass(frozen=True, eq=False)
class TopicBeliefs:
    """What is known about documents once some of their words are seen."""

    proportions: Float64[np.ndarray, "n topic"]
    """E[theta | seen words], which is also P(topic of a word that is not seen = t | seen words)."""
    variance: Float64[np.ndarray, "n topic"]
    """Var[theta | seen words]."""
    predictive: Float64[np.ndarray, "n word"]
    """P(a word that is not seen = w | seen words): the next word, or a hidden one."""
    log_evidence: Float64[np.ndarray, " n"]
    """log P(seen words), in their order; nats."""
    assignments: Float64[np.ndarray, "n length topic"]
    """P(z_i = t | seen words); at a position that is not seen, the row of `proportions`."""


@dataclass(frozen=True, eq=False)
class CountBeliefs:
    """What the counts of words say, whatever their order."""

    proportions: Float64[np.ndarray, "n topic"]
    variance: Float64[np.ndarray, "n topic"]
    log_evidence: Float64[np.ndarray, " n"]
    """log P(words), but for the factors of `WordClasses.log_factor`; nats."""
    responsibilities: Float64[np.ndarray, "n class topic"]
    """P(topic | seen words, and a word of the class, one of those seen)."""


def disjoint_posterior(
    classes: WordClasses, counts: Float64[np.ndarray, "n class"], alpha: Float64[np.ndarray, " topic"]
) -> CountBeliefs:
    """Return the posterior in closed form; every class must have one topic only."""
    per_topic = counts @ classes.likelihood  # entries are 0 and 1
    n = per_topic.sum(axis=1)
    total = alpha.sum()
    proportions = (alpha + per_topic) / (total + n)[:, None]
    variance = proportions * (1 - proportions) / (total + n + 1)[:, None]
    log_evidence = gammaln(total) - gammaln(total + n) + (gammaln(alpha + per_topic) - gammaln(alpha)).sum(axis=1)
    responsibilities = np.broadcast_to(classes.likelihood, (len(counts), *classes.likelihood.shape))
    return CountBeliefs(proportions, variance, log_evidence, responsibilities)


def topic_beliefs(
    given_counts: CountBeliefs,
    classes: WordClasses,
    histogram: Int[np.ndarray, "n word"],
    words: Int[np.ndarray, "n length"],
    seen: Bool[np.ndarray, "n length"],
    word_given_topic: Float64[np.ndarray, "topic word"],
) -> TopicBeliefs:
    """Return what the counts say, position by position."""
    rows = np.arange(len(words))[:, None]
    assignments = given_counts.responsibilities[rows, np.where(seen, classes.of_word[words], 0)]
    assignments = np.where(seen[..., None], assignments, given_counts.proportions[:, None])
    return TopicBeliefs(
        proportions=given_counts.proportions,
        variance=given_counts.variance,
        predictive=given_counts.proportions @ word_given_topic,
        log_evidence=given_counts.log_evidence + histogram @ classes.log_factor,
        assignments=assignments,
    )


def refuse_impossible(impossible: Bool[np.ndarray, " n"], where: str) -> None:
    """Raise ImpossibleEvidence, naming the first such document, if any."""
    if impossible.any():
        example = int(np.flatnonzero(impossible)[0])
        raise ImpossibleEvidence(
            f"{where}: the words of example {example} have probability 0 under this process "
            f"({int(impossible.sum())} of {len(impossible)} examples).\nRemove these examples, or mask the offending words.",
            example=example,
        )
