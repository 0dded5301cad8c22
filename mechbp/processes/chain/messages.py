"""A chain is a comb: a binary tree whose left children are the tokens and whose right children are the next states.

Its rules are R[i, z, j] = T^(z)[i, j], and the messages are those of any tree: inside nu_p = sum R[p, l, r] nu_l nu_r, outside
mu_r = sum mu_p R[p, l, r] nu_l. One state stands at every depth, so that results have the shape of `TreeBeliefs`.
Axes inside this file are those of `belief_propagation`: [node, symbol, example].
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int

from mechbp.processes.tree.belief_propagation import Messages, Passes, TreeBeliefs, normalise, public_beliefs


def chain_messages(
    transitions: Float64[np.ndarray, "token state state"],
    start: Float64[np.ndarray, " state"],
    evidence: Int[np.ndarray, "n length"],
) -> TreeBeliefs:
    """Return the messages of every state 0..length; a token equal to the number of tokens is not observed.

    Impossible evidence gives log evidence -inf and zero messages, no error.
    """
    n, length = evidence.shape
    rules = np.concatenate([transitions, transitions.sum(axis=0, keepdims=True)])  # the last: whatever the token was
    upward = {length: np.ones((1, len(start), n))}
    downward = {0: np.tile(start[:, None], (1, 1, n))}
    log_evidence = np.zeros(n)
    normalise(upward[length])
    for t in range(length - 1, -1, -1):
        (below,) = upward[t + 1]  # [state, example]
        upward[t] = normalise(_picked(below.T @ _flat(rules.transpose(0, 2, 1)), evidence[:, t], len(rules)))[0]
    for t in range(length):
        (above,) = downward[t]
        downward[t + 1], (total,) = normalise(_picked(above.T @ _flat(rules), evidence[:, t], len(rules)))
        with np.errstate(divide="ignore"):
            log_evidence += np.log(total)
    return public_beliefs(Passes(upward, downward, log_evidence))


def _flat(rules: Float64[np.ndarray, "token from to"]) -> Float64[np.ndarray, "from token*to"]:
    return rules.transpose(1, 0, 2).reshape(rules.shape[1], -1)


def _picked(every: np.ndarray, tokens: np.ndarray, n_tokens: int) -> Messages:
    """Keep, of the messages under every token, those under the token that was seen."""
    chosen = every.reshape(len(tokens), n_tokens, every.shape[1] // n_tokens)[np.arange(len(tokens)), tokens]
    return np.ascontiguousarray(chosen.T)[None]
