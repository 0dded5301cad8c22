"""The joint of a chain, stated once, path by path; shares no code with the recursions over beliefs and messages.

P(s, z) = P(s_0)  prod_t T^(z_t)[s_t, s_{t+1}]
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float64

from mechbp.errors import LimitExceeded
from mechbp.processes.process import Joint, Query

LISTED_STATES = 2**16
LISTED_WORDS = 2**10
"""A small chain has at most this many paths of states and tokens, and this many words, where its transitions allow."""
MAX_STATES = 2**22
"""Longer joints are refused before they are listed."""


def small_length(n_states: int, n_tokens: int, longest: int | None) -> int:
    """Return the greatest length, `longest` at most, whose joint and whose words are as few as LISTED_STATES and LISTED_WORDS."""
    length = 1
    while (
        length != longest
        and _n_paths(n_states, n_tokens, length + 1) <= LISTED_STATES
        and n_tokens ** (length + 1) <= LISTED_WORDS
    ):
        length += 1
    return length


def chain_joint(
    transitions: Float64[np.ndarray, "token state state"], start: Float64[np.ndarray, " state"], length: int
) -> Joint:
    """List the joint of a chain of `length` tokens, with beliefs, predictives and messages as queries."""
    n_tokens, n_states, _ = transitions.shape
    n_paths = _n_paths(n_states, n_tokens, length)
    if n_paths > MAX_STATES:
        raise LimitExceeded(
            f"HiddenMarkovModel.joint: {n_states} states and {n_tokens} tokens have {float(n_paths):.1e} paths of length "
            f"{length}; at most {MAX_STATES:,} are listed.\nUse small().joint(), or of_length with a smaller one."
        )
    grid = np.indices((n_states,) * (length + 1) + (n_tokens,) * length).reshape(2 * length + 1, -1)
    states = grid[: length + 1]
    tokens = grid[length + 1 :]
    probability = start[states[0]]
    for t in range(length):
        probability = probability * transitions[tokens[t], states[t], states[t + 1]]
    before = np.tri(length + 1, length, -1, dtype=bool)  # [t, token]: the tokens before state t, and before token t
    everything = np.ones_like(before)
    queries = {
        "beliefs": Query(lambda hmm, tokens: hmm.beliefs(tokens), states.T, before),
        "predictive": Query(_next_tokens, tokens.T, before[:-1]),
        "messages.downward": Query(lambda hmm, tokens: _stacked(hmm.messages(tokens).downward), states.T, before),
        "messages.upward": Query(lambda hmm, tokens: _stacked(hmm.messages(tokens).upward), states.T, ~before, likelihood=True),
        "messages.marginals": Query(lambda hmm, tokens: _stacked(hmm.messages(tokens).marginals), states.T, everything),
    }
    return Joint(tokens.T, probability, queries, lambda hmm, tokens: hmm.log_evidence(tokens))


def _n_paths(n_states: int, n_tokens: int, length: int) -> int:
    return n_states ** (length + 1) * n_tokens**length


def _next_tokens(hmm: Any, tokens: np.ndarray) -> np.ndarray:
    """P(token t | the tokens before it); the last predictive is left out, its token lies beyond the sequence."""
    return hmm.predictive(hmm.beliefs(tokens))[:, :-1]


def _stacked(messages: dict[int, np.ndarray]) -> np.ndarray:
    """Messages [n, 1, state] of every depth as [n, depth, state]."""
    return np.concatenate([messages[t] for t in sorted(messages)], axis=1)
