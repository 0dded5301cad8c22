"""The population loss for many models at once, in torch: same setting, same loss, a batch axis in front.

The formulas are those of `population`, arranged so that squared loss needs no output per set of topics: with N_b the numerator of
block b of a query, |sum_b g_b N_b|² is a quadratic form in the products N_b . N_c, and out . q is linear in the sums of N_b
over the words of a topic. Cross-entropy needs the outputs. Gradients are left to autograd.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from einops import einsum, rearrange, reduce
from jaxtyping import Float
from torch import Tensor

from mechbp.brief import Brief
from mechbp.theory.topics.population import LossName
from mechbp.theory.topics.setting import TopicSetting

Weight = Float[Tensor, "run query key"]
"""exp of the scores, up to a factor per query; one query stands for all where attention is uniform."""


@dataclass(frozen=True, eq=False, repr=False)
class Population(Brief):
    """A setting as tensors. Blocks are the topics, then MASK."""

    loss: LossName
    size: int
    """Words per topic."""
    mass: Float[Tensor, "support block"]
    """Share of keys in every block."""
    mass_products: Float[Tensor, "support block_block"]
    target_products: Float[Tensor, "support block_topic"]
    """Share of keys of a block times the probability of each word of a topic."""
    rate: Float[Tensor, "query 1"]
    """Probability that a selected position shows the query's id whatever its word."""
    kept: Float[Tensor, "word support"]
    """Probability that it shows a word because that is its word."""
    marginal: Float[Tensor, "query support"]

    @classmethod
    def of(cls, setting: TopicSetting, loss: LossName, dtype: torch.dtype) -> Population:
        """Return the tensors of a setting."""
        mass = setting.key_mass()
        support = setting.supports()
        topics = support / (setting.topics_per_document * setting.words_per_topic)
        words = np.repeat(topics, setting.words_per_topic, axis=1)
        rate = np.append(np.full(setting.n_words, setting.random_per_word), setting.hidden)[:, None]
        kept = setting.keep * words.T
        tensors = (
            mass,
            rearrange(mass[:, :, None] * mass[:, None], "support b c -> support (b c)"),
            rearrange(mass[:, :, None] * topics[:, None], "support block topic -> support (block topic)"),
            rate,
            kept,
            rate + np.vstack([kept, np.zeros(len(support))]),
        )
        return cls(loss, setting.words_per_topic, *(torch.as_tensor(values, dtype=dtype) for values in tensors))

    def losses(self, weight: Weight, written: Float[Tensor, "run key word"]) -> Float[Tensor, " run"]:
        """Return the loss of every model per selected position, given what its keys write, bias included."""
        size = self.size
        keys = rearrange(weight[..., :-1], "run query (topic key) -> run topic query key", key=size)
        values = rearrange(written[:, :-1], "run (topic key) word -> run topic key word", key=size)
        topics = rearrange(keys @ values, "run topic query word -> run query topic word") / size
        mask = einsum(weight[..., -1], written[:, -1], "run query, run word -> run query word")
        numerator = torch.cat([topics, mask[:, :, None]], dim=2)
        means = reduce(weight[..., :-1], "run query (topic key) -> run query topic", "mean", key=size)
        normaliser = torch.cat([means, weight[..., -1:]], dim=2) @ self.mass.T

        sums = reduce(numerator, "run query block (topic word) -> run query (block topic)", "sum", word=size)
        hit = self.rate * (sums @ self.target_products.T) / normaliser
        own_normaliser = normaliser if len(weight[0]) == 1 else normaliser[:, :-1]
        own_hit = self.kept * (_own(numerator) @ self.mass.T) / own_normaliser
        expected_hit = hit.sum(dim=(1, 2)) + own_hit.sum(dim=(1, 2))
        if self.loss == "squared":
            products = rearrange(numerator @ numerator.mT, "run query b c -> run query (b c)")
            square = products @ self.mass_products.T / normaliser**2
            total = (self.marginal * (square + 1)).sum(dim=(1, 2)) - 2 * expected_hit
        else:
            out = (self.mass @ numerator) / normaliser[..., None]
            total = (self.marginal * torch.logsumexp(out, dim=-1)).sum(dim=(1, 2)) - expected_hit
        return total / len(self.mass)


def _own(numerator: Tensor) -> Tensor:
    """Of every word as a query, the numerators of that word as an output, [run, word, block]."""
    if numerator.shape[1] == 1:
        return numerator[:, 0].mT
    return torch.diagonal(numerator[:, :-1], dim1=1, dim2=3).mT
