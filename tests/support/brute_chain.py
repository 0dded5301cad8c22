"""The slow, obvious twin of inference on chains: sum the joint law over every path of states. Shares no code with mechbp."""

import numpy as np


def random_chain(rng, sparse=False):
    """Transitions [token, from, to] of a random chain with one stationary law, and how long its words may be to be enumerated."""
    n_states, n_tokens = int(rng.integers(2, 6)), int(rng.integers(2, 5))
    steps = rng.gamma(0.5, size=(n_tokens, n_states, n_states)) + 1e-3
    if sparse:
        steps *= rng.random(steps.shape) < 0.6
        steps[0] += 0.05 * np.roll(np.eye(n_states), 1, axis=1) + 0.01 * np.eye(n_states)  # a ring with rests: one stationary law
    return steps / steps.sum(axis=(0, 2))[:, None], {2: 8, 3: 6, 4: 5, 5: 4}[n_states]


def path_weights(steps, start, word):
    """P(states 0..length, the tokens observed), one axis per state; None stands for a token that is not observed."""
    weights = start
    for token in word:
        weights = weights[..., None] * (steps.sum(axis=0) if token is None else steps[token])
    return weights


def posterior(steps, start, word, state):
    """P(state number `state` | the tokens observed)."""
    weights = path_weights(steps, start, word)
    law = weights.sum(axis=tuple(axis for axis in range(weights.ndim) if axis != state))
    return law / law.sum()


def only(word, shown):
    """The word with all tokens hidden but those at the positions `shown`."""
    return [token if t in shown else None for t, token in enumerate(word)]
