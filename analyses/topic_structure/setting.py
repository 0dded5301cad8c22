"""What the parts of the page share: sizes of the theory's corpus, seeds, and the population runs that several parts read."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from mechbp.theory.topics.dynamics import Trajectories, train_population
from mechbp.theory.topics.population_run import PopulationRun
from mechbp.theory.topics.setting import TopicSetting

THEORY = TopicSetting(n_topics=10, words_per_topic=10, topics_per_document=2)
"""Ten topics of ten words, two to a document, as in the published experiments; every position is a key."""
SMALLER = TopicSetting(n_topics=6, words_per_topic=6, topics_per_document=2)
"""For cross-entropy, whose population loss has no closed form over documents and costs many times as much."""
RATE = 3e-3
SIGMAS = (1e-2, 1e-3)
SEEDS, QUICK_SEEDS = 10, 2
LONG_SEEDS, QUICK_LONG_SEEDS = 5, 1
STEPS, QUICK_STEPS = 250, 130
LONG_STEPS = 700
"""Updates: the first cover both stages, the last what comes after them."""
CE_STEPS, QUICK_CE_STEPS = 600, 150
MAPPED = 2
"""Words of every topic in a heat map: all pairs of all words would make a page too heavy to open."""


def mapped_words(topic: np.ndarray) -> np.ndarray:
    """Return the first words of every topic, in the order of topics."""
    return np.concatenate([np.flatnonzero(topic == one)[:MAPPED] for one in np.unique(topic)])


@lru_cache(maxsize=8)
def joint_runs(loss: str, sigma: float, seeds: int, steps: int) -> Trajectories:
    """Return runs of values, queries and keys together, trained by Adam on the population, one per seed."""
    setting = THEORY if loss == "squared" else SMALLER
    runs = [PopulationRun(setting, "joint", RATE, loss=loss, sigma=sigma, seed=seed) for seed in range(seeds)]  # type: ignore[arg-type]
    record = sorted({*range(0, min(steps, 200), 5), *range(200, steps, 20), 0, 1, steps})
    return train_population(runs, steps, record, precision="float32")
