"""What a model answers, and which oracle it follows, once its attention patterns are replaced by static ones.

That answers stay near the exact ones is not enough: the oracle of the next level is near them too. A static pattern keeps what
a model computes only where its answers still follow the oracle that they followed before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from mechbp.divergence import kl_nats
from mechbp.hooks import HookedModel
from mechbp.methods.statistics.answers import nearest
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.theory.tree.pattern_ablation import replace_patterns


def answers_with_patterns(
    model: HookedModel,
    tokens: Int[np.ndarray, "n position"],
    patterns: Float[np.ndarray, "layer head query key"],
    read: Int[np.ndarray, " n"],
) -> Float64[np.ndarray, "n q"]:
    """Return the model's probabilities at position read[i] of row i, its patterns in all blocks replaced.

    Patterns are those of `replace_patterns`: over all positions, or over all but a ROOT query at the end.
    """
    heard: list[np.ndarray] = []

    def listen(logits: Float[Tensor, "n answer q"]) -> Float[Tensor, " n"]:
        at = logits[torch.arange(len(logits)), torch.from_numpy(read)]
        heard.append(at.double().softmax(dim=-1).numpy())
        return at[:, 0] * 0

    replace_patterns(model, tokens, patterns, range(len(patterns)), listen, baseline=np.zeros(len(tokens)))
    return heard[0]


@dataclass(frozen=True, eq=False)
class Followed:
    """Which oracle some answers follow, by both directions of the divergence."""

    oracle_to_answers_nats: Interval
    """Mean D(oracle || answers), one entry per oracle."""
    answers_to_oracle_nats: Interval
    """Mean D(answers || oracle), zeros of the oracle raised to the floor: it alone may set this number."""
    nearest: tuple[int, int]
    """The nearest oracle in either direction."""
    lead: tuple[Interval, Interval]
    """How much farther the runner-up is, nats."""


def followed(
    answers: Float64[np.ndarray, "n q"], oracles: Mapping[int, Float64[np.ndarray, "n q"]], rng: np.random.Generator
) -> Followed:
    """Compare answers with those of every oracle, given by filter level 0, 1, … in order, on the same sequences."""
    there = np.stack([kl_nats(exact, answers) for exact in oracles.values()], axis=1)
    back = np.stack([kl_nats(answers, exact) for exact in oracles.values()], axis=1)
    levels = list(oracles)
    first, second = nearest(there, rng), nearest(back, rng)
    return Followed(
        bootstrap_mean(there, rng),
        bootstrap_mean(back, rng),
        (levels[first[0]], levels[second[0]]),
        (first[1], second[1]),
    )
