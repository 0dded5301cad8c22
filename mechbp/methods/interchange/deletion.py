"""How much of a message a written subspace carries, judged against its rival: a model that has merely lost the message.

A write that destroys what the base run held moves the answer towards the exact one as well. Exact inference says how far: its
answer without the message explains a share of the way by itself. What counts is the rest, (share - deletion) / (1 - deletion).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from mechbp.divergence import kl_nats
from mechbp.methods.interchange.interchange import MessageTest
from mechbp.methods.interchange.pairs import Pairs
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean, bootstrap_ratio


def deletion_nats(pairs: Pairs) -> Float64[np.ndarray, " n"]:
    """Return D(expected || without), nats: how far exact inference without the message is from that with the source's."""
    return kl_nats(pairs.expected, pairs.without)


def beyond_deletion(pairs: Pairs, target_kl_nats: Float64[np.ndarray, " n"], rng: np.random.Generator) -> Interval:
    """Return 1 - mean KL(expected || model) / mean KL(expected || without), with an interval over pairs.

    It equals (share - deletion) / (1 - deletion) of the shares explained: 1 is the exact answer, 0 what a perfect eraser would
    reach, below 0 farther from the exact answer than that. `target_kl_nats` is one edit's entry of an interchange's. A model that
    answers nothing in particular can be above 0 without any edit: hold it against a placebo as well.
    """
    deleted = deletion_nats(pairs)
    return bootstrap_ratio(deleted - target_kl_nats, deleted, rng)


def more_beyond_deletion(
    pairs: Pairs, one: Float64[np.ndarray, " n"], other: Float64[np.ndarray, " n"], rng: np.random.Generator
) -> Interval:
    """Return by how much `beyond_deletion` of one edit exceeds that of another on the same pairs."""
    return bootstrap_ratio(other - one, deletion_nats(pairs), rng)


def obeyed_not_held(test: MessageTest, edit: str, rng: np.random.Generator) -> Interval:
    """Return how much nearer an erased run is to exact inference without the message than to that with it, nats.

    Mean KL(before || model) - KL(without || model) after the erasure: above 0 the model answers as if it lacked the message,
    below 0 as if it still had it.
    """
    return bootstrap_mean(obedience_nats(test, edit), rng)


def obedience_nats(test: MessageTest, edit: str) -> Float64[np.ndarray, " n"]:
    """Return KL(before || model) - KL(without || model) of every pair after an erasure, nats.

    A model that answers nothing in particular has it above 0 too: hold it against what a random change leaves.
    """
    return test.before_kl_nats[edit] - test.target_kl_nats[edit]
