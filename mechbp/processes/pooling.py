"""Pool what every source says about one target, each on its own: by adding, or by multiplying as naive Bayes does.

influence[source, symbol] is P(target | that source shows that symbol), whatever the process: a token so many steps before the
state of a chain, or a leaf below or beside a node of a tree. To first order in influence - prior the two pools agree.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int

Influence = Float64[np.ndarray, "source symbol target"]


def added(
    prior: Float64[np.ndarray, " target"], influence: Influence, tokens: Int[np.ndarray, "n source"]
) -> Float64[np.ndarray, "n target"]:
    """Return prior + sum over sources of (P(target | source) - prior); entries sum to 1 and may be negative.

    A token equal to the number of symbols is not observed and says nothing.
    """
    shift = np.concatenate([influence - prior, np.zeros((len(influence), 1, len(prior)))], axis=1)
    return prior + sum(shift[s][tokens[:, s]] for s in range(len(influence)))


def multiplied(
    prior: Float64[np.ndarray, " target"],
    influence: Influence,
    tokens: Int[np.ndarray, "n source"],
    belief: Float64[np.ndarray, "n target"] | None = None,
) -> Float64[np.ndarray, "n target"]:
    """Return the normalised belief * product over sources of P(target | source) / prior, in logarithms.

    `belief` is what is known from elsewhere, the prior where not given. Rows of zeros mark evidence held impossible.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(influence) - np.log(prior)
        log_belief = np.log(np.tile(prior, (len(tokens), 1)) if belief is None else belief)
    ratio[:, :, prior == 0] = -np.inf
    ratio = np.concatenate([ratio, np.zeros((len(influence), 1, len(prior)))], axis=1)
    for s in range(len(influence)):
        log_belief = log_belief + ratio[s][tokens[:, s]]
    highest = log_belief.max(axis=1, keepdims=True)
    weights = np.exp(log_belief - np.where(np.isfinite(highest), highest, 0.0))
    sums = weights.sum(axis=1, keepdims=True)
    return np.divide(weights, sums, out=np.zeros_like(weights), where=sums > 0)
