"""The exact posterior of a document's topics given its words, for topics that share no word.

With n_t words of topic t and n in all, theta | words ~ Dirichlet(alpha + n_t), so that with A = sum_t alpha_t

    E theta_t = (alpha_t + n_t) / (A + n)
    log P(words) = sum_i log phi[t(w_i), w_i] + log G(A) - log G(A + n) + sum_t [log G(alpha_t + n_t) - log G(alpha_t)]

where G is the Gamma function. Everything is a function of the counts, so that the order of the words does not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np
from jaxtyping import Bool, Float64
from scipy.special import gammaln

from mechbp.brief import Brief
from mechbp.errors import ImpossibleEvidence
from mechbp.processes.topics.documents import Evidence
from mechbp.processes.topics.words import WordClasses


@dataclass(frozen=True, eq=False, repr=False)
class TopicBeliefs(Brief):
    """What is known about documents once some of their words are seen."""

    proportions: Float64[np.ndarray, "n topic"]
    """E[theta | seen words], which is also P(topic of a word that is not seen = t | seen words)."""
    variance: Float64[np.ndarray, "n topic"]
    """Var[theta | seen words]."""
    predictive: Float64[np.ndarray, "n word"]
    """P(a word that is not seen = w | seen words): the next word, or a hidden one."""
    log_evidence: Float64[np.ndarray, " n"]
    """log P(seen words), in their order; nats."""
    make_assignments: Callable[[], Float64[np.ndarray, "n length topic"]] = field(repr=False)

    @cached_property
    def assignments(self) -> Float64[np.ndarray, "n length topic"]:
        """P(z_i = t | seen words); at a position that is not seen, the row of `proportions`. Large, so made when asked for."""
        return self.make_assignments()


@dataclass(frozen=True, eq=False, repr=False)
class CountBeliefs(Brief):
    """What the counts of words say, whatever their order."""

    proportions: Float64[np.ndarray, "n topic"]
    variance: Float64[np.ndarray, "n topic"]
    log_evidence: Float64[np.ndarray, " n"]
    """log P(words), but for the factors of `WordClasses.log_factor`; nats, -inf where impossible."""
    responsibilities: Float64[np.ndarray, "n class topic"]
    """P(topic | seen words, and a word of the class, one of those seen)."""


def disjoint_posterior(
    alpha: Float64[np.ndarray, " topic"], classes: WordClasses, counts: Float64[np.ndarray, "n class"]
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
    evidence: Evidence,
    classes: WordClasses,
    posterior: Callable[[Float64[np.ndarray, "distinct class"]], CountBeliefs],
    word_given_topic: Float64[np.ndarray, "topic word"],
    where: str,
) -> TopicBeliefs:
    """Return what `posterior` says of the counts, document by document and position by position.

    Raises ImpossibleEvidence, in the name of `where`, for a word that no topic uses, or words that exclude each other.
    """
    given_counts = posterior(classes.counts(evidence.histogram))
    unused = (evidence.histogram[:, classes.of_word < 0] > 0).sum(axis=1) > 0
    row = evidence.row
    refuse_impossible((unused | np.isneginf(given_counts.log_evidence))[row], where)
    return TopicBeliefs(
        proportions=given_counts.proportions[row],
        variance=given_counts.variance[row],
        predictive=(given_counts.proportions @ word_given_topic)[row],
        log_evidence=(given_counts.log_evidence + evidence.histogram @ classes.log_factor)[row],
        make_assignments=partial(_assignments, evidence, classes, given_counts),
    )


def _assignments(evidence: Evidence, classes: WordClasses, given_counts: CountBeliefs) -> Float64[np.ndarray, "n length topic"]:
    """The row of the word's class at every position, of the proportions where no word is seen."""
    table = np.concatenate([given_counts.responsibilities, given_counts.proportions[:, None]], axis=1)
    which = np.append(classes.of_word, len(classes.likelihood))[evidence.words]
    at = evidence.row[:, None] * table.shape[1] + which
    return table.reshape(-1, table.shape[2]).take(at, axis=0)


def refuse_impossible(impossible: Bool[np.ndarray, " n"], where: str) -> None:
    """Raise ImpossibleEvidence, naming the first such document, if any."""
    if impossible.any():
        example = int(np.flatnonzero(impossible)[0])
        raise ImpossibleEvidence(
            f"{where}: the words of example {example} have probability 0 under this process "
            f"({int(impossible.sum())} of {len(impossible)} examples).\nRemove these examples, or mask the offending words.",
            example=example,
        )
