"""All words of a process with their probabilities: what expectations are taken over when nothing is sampled.

Words are enumerated level by level, in lexicographic order, so that every prefix is extended once and knows its number: a causal
model cannot tell words with one prefix apart there, so these numbers say which of its activations are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64, Int

from mechbp.brief import Brief
from mechbp.errors import InputError, LimitExceeded
from mechbp.processes.chain.hmm import HiddenMarkovModel

MAX_NUMBERS = 2**26
"""Largest number of belief entries of one level, half a GiB."""


@dataclass(frozen=True, eq=False, repr=False)
class Words(Brief):
    """Every word of one length that has positive probability, with the belief after each of its prefixes."""

    tokens: Int[np.ndarray, "word length"]
    probability: Float64[np.ndarray, " word"]
    beliefs: Float64[np.ndarray, "word length+1 state"]
    """As `HiddenMarkovModel.beliefs` gives them."""
    prefix: Int[np.ndarray, "word length"]
    """prefix[w, t] numbers the first t + 1 tokens of word w among all prefixes of all lengths, shorter ones first."""

    @property
    def n_prefixes(self) -> int:
        """Number of distinct prefixes, the words themselves included and the empty one not."""
        return int(self.prefix[-1, -1]) + 1

    @cached_property
    def first_of_prefix(self) -> Int[np.ndarray, " prefix"]:
        """For every prefix, where it first stands in the flattened [word, position]."""
        return np.unique(self.prefix.ravel(), return_index=True)[1]

    @cached_property
    def last_position(self) -> Int[np.ndarray, " prefix"]:
        """For every prefix the position of its last token."""
        return self.first_of_prefix % self.tokens.shape[1]

    @cached_property
    def prefix_probability(self) -> Float64[np.ndarray, " prefix"]:
        """P(the first tokens are this prefix); they sum to 1 over the prefixes of one length."""
        return np.bincount(self.prefix.ravel(), np.repeat(self.probability, self.tokens.shape[1]))

    def of_prefixes(self, values: Float64[np.ndarray, "word length last"]) -> Float64[np.ndarray, "prefix last"]:
        """Return, once per prefix, values that depend on nothing but the prefix, such as beliefs[:, 1:]."""
        return values.reshape(-1, values.shape[-1])[self.first_of_prefix]


@dataclass(frozen=True, eq=False, repr=False)
class MixedStates(Brief):
    """The beliefs that some word leads to, each once: the states of the mixed-state presentation."""

    beliefs: Float64[np.ndarray, "belief state"]
    """In the order in which they were first reached; the first is the start."""
    depth: Int[np.ndarray, " belief"]
    """Length of the shortest word that reaches it."""
    closed: bool
    """Whether there are no others: every token leads from these beliefs to these beliefs."""


def enumerate_words(hmm: HiddenMarkovModel, length: int) -> Words:
    """Return all words of `length` tokens with positive probability, in lexicographic order.

    Raises LimitExceeded where there would be too many, before they are made.
    """
    if not isinstance(length, int | np.integer) or isinstance(length, bool) or length < 1:
        raise InputError(f"enumerate_words: length must be an integer >= 1, got {length!r:.60}.")
    mass = hmm.start[None]  # P(word, state after it)
    tokens = np.empty((1, 0), np.int64)
    beliefs = hmm.start[None, None]
    prefix = np.empty((1, 0), np.int64)
    before = 0
    for _ in range(length):
        grown = len(mass) * hmm.vocab_size * (beliefs.shape[1] + 1) * hmm.n_states
        if grown > MAX_NUMBERS:
            raise LimitExceeded(
                f"enumerate_words: {hmm.vocab_size} tokens and length {length} give too many words; {len(mass):,} have "
                f"{tokens.shape[1]} tokens.\nTake shorter words, or sample some."
            )
        joint = np.einsum("ws,vsj->wvj", mass, hmm.transitions)
        word, token = np.nonzero(joint.sum(axis=2) > 0)
        mass = joint[word, token]
        belief = mass / mass.sum(axis=1, keepdims=True)
        tokens = np.hstack([tokens[word], token[:, None]])
        beliefs = np.concatenate([beliefs[word], belief[:, None]], axis=1)
        prefix = np.hstack([prefix[word], before + np.arange(len(word))[:, None]])
        before += len(word)
    return Words(tokens, mass.sum(axis=1), beliefs, prefix)


def mixed_states(hmm: HiddenMarkovModel, depth: int, decimals: int = 5) -> MixedStates:
    """Return the distinct beliefs that words of up to `depth` tokens lead to, equal ones told by `decimals` decimals.

    Equal beliefs are followed once, so that a finite set is found at any depth; the search stops when nothing new appears.
    """
    fine = max(decimals + 5, 12)
    level = hmm.start[None]
    found = [hmm.start[None]]
    depths = [np.zeros(1, np.int64)]
    closed = False
    seen = {row.tobytes() for row in _rounded(level, fine)}
    for d in range(1, depth + 1):
        joint = np.einsum("ws,vsj->wvj", level, hmm.transitions).reshape(-1, hmm.n_states)
        chance = joint.sum(axis=1)
        level = joint[chance > 0] / chance[chance > 0, None]
        keys = _rounded(level, fine)
        keep = [i for i, key in enumerate(map(bytes, keys)) if key not in seen and not seen.add(key)]
        if not keep:
            closed = True
            break
        level = level[keep]
        if level.size * hmm.vocab_size > MAX_NUMBERS:
            raise LimitExceeded(f"mixed_states: {len(level):,} beliefs after {d} tokens are too many; take a smaller depth.")
        found.append(level)
        depths.append(np.full(len(level), d))
    beliefs = np.concatenate(found)
    first = np.sort(np.unique(_rounded(beliefs, decimals), axis=0, return_index=True)[1])
    return MixedStates(beliefs[first], np.concatenate(depths)[first], closed)


def _rounded(beliefs: np.ndarray, decimals: int) -> np.ndarray:
    return beliefs.round(decimals) + 0.0  # + 0.0 turns -0.0 into 0.0
