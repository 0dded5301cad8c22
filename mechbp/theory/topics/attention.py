"""How strongly words should attend to words of their own topic once the value matrix has its blocks.

A query that shows a word of topic t gives weight r to every key of topic t, r_0 to MASK and 1 to other words. With the key shares
mu_s = a theta_s + b / T of topics and p0 of MASK,

    Z = r mu_t + sum of other mu_s + r_0 p0     m_t = r mu_t / Z     m_s = mu_s / Z     m_0 = r_0 p0 / Z
    out_s = (same - different) m_s + different (1 - m_0) + mask m_0                      for every word of topic s
    loss = sum over t of keep theta_t (Q - 2 out_t + 1) + random / T (Q - 2 sum_s theta_s out_s + 1)      Q = v sum_s out_s²

for the word shown is the target where it was kept, and a draw that says nothing where it is random. MASK queries see no word and
are not in the loss. Documents have tau topics of weight 1 / tau: topics fall into three groups of equal ones, the query's own,
others present, others absent, so that two evaluations (own topic present or absent) are the expectation over all documents.
(Source: Li, Li and Risteski 2023, the second stage; loss and optimum by plain derivation.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from scipy.optimize import minimize, minimize_scalar, root

from mechbp.errors import InputError
from mechbp.theory.topics.setting import TopicSetting
from mechbp.theory.topics.values import OptimalValues, block_values, setting_values

ValuesName = Literal["theory", "blocks"]
MaskKey = Literal["fixed", "free"]

REACH = 30.0
"""Weights are searched for between e^-30 and e^30."""


@dataclass(frozen=True)
class AttentionOptimum:
    """The best weights and what they gain, over queries that show a word."""

    ratio: float
    """Weight of a key of the query's topic over that of another word."""
    mask_ratio: float
    """Weight of a MASK key over that of another word; 1 where it was held fixed."""
    loss: float
    """Squared loss summed over outputs, times the share of selected positions that show a word."""
    uniform_loss: float
    """The same with uniform attention."""


def optimal_attention_ratio(
    n_topics: int,
    words_per_topic: int,
    topics_per_document: int,
    values: ValuesName = "theory",
    mask_rate: float = 0.15,
    keep: float = 0.1,
    random: float = 0.1,
    mask_key: MaskKey = "fixed",
) -> AttentionOptimum:
    """Return the weights of least squared loss with the value matrix frozen: `optimal_values`, or plain blocks 1 / v.

    Raises InputError for a single topic and where the loss has no interior minimum, as with no random words.
    """
    setting = TopicSetting(n_topics, words_per_topic, topics_per_document, mask_rate, keep, random)
    if mask_key not in get_args(MaskKey):
        raise InputError(
            f"optimal_attention_ratio: mask_key must be one of {', '.join(get_args(MaskKey))}, got {mask_key!r:.40}."
        )
    return best_attention(setting, named_values(setting, values), mask_key == "free")


def named_values(setting: TopicSetting, values: ValuesName) -> OptimalValues:
    """Return "theory", the optimum under uniform attention, or "blocks". Raises InputError for another name."""
    if values not in get_args(ValuesName):
        raise InputError(f"topic values: must be one of {', '.join(get_args(ValuesName))}, got {values!r:.40}.")
    return setting_values(setting) if values == "theory" else block_values(setting)


