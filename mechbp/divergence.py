"""Distances between distributions over the last axis, in nats."""

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
