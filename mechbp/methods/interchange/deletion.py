"""Two edits of one message, or two runs after one edit, held against each other and against a model that has lost the message.

A write that destroys what the base run held moves the answer towards the exact one as well; `MessageTest.beyond` counts one edit
from there, with `Pairs.deletion_kl_nats` as the rival's. Here are the paired differences.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from mechbp.methods.interchange.interchange import MessageTest
from mechbp.methods.interchange.pairs import Pairs
from mechbp.methods.statistics.intervals import Interval, bootstrap_ratio


def more_beyond_deletion(
    pairs: Pairs, one: Float64[np.ndarray, " n"], other: Float64[np.ndarray, " n"], rng: np.random.Generator
) -> Interval:
    """Return by how much (share - deletion) / (1 - deletion) of one edit exceeds that of another on the same pairs.

    `one` and `other`: KL(expected || model) of every pair after each, nats, as in `MessageTest.target_kl_nats`.
    """
    return bootstrap_ratio(other - one, pairs.deletion_kl_nats, rng)


def obedience_nats(test: MessageTest, edit: str) -> Float64[np.ndarray, " n"]:
    """Return how much nearer an erased run is to exact inference without the message than to that with it, pair by pair, nats.

    KL(before || model) - KL(without || model): above 0 it answers as if it lacked the message, below 0 as if it still had it.
    A model that answers nothing in particular has it above 0 too: hold it against what a random change leaves.
    """
    return test.before_kl_nats[edit] - test.target_kl_nats[edit]
