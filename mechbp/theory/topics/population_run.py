"""What is trained in one run on the population, from which start, and by which rule.

Regimes, with the parts that are trained:

    wv     values; attention uniform, embedding and unembedding the identity
    kq     queries and keys; values frozen at their optimum under uniform attention, or at plain blocks
    joint  values, queries and keys
    emb    embedding, tied to the unembedding; attention uniform, values the identity
    both   embedding, tied to the unembedding, queries and keys; values the identity

Trained parts start at sigma N(0, 1). Noise of mean 0 matters: a start on [0, sigma) would give W_Q W_K' a common positive
direction.
(Source: Li, Li and Risteski 2023, the two stages of training and the embedding-only model.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from mechbp.errors import InputError
from mechbp.randomness import rng
from mechbp.theory.topics.attention import ValuesName, named_values
from mechbp.theory.topics.parameters import TopicParameters
from mechbp.theory.topics.population import LossName
from mechbp.theory.topics.setting import TopicSetting

Regime = Literal["wv", "kq", "joint", "emb", "both"]
Optimiser = Literal["adam", "sgd"]

TRAINED: dict[Regime, tuple[str, ...]] = {
    "wv": ("value",),
    "kq": ("key", "query"),
    "joint": ("value", "key", "query"),
    "emb": ("embed",),
    "both": ("embed", "key", "query"),
}
"""Parts that each regime trains, in the order in which their starts are drawn; a bias comes on top where a run asks for one."""


@dataclass(frozen=True)
class PopulationRun:
    """One run. `l2` times the sum of squares of all trained weights is added to the loss; Adam is PyTorch's, SGD has no momentum.

    `values` is what regime kq freezes; `d_head` is the width of queries and keys, the number of ids if None, and so is the width
    of the embedding. The bias starts at 0. Raises InputError for an unknown name or a negative number.
    """

    setting: TopicSetting
    regime: Regime
    learning_rate: float
    optimiser: Optimiser = "adam"
    loss: LossName = "squared"
    l2: float = 0.0
    sigma: float = 1e-2
    seed: int = 0
    values: ValuesName = "theory"
    bias: bool = False
    d_head: int | None = None

    def __post_init__(self) -> None:
        choices = (("regime", Regime), ("optimiser", Optimiser), ("loss", LossName), ("values", ValuesName))
        for name, allowed in choices:
            if getattr(self, name) not in get_args(allowed):
                raise InputError(
                    f"PopulationRun: {name} must be one of {', '.join(get_args(allowed))}, got {getattr(self, name)!r:.40}."
                )
        if not (self.learning_rate > 0 and self.l2 >= 0 and self.sigma >= 0) or (self.d_head is not None and self.d_head < 1):
            raise InputError(
                "PopulationRun: need learning_rate > 0, l2 >= 0, sigma >= 0 and d_head >= 1, "
                f"got {self.learning_rate}, {self.l2}, {self.sigma} and {self.d_head}."
            )

    @property
    def trained(self) -> tuple[str, ...]:
        """Names of the weights that are trained."""
        return (*TRAINED[self.regime], "bias") if self.bias else TRAINED[self.regime]

    @property
    def tied(self) -> bool:
        """Whether the unembedding is the transpose of the embedding."""
        return "embed" in TRAINED[self.regime]

    @property
    def shape(self) -> PopulationRun:
        """What runs must share to be trained in one batch: this run without its rates and its seed."""
        return replace(self, learning_rate=1.0, l2=0.0, sigma=0.0, seed=0)

    def start(self) -> TopicParameters:
        """Return the weights before training: equal for equal seeds, sizes and regimes, and proportional to sigma."""
        generator = rng(self.seed, "topics", "population", self.regime)
        ids = self.setting.n_words + 1
        words = self.setting.n_words
        head = ids if self.d_head is None else self.d_head
        shapes = {"embed": (ids, ids), "key": (ids, head), "query": (ids, head), "value": (ids, words)}
        drawn = {name: self.sigma * generator.normal(size=shapes[name]) for name in TRAINED[self.regime]}
        still = np.zeros((ids, head))
        embed = drawn.get("embed", np.eye(ids))
        if self.tied:
            value = np.eye(ids)
            unembed = embed[:words].T.copy()
        else:
            value = drawn.get("value", named_values(self.setting, self.values).matrix().T.copy())
            unembed = np.eye(words)
        return TopicParameters(embed, drawn.get("query", still), drawn.get("key", still), value, unembed, np.zeros(words))