def hidden_key_ratio(
    n_topics: int,
    words_per_topic: int,
    topics_per_document: int,
    keep: float = 0.1,
    random: float = 0.1,
    n_ids: int | None = None,
) -> AttentionOptimum:
    """Return the optimum with plain blocks where selected positions are no keys: r = 1 + (keep / random) (n_ids / v).

    Then attention gives the exact posterior over topics. The rest of the document gives theta, and the shown word of topic t was
    kept with weight keep theta_t / v or is random with u = random / n_ids: topics are weighed u theta_s, the own one
    (keep / v + u) theta_t. A document of one topic is unaffected by r. `n_ids` counts what random words are drawn from, the words
    if None; queries that show any other id are left out of the losses.
    Raises InputError where no word is ever replaced at random, for then r is infinite.
    """
    setting = TopicSetting(
        n_topics, words_per_topic, topics_per_document, keep=keep, random=random, keys="unselected", n_ids=n_ids
    )
    if random <= 0:
        raise InputError("hidden_key_ratio: random must be positive: a word that is always genuine deserves all attention.")
    ratio = 1 + keep / (words_per_topic * setting.random_per_word)
    blocks = block_values(setting)
    return AttentionOptimum(ratio, 1.0, word_query_loss(setting, blocks, ratio), word_query_loss(setting, blocks, 1.0))


def best_attention(setting: TopicSetting, values: OptimalValues, mask_free: bool = False) -> AttentionOptimum:
    """Minimise `word_query_loss` over the ratio, or over both weights, to a relative 1e-10."""
    if setting.n_topics < 2:
        raise InputError("attention ratio: need at least 2 topics, for with one there is no other to compare with.")

    def loss(logs: np.ndarray) -> float:
        return word_query_loss(setting, values, *np.exp(logs))

    def gradient(logs: np.ndarray) -> np.ndarray:
        # The loss is analytic: a step along the imaginary axis gives its derivative without cancellation.
        steps = 1e-30j * np.eye(len(logs))
        return np.array([np.imag(_loss(setting, values, *np.exp(logs + step))) / 1e-30 for step in steps])

    coarse: Any = minimize_scalar(lambda log: loss(np.array([log])), bounds=(-REACH, REACH), method="bounded")
    start = np.array([float(coarse.x)])
    if loss(start) > loss(np.zeros(1)) - 1e-14:  # flat, or best left uniform: one topic per document
        start = np.zeros(1)
    if mask_free:
        start = minimize(loss, np.append(start, 0.0), jac=gradient, method="BFGS").x
    found = root(gradient, start, tol=1e-14).x
    steepness = np.abs(gradient(found)).max()
    if np.abs(found).max() > REACH / 2 or steepness > 1e-10 or loss(found) > loss(start) + 1e-12:
        raise InputError(
            f"attention ratio: the loss has no interior minimum for {setting}.\n"
            "Random words are what keeps attention to the own topic finite: raise random, or keep."
        )
    ratio, mask_ratio = np.exp(np.append(found, 0.0))[:2]
    return AttentionOptimum(float(ratio), float(mask_ratio), loss(found), loss(np.zeros(1)))


def word_query_loss(setting: TopicSetting, values: OptimalValues, ratio: float, mask_ratio: float = 1.0) -> float:
    """Return the squared loss of queries that show a word, times their share, for given weights."""
    return float(np.real(_loss(setting, values, ratio, mask_ratio)))


def _loss(setting: TopicSetting, values: OptimalValues, ratio: complex, mask_ratio: complex = 1.0) -> complex:
    present = setting.topics_per_document
    absent = setting.n_topics - present
    total = 0.0
    for own_present in (True, False):
        theta = np.array([own_present, 1, 0]) / present
        count = np.array([1, present - own_present, absent - (not own_present)])
        weighed = (setting.genuine * theta + setting.noise / setting.n_topics) * np.array([ratio, 1, 1])
        mask = mask_ratio * setting.masked
        normaliser = count @ weighed + mask
        mask = mask / normaliser
        out = values.contrast * weighed / normaliser + values.different * (1 - mask) + values.mask * mask
        square = setting.words_per_topic * (count @ out**2) + 1
        kept = setting.keep * theta[0] * (square - 2 * out[0])
        replaced = setting.random_per_word * setting.words_per_topic * (square - 2 * (count * theta) @ out)
        queries = present if own_present else absent
        total = total + (queries * (kept + replaced) if queries else 0.0)
    return total
