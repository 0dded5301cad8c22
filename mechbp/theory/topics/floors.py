"""The least loss in finite documents of Dirichlet topics whose selected positions are no keys: what there is to learn.

theta ~ Dirichlet(alpha, .., alpha), A = T alpha. With n words visible, n_t of them of topic t, the next word of topic t has
probability m_t / v, m_t = (alpha + n_t) / (A + n): linear in the counts, so that uniform attention can be exact up to the
spread of n.

Given the topic of the target, its count is BetaBinomial(n; alpha + 1, A - alpha), which makes every floor a finite sum:

    CE(n) = ln v + E[-ln m]        squared(n) = 1 - E[m] / v, summed over words, for E sum_t m_t² = E[m of the target's topic]

A predictor that also reads the word shown at the query beats that, for a kept word is its own target: with u = random / n_ids,
P(y | x) = (keep 1[y = x] P(x) + u P(y)) / (keep P(x) + u).
(Source: Li, Li and Risteski 2023, the synthetic corpus; floors by plain derivation.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int
from scipy.special import betaln, digamma, gammaln

from mechbp.errors import InputError


@dataclass(frozen=True)
class LdaCorpus:
    """A corpus of Dirichlet topics without shared words, lengths uniform on shortest..longest, and how it is masked.

    `n_ids` is the number of ids that random replacements come from; None means the words. A document without a selected position
    counts for nothing. Raises InputError where a size or a rate is out of range.
    """

    n_topics: int = 10
    words_per_topic: int = 10
    alpha: float = 0.1
    shortest: int = 100
    longest: int = 150
    mask_rate: float = 0.15
    keep: float = 0.1
    random: float = 0.1
    n_ids: int | None = None

    def __post_init__(self) -> None:
        if self.n_topics < 2 or self.words_per_topic < 1 or not self.alpha > 0:
            raise InputError(f"LdaCorpus: need >= 2 topics, >= 1 word each and alpha > 0, got {self}.")
        if not 1 <= self.shortest <= self.longest:
            raise InputError(f"LdaCorpus: lengths must be 1 <= shortest <= longest, got {self.shortest} and {self.longest}.")
        rates = (self.mask_rate, self.keep, self.random)
        if not all(0 <= rate <= 1 for rate in rates) or self.keep + self.random > 1 + 1e-12 or self.mask_rate == 0:
            raise InputError(f"LdaCorpus: rates must be shares with keep + random <= 1 and mask_rate > 0, got {rates}.")
        if self.n_ids is not None and self.n_ids < self.n_words:
            raise InputError(f"LdaCorpus: n_ids must be at least the {self.n_words} words, got {self.n_ids}.")

    @property
    def n_words(self) -> int:
        """Number of words."""
        return self.n_topics * self.words_per_topic

    @property
    def concentration(self) -> float:
        """A, the sum of alpha over topics."""
        return self.n_topics * self.alpha

    def visible_lengths(self) -> tuple[Int[np.ndarray, " length"], Float64[np.ndarray, " length"]]:
        """Return numbers of visible words, and the share of selected positions that see as many."""
        share = np.zeros(self.longest + 1)
        for total in range(self.shortest, self.longest + 1):
            selected = np.arange(total + 1)
            log_chosen = gammaln(total + 1) - gammaln(selected + 1) - gammaln(total - selected + 1)
            with np.errstate(divide="ignore", invalid="ignore"):
                hit = np.where(selected > 0, selected * np.log(self.mask_rate), 0.0)
                missed = np.where(selected < total, (total - selected) * np.log1p(-self.mask_rate), 0.0)
            share[total - selected] += selected * np.exp(log_chosen + hit + missed)
        lengths = np.flatnonzero(share)
        return lengths, share[lengths] / share.sum()


@dataclass(frozen=True)
class Floors:
    """Expectations per selected position over all documents of a corpus."""

    n_words: int
    ce_nats: float
    """Cross-entropy of the best predictor that sees the visible words alone."""
    squared: float
    """Its squared loss against the one-hot target, summed over outputs."""
    shown_ce_nats: float
    """Cross-entropy of the best predictor that also sees what the query shows: the mean of the next three by share."""
    masked_ce_nats: float
    """Where the query shows MASK."""
    kept_ce_nats: float
    """Where it shows the target."""
    random_ce_nats: float
    """Where it shows a random id."""

    @property
    def uniform_ce_nats(self) -> float:
        """Cross-entropy of guessing uniformly among the words."""
        return float(np.log(self.n_words))

    @property
    def uniform_squared(self) -> float:
        """Squared loss of guessing uniformly among the words, summed over outputs."""
        return 1 - 1 / self.n_words

    @property
    def attainable_nats(self) -> float:
        """What the visible words tell about the target."""
        return self.uniform_ce_nats - self.ce_nats

    def attained(self, ce_nats: float) -> float:
        """Return the share of it that a predictor of this cross-entropy uses; above 1 where it reads the query as well."""
        return (self.uniform_ce_nats - ce_nats) / self.attainable_nats


def corpus_floors(corpus: LdaCorpus) -> Floors:
    """Return all floors of a corpus, averaged over lengths and numbers of selected positions, by selected position."""
    lengths, share = corpus.visible_lengths()
    mean = share @ _mean_own_share(corpus, lengths)
    context = share @ np.array([context_ce(corpus, int(n)) for n in lengths])
    kept = share @ np.array([_kept_ce(corpus, int(n)) for n in lengths])
    random = context + share @ np.array([_random_excess(corpus, int(n)) for n in lengths])
    hidden = max(1 - corpus.keep - corpus.random, 0.0)
    shown = hidden * context + corpus.keep * kept + corpus.random * random
    squared = 1 - mean / corpus.words_per_topic
    return Floors(corpus.n_words, *(float(value) for value in (context, squared, shown, context, kept, random)))


def context_ce(corpus: LdaCorpus, visible: int) -> float:
    """Return the floor CE(n) in nats where n words are visible."""
    own, weight = _share_and_weight(corpus, visible, of_target=True)
    return float(np.log(corpus.words_per_topic) - weight @ np.log(own))


def limit_ce(corpus: LdaCorpus) -> float:
    """Return CE(n) in the limit of long documents: theta of the target's topic is Beta(alpha + 1, A - alpha)."""
    return float(np.log(corpus.words_per_topic) + digamma(corpus.concentration + 1) - digamma(corpus.alpha + 1))


