"""The least loss of any predictor in infinite documents: what the shown word adds to the topics.

The rest of an infinite document tells its topics exactly, so that words have probability P(y) = 1 / (tau v) on the words present.
A selected position that shows word x was kept with weight keep P(x), or is random with u = random / n_ids:

    P(y | x) = (keep 1[y = x] P(x) + u P(y)) / (keep P(x) + u)      and P(y | x) = P(y) where x is not of the document's topics.

Attention that weighs topics only cannot reach it, for it would have to tell x from the other words of its topic.
(Source: Li, Li and Risteski 2023 for the masking; bound by plain derivation.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mechbp.theory.topics.setting import TopicSetting


@dataclass(frozen=True)
class PopulationBound:
    """Loss of the exact posterior per selected position, queries that show an id beyond the words left out."""

    squared: float
    """Summed over outputs."""
    masked_squared: float
    """The part of MASK queries, times their share."""
    ce_nats: float
    masked_ce_nats: float


def population_bound(setting: TopicSetting) -> PopulationBound:
    """Return the least squared loss and the least cross-entropy, each with the part of it that MASK queries pay."""
    words = setting.topics_per_document * setting.words_per_topic
    prior = 1 / words
    random = setting.random_per_word
    shown = setting.keep * prior + random
    outside = random * (setting.n_words - words)
    masked_squared = setting.hidden * (1 - prior)
    masked_ce = setting.hidden * np.log(words)
    squared = masked_squared + outside * (1 - prior)
    ce = masked_ce + outside * np.log(words)
    if shown > 0:
        own = (setting.keep + random) * prior / shown
        each_other = random * prior / shown
        squared += words * shown * (1 - own**2 - (words - 1) * each_other**2)
        ce -= words * shown * (_xlogx(own) + (words - 1) * _xlogx(each_other))
    return PopulationBound(float(squared), float(masked_squared), float(ce), float(masked_ce))


def _xlogx(value: float) -> float:
    return value * np.log(value) if value > 0 else 0.0
