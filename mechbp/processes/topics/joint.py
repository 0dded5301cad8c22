"""The joint of a document's topics and words, proportions integrated out, stated once and state by state.

P(z, w) = P(z)  prod_i phi[z_i, w_i]

where P(z) is an urn's for Dirichlet proportions, P(z_i = t | z_1..z_{i-1}) = (alpha_t + how many of them are t) / (A + i - 1),
and the mean over all supports of prod_i 1[z_i in it] / tau for the mixture of supports. Shares no code with the posteriors.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Float64, Int

from mechbp.errors import InputError, LimitExceeded
from mechbp.processes.process import Joint, Query
from mechbp.processes.topics.documents import Length

LISTED_STATES = 2**16
"""A small process has at most this many states, where its topics allow."""
MAX_STATES = 2**22
"""Longer joints are refused before they are listed."""

Urn = Callable[[Int[np.ndarray, "state length"]], Float64[np.ndarray, " state"]]
"""P(z) of every assignment of topics."""


def small_length(word_given_topic: Float64[np.ndarray, "topic word"], length: Length) -> int:
    """Return the greatest length that `length` allows whose joint has at most LISTED_STATES states; 1 at least."""
    n_pairs = int((word_given_topic > 0).sum())
    most = length if isinstance(length, int) else np.inf if length is None else length[1]
    n = 1
    while n < most and max(n_pairs, 2) ** (n + 1) <= LISTED_STATES:
        n += 1
    return n


def topics_joint(word_given_topic: Float64[np.ndarray, "topic word"], urn: Urn, length: Length, where: str) -> Joint:
    """List the joint of a document of `length` words: what one word tells of the others, and of its own topic.

    Raises InputError unless the length is one number, LimitExceeded where there are more than MAX_STATES states.
    """
    if not isinstance(length, int):
        raise InputError(f"{where}: this process has no single length, got {length}; use of_length(3).joint(), or small().")
    topic, word = np.nonzero(word_given_topic)  # other pairs have probability 0
    n_states = len(topic) ** length
    if n_states > MAX_STATES:
        raise LimitExceeded(
            f"{where}: {length} words of {len(topic)} pairs of topic and word have {float(n_states):.1e} states; at most "
            f"{MAX_STATES:,} are listed.\nUse small().joint(), or of_length with a smaller one."
        )
    pair = np.indices((len(topic),) * length).reshape(length, -1).T
    assignments = topic[pair]
    probability = urn(assignments)
    for i in range(length):
        probability = probability * word_given_topic[topic, word][pair[:, i]]
    everything = np.ones((length, length), dtype=bool)
    others = ~np.eye(length, dtype=bool)
    queries = {
        "assignments": Query(lambda process, tokens: process.beliefs(tokens).assignments, assignments, everything),
        "proportions": Query(lambda process, tokens: leave_one_out(process, tokens, "proportions"), assignments, others),
        "predictive": Query(lambda process, tokens: leave_one_out(process, tokens, "predictive"), word[pair], others),
    }
    return Joint(word[pair], probability, queries, lambda process, tokens: process.beliefs(tokens).log_evidence)


def leave_one_out(process: Any, tokens: np.ndarray, name: str) -> np.ndarray:
    """Return one part of the beliefs given all words but one, for every word: [n, length, outcome]."""
    process.beliefs(tokens)  # refuses what is no document, also where the hidden word is what is wrong
    shown = np.ones_like(tokens, dtype=bool)
    answers = []
    for i in range(shown.shape[1]):
        observed = shown.copy()
        observed[:, i] = False
        answers.append(getattr(process.beliefs(tokens, observed), name))
    return np.stack(answers, axis=1)


def dirichlet_urn(
    assignments: Int[np.ndarray, "state length"], alpha: Float64[np.ndarray, " topic"]
) -> Float64[np.ndarray, " state"]:
    """Return P(z) for proportions from Dirichlet(alpha), drawn one after the other from Polya's urn."""
    probability = np.ones(len(assignments))
    for i, topic in enumerate(assignments.T):
        before = (assignments[:, :i] == topic[:, None]).sum(axis=1)
        probability = probability * (alpha[topic] + before) / (alpha.sum() + i)
    return probability


def support_urn(
    assignments: Int[np.ndarray, "state length"], n_topics: int, topics_per_document: int
) -> Float64[np.ndarray, " state"]:
    """Return P(z) for proportions 1 / tau on tau topics, all sets of tau topics equally probable."""
    inside = [np.isin(assignments, members).all(axis=1) for members in combinations(range(n_topics), topics_per_document)]
    return np.mean(inside, axis=0) * topics_per_document ** -float(assignments.shape[1])
