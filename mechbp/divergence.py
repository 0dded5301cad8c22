"""How distributions over the last axis compare: distances in nats, and what choosing by one of them earns under another."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

FLOOR = 1e-12
"""Probabilities of the second argument are raised to this, so that a zero costs 27.6 nats and not infinity."""


def kl_nats(p: Float64[np.ndarray, "*cells q"], q: Float64[np.ndarray, "*cells q"]) -> Float64[np.ndarray, "*cells"]:
    """Return D(p || q) = sum_a p(a) log(p(a) / q(a)) over the last axis; p may hold zeros, q is raised to FLOOR."""
    log_ratio = np.log(np.maximum(p, FLOOR)) - np.log(np.maximum(q, FLOOR))
    return (p * log_ratio).sum(axis=-1)


def js_nats(p: Float64[np.ndarray, "*cells q"], q: Float64[np.ndarray, "*cells q"]) -> Float64[np.ndarray, "*cells"]:
    """Return the Jensen-Shannon divergence, the mean KL of p and q to their midpoint; between 0 and log 2."""
    middle = (p + q) / 2
    return (kl_nats(p, middle) + kl_nats(q, middle)) / 2


def expected_hits(
    truth: Float64[np.ndarray, "*cells q"], answers: Float64[np.ndarray, "*cells q"]
) -> Float64[np.ndarray, "*cells"]:
    """Return the probability under `truth` of the symbol that `answers` hold likeliest, the first one if tied.

    With exact posteriors as `truth` this is accuracy without the noise of which symbol was drawn.
    """
    return np.take_along_axis(truth, answers.argmax(axis=-1)[..., None], axis=-1)[..., 0]
