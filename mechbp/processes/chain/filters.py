"""The family of observers of a chain, from the exact one to those that forget or take shortcuts, on one signature.

Each gives a belief about the state after every token. (Source: Garnier-Brun et al. 2025 for filtering, here re-rooted at the
newest token; Piotrowski et al. 2025 for the constrained belief.)
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Integer

from mechbp.errors import InputError
from mechbp.processes.chain.constrained import influence
from mechbp.processes.chain.hmm import HiddenMarkovModel
from mechbp.processes.pooling import multiplied

Beliefs = Float64[np.ndarray, "n length+1 state"]


def filtered_beliefs(hmm: HiddenMarkovModel, tokens: Integer[np.ndarray, "n length"], level: int) -> Beliefs:
    """Return the belief of an observer to whom the last `level` tokens are independent given the newest state.

    Level 0 is the exact belief, a level >= length naive Bayes. A belief that this observer holds impossible is a row of zeros.
    """
    _checked_level(level, "filtered_beliefs")
    beliefs = hmm.beliefs(tokens)
    evidence = np.asarray(tokens, np.int64)
    length = evidence.shape[1]
    table = influence(hmm.transitions, hmm.start, max(min(level, length), 1))
    filtered = beliefs.copy()
    for d in range(1, length + 1):
        recent = min(level, d)
        past = beliefs[:, d - recent] @ np.linalg.matrix_power(hmm.state_transitions, recent)
        filtered[:, d] = multiplied(hmm.start, table[:recent][::-1], evidence[:, d - recent : d], past)
    return filtered


def naive_bayes_beliefs(hmm: HiddenMarkovModel, tokens: Integer[np.ndarray, "n length"]) -> Beliefs:
    """Return the belief that multiplies what every token says on its own: the fully filtered one."""
    return filtered_beliefs(hmm, tokens, np.shape(tokens)[1])


def truncated_beliefs(hmm: HiddenMarkovModel, tokens: Integer[np.ndarray, "n length"], memory: int) -> Beliefs:
    """Return the exact belief of an observer who remembers the last `memory` tokens only; memory 0 is the prior throughout."""
    _checked_level(memory, "truncated_beliefs")
    beliefs = hmm.beliefs(tokens)
    rows = np.asarray(tokens)
    for d in range(memory + 1, rows.shape[1] + 1):
        beliefs[:, d] = hmm.beliefs(rows[:, d - memory : d])[:, -1]
    return beliefs


def _checked_level(level: object, where: str) -> None:
    if not isinstance(level, int | np.integer) or isinstance(level, bool) or level < 0:
        raise InputError(f"{where}: expected a number of tokens >= 0, got {level!r:.60}.")
