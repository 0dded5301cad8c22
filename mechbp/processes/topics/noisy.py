"""The exact posterior where some of the words that a document shows are not its own: under MASK-A every one may be random.

A shown word is genuine with weight a, and with weight b / V any of the V words, whatever the topics. So it has the probability
sum_t (a phi[t, w] + b / V) theta_t, as if the topics used words that way, and everything else is as it was.

Topics that share no word are not summed over the simplex but over the number of genuine words: see `convolution`.

(Source: Li, Li and Risteski 2023 for the noise.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int, Integer

from mechbp.brief import Brief
from mechbp.errors import InputError, LimitExceeded
from mechbp.processes.topics.convolution import genuine_posterior
from mechbp.processes.topics.documents import read_evidence
from mechbp.processes.topics.listed import listed_posterior
from mechbp.processes.topics.masking import MaskRates
from mechbp.processes.topics.posterior import refuse_impossible
from mechbp.processes.topics.supports import SupportMixture
from mechbp.processes.topics.topic_model import TopicModel
from mechbp.processes.topics.words import classes_of

CHUNK = 256
"""Documents convolved at once, so that their polynomials stay in cache."""
MAX_WORDS = 1000
"""Words shown per document, topics that share no word: terms that matter would underflow far beyond."""


@dataclass(frozen=True, eq=False, repr=False)
class NoisyBeliefs(Brief):
    """What is known about documents once some of their words are shown, each of them perhaps not its own."""

    proportions: Float64[np.ndarray, "n topic"]
    """E[theta | shown words]."""
    predictive: Float64[np.ndarray, "n word"]
    """P(the true word of a position that shows nothing = w | shown words)."""
    log_evidence: Float64[np.ndarray, " n"]
    """log P(words shown where they are), a + b being the probability that any is shown; nats."""


def noisy_beliefs(
    process: TopicModel | SupportMixture,
    tokens: Integer[np.ndarray, "n length"],
    rates: MaskRates,
    observed: Bool[np.ndarray, "n length"] | None = None,
) -> NoisyBeliefs:
    """Return the exact posterior given the words shown: genuine with weight a = rates.genuine, random with b = rate * random.

    Positions that show MASK carry no information: leave them out with `observed`, or let V or ABSENT stand there. Raises
    InputError for another process, ImpossibleEvidence, naming the first example, where the words cannot be shown, and
    LimitExceeded where the sum is too long.
    """
    where = "noisy_beliefs"
    if not isinstance(process, TopicModel | SupportMixture):
        raise InputError(f"{where}: process must be a TopicModel or a SupportMixture, got {type(process).__name__}.")
    evidence = read_evidence(tokens, observed, process.vocab_size, where)
    genuine = rates.genuine
    random = rates.rate * rates.random / process.vocab_size
    if isinstance(process, TopicModel) and process.are_disjoint:
        _refuse_long(evidence.histogram, where)
        starts = range(0, max(len(evidence.histogram), 1), CHUNK)
        parts = [
            genuine_posterior(process.word_given_topic, process.alpha, evidence.histogram[i : i + CHUNK], genuine, random)
            for i in starts
        ]
        proportions = np.concatenate([part[0] for part in parts])
        log_evidence = np.concatenate([part[1] for part in parts])
    else:
        classes = classes_of(genuine * process.word_given_topic + random)
        listed = process.listed_proportions(evidence.words.shape[1], where)
        given_counts = listed_posterior(listed, classes, classes.counts(evidence.histogram))
        unused = (evidence.histogram[:, classes.of_word < 0] > 0).any(axis=1)
        proportions = given_counts.proportions
        log_evidence = np.where(unused, -np.inf, given_counts.log_evidence + evidence.histogram @ classes.log_factor)
    refuse_impossible(np.isneginf(log_evidence)[evidence.row], where)
    return NoisyBeliefs(
        proportions=proportions[evidence.row],
        predictive=(proportions @ process.word_given_topic)[evidence.row],
        log_evidence=log_evidence[evidence.row],
    )


def asked_word_posterior(
    predictive: Float64[np.ndarray, "n word"], shown: Integer[np.ndarray, " n"], rates: MaskRates, n_random_ids: int
) -> Float64[np.ndarray, "n word"]:
    """Return P(true word | the position asked about shows `shown`, the rest), `predictive` being P(true word | the rest).

    The position is a selected one: it shows MASK or any other id >= V, which says nothing, or a word that was kept (probability
    `rates.keep`) or drawn from 0..n_random_ids-1 (`rates.random`). Raises ImpossibleEvidence, naming the first example, where the
    word shown can be neither.
    """
    where = "asked_word_posterior"
    words = np.asarray(predictive, np.float64)
    ids = np.asarray(shown)
    if words.ndim != 2 or ids.dtype.kind not in "iu" or ids.shape != words.shape[:1]:
        raise InputError(
            f"{where}: predictive must be [n, word] and shown n integers, got {list(words.shape)} and "
            f"{ids.dtype} {list(ids.shape)}."
        )
    if ids.size and ids.min() < 0:
        raise InputError(f"{where}: example {int((ids < 0).argmax())} shows {ids.min()}; ids are 0 and above.")
    if not isinstance(n_random_ids, int | np.integer) or isinstance(n_random_ids, bool) or n_random_ids < 1:
        raise InputError(f"{where}: n_random_ids must be an integer >= 1, got {n_random_ids!r:.60}.")
    says_nothing = ids >= words.shape[1]
    rows = np.arange(len(ids))
    word = np.where(says_nothing, 0, ids)
    random = np.where(word < n_random_ids, rates.random / n_random_ids, 0.0)
    joint = words * random[:, None]
    joint[rows, word] += rates.keep * words[rows, word]
    evidence = joint.sum(axis=1)
    refuse_impossible(~says_nothing & (evidence <= 0), where)
    return np.where(says_nothing[:, None], words, joint / np.where(evidence > 0, evidence, 1.0)[:, None])


def _refuse_long(histogram: Int[np.ndarray, "n word"], where: str) -> None:
    most = int(histogram.sum(axis=1).max(initial=0))
    if most > MAX_WORDS:
        raise LimitExceeded(
            f"{where}: a document shows {most:,} words; at most {MAX_WORDS:,} are summed over.\nHide some with `observed`."
        )