def squared_contrast(corpus: LdaCorpus, markers: int = 2) -> float:
    """Return v times the contrast of the least-squares block matrix, START and END among the keys as `markers`.

    A histogram over n + markers keys is n_t / (n + markers). Its mean over topics and the constant are fitted apart (bias,
    columns of the markers), which leaves the regression of m_t on it about their means, whose product has expectation
    proportional to Var n_t / ((n + markers)(n + A)), and Var n_t to n (n + A): the result is
    E[n / (n + markers)] / E[n (n + A) / (n + markers)²].
    """
    lengths, share = corpus.visible_lengths()
    keys = np.maximum(lengths + markers, 1)
    return float((share @ (lengths / keys)) / (share @ (lengths * (lengths + corpus.concentration) / keys**2)))


def _mean_own_share(corpus: LdaCorpus, lengths: np.ndarray) -> np.ndarray:
    """E[m of the target's topic], from E[count] = n (alpha + 1) / (A + 1)."""
    count = lengths * (corpus.alpha + 1) / (corpus.concentration + 1)
    return (count + corpus.alpha) / (lengths + corpus.concentration)


def _share_and_weight(corpus: LdaCorpus, visible: int, of_target: bool) -> tuple[np.ndarray, np.ndarray]:
    """m and its probability, for counts 0..n of the target's topic or of any given topic."""
    count = np.arange(visible + 1)
    first = corpus.alpha + (1 if of_target else 0)
    second = corpus.concentration - corpus.alpha
    log_chosen = gammaln(visible + 1) - gammaln(count + 1) - gammaln(visible - count + 1)
    weight = np.exp(log_chosen + betaln(count + first, visible - count + second) - betaln(first, second))
    return (count + corpus.alpha) / (visible + corpus.concentration), weight


def _random_rate(corpus: LdaCorpus) -> float:
    return corpus.random / (corpus.n_words if corpus.n_ids is None else corpus.n_ids)


def _kept_ce(corpus: LdaCorpus, visible: int) -> float:
    """E[-ln P(x | x)]. Without random words a shown word is certain; where no word is ever shown, nothing is lost."""
    own, weight = _share_and_weight(corpus, visible, of_target=True)
    prior = own / corpus.words_per_topic
    rate = _random_rate(corpus)
    if corpus.keep + rate == 0:
        return 0.0
    return float(-weight @ np.log(prior * (corpus.keep + rate) / (corpus.keep * prior + rate)))


def _random_excess(corpus: LdaCorpus, visible: int) -> float:
    """What random words cost beyond the context.

    A word x makes every other word less probable, by the factor u / (keep P(x) + u); it is the target itself once in n_ids, and
    then gains ln((keep + u) / u). Ids beyond the words cost nothing.
    """
    rate = _random_rate(corpus)
    if rate == 0:
        return 0.0
    share, weight = _share_and_weight(corpus, visible, of_target=False)
    cost = weight @ np.log1p(corpus.keep * share / (corpus.words_per_topic * rate))
    per_id = rate / corpus.random
    return float(corpus.n_words * per_id * cost - per_id * np.log1p(corpus.keep / rate))
