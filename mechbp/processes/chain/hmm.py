"""Hidden Markov models that emit a token on every transition, and the belief an ideal observer holds after every token.

Beliefs are row vectors: reading token z takes eta to eta T^(z), normalised. (Source: Shai et al. 2024, section 2; Piotrowski et
al. 2025, Eqs. 2, 24, 25.)
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float64, Int, Integer, Real

from mechbp.arguments import check_memory, checked_count, checked_reals, told
from mechbp.brief import Brief
from mechbp.errors import ImpossibleEvidence, InputError, LimitExceeded
from mechbp.processes.chain.constrained import Evidence, constrained_beliefs
from mechbp.processes.chain.joint import chain_joint, small_length
from mechbp.processes.chain.messages import chain_messages
from mechbp.processes.drawing import draw
from mechbp.processes.evidence import checked_evidence
from mechbp.processes.process import Joint
from mechbp.processes.read_only import read_only
from mechbp.processes.tree.belief_propagation import TreeBeliefs
from mechbp.randomness import checked_generator

ROW_SUM_TOLERANCE = 1e-9
"""Rows may miss 1 by this much; they are renormalised exactly."""
MAX_ENTRIES = 2**24
"""Largest number of transition probabilities."""


@dataclass(frozen=True, eq=False, repr=False)
class ChainSample(Brief):
    """Sequences drawn from a HiddenMarkovModel, with the states passed through."""

    tokens: Int[np.ndarray, "n length"]
    states: Int[np.ndarray, "n length+1"]
    """states[:, t] holds before token t is emitted; states[:, t + 1] after it."""


@dataclass(frozen=True, eq=False, repr=False)
class HiddenMarkovModel(Brief):
    """A chain of hidden states; T^(z)[i, j] = P(token z, next state j | state i).

    >>> import mechbp, numpy as np
    >>> weather = np.array([[[0.8, 0.1], [0.0, 0.0]], [[0.0, 0.1], [0.5, 0.5]]])
    >>> hmm = mechbp.HiddenMarkovModel(weather)
    >>> words = hmm.sample(3, length=6, rng=mechbp.rng(0, "words"))
    >>> hmm.predictive(hmm.beliefs(words.tokens)).shape
    (3, 7, 2)
    """

    transitions: Real[np.ndarray, "token state state"]
    """[token, from, to], summing to 1 over tokens and arrivals; kept as a read-only float64 copy."""
    start: Real[np.ndarray, " state"] = field(default=None)  # type: ignore[assignment]
    """Law of the state before the first token; the stationary one when not given, which must then be unique."""
    length: int | None = None
    """Tokens per sequence where the model is asked for sequences without saying how long."""

    def __post_init__(self) -> None:
        expected = "real numbers [token, from, to]"
        transitions = np.array(checked_reals(self.transitions, "HiddenMarkovModel", "transitions", expected), np.float64)
        if transitions.ndim != 3 or transitions.shape[1] != transitions.shape[2] or 0 in transitions.shape:
            raise InputError(f"HiddenMarkovModel: transitions must be [token, from, to], got shape {list(transitions.shape)}.")
        if transitions.size > MAX_ENTRIES:
            raise LimitExceeded(f"HiddenMarkovModel: {transitions.size:,} transitions; at most {MAX_ENTRIES:,} are allowed.")
        if not np.isfinite(transitions).all() or (transitions < 0).any():
            z, i, j = np.argwhere(~(np.isfinite(transitions) & (transitions >= 0)))[0]
            raise InputError(f"HiddenMarkovModel: transitions[{z}, {i}, {j}] = {transitions[z, i, j]} is no probability.")
        rows = transitions.sum(axis=(0, 2))
        wrong = np.flatnonzero(np.abs(rows - 1) > ROW_SUM_TOLERANCE)
        if wrong.size:
            raise InputError(
                f"HiddenMarkovModel: the transitions from state {wrong[0]} sum to {rows[wrong[0]]:.12g} over tokens and "
                f"arrivals, expected 1."
            )
        transitions /= rows[:, None]
        start = _stationary(transitions.sum(axis=0)) if self.start is None else _checked_start(self.start, transitions.shape[1])
        object.__setattr__(self, "transitions", transitions)
        object.__setattr__(self, "start", start)
        _checked_length(self.length, "HiddenMarkovModel", optional=True)
        transitions.setflags(write=False)
        start.setflags(write=False)

    @property
    def vocab_size(self) -> int:
        """Number of tokens; tokens are 0..vocab_size-1."""
        return self.transitions.shape[0]

    @property
    def n_states(self) -> int:
        """Number of hidden states."""
        return self.transitions.shape[1]

    @property
    def mask_token(self) -> int:
        """Token id vocab_size: a token that is not observed."""
        return self.vocab_size

    @cached_property
    def state_transitions(self) -> Float64[np.ndarray, "state state"]:
        """T[i, j] = P(next state j | state i)."""
        return read_only(self.transitions.sum(axis=0))

    @cached_property
    def emissions(self) -> Float64[np.ndarray, "state token"]:
        """P(next token z | state i)."""
        return read_only(self.transitions.sum(axis=2).T.copy())

    def of_length(self, length: int) -> HiddenMarkovModel:
        """Return the same process, asked for sequences of `length` tokens unless told otherwise."""
        return replace(self, length=length)

    def small(self) -> HiddenMarkovModel:
        """Return the same process at a length at which its joint can be listed."""
        length = small_length(self.n_states, self.vocab_size, self.length)
        return self if length == self.length else self.of_length(length)

    def joint(self) -> Joint:
        """List P(states, tokens) at this model's length. Raises LimitExceeded where that is too long."""
        if self.length is None:
            raise InputError("HiddenMarkovModel.joint: this model has no length; say how long, of_length(4).joint(), or small().")
        return chain_joint(self.transitions, self.start, self.length)

    def sample(self, n: int, rng: np.random.Generator, length: int | None = None) -> ChainSample:
        """Draw n independent sequences of `length` tokens, each from a new start."""
        n = checked_count(n, "HiddenMarkovModel.sample", "n", least=0)
        checked_generator(rng, "HiddenMarkovModel.sample")
        wanted = self.length if length is None else length
        if wanted is None:
            raise InputError("HiddenMarkovModel.sample: say how long the sequences are, length=10; this model has no length.")
        _checked_length(wanted, "HiddenMarkovModel.sample")
        what = f"{n:,} sequences of {told(wanted)} tokens"
        check_memory(16.0 * n * (int(wanted) + 4), "HiddenMarkovModel.sample", what, "Draw fewer, or shorter ones.")
        steps = self.transitions.transpose(1, 0, 2).reshape(self.n_states, -1)
        tokens = np.empty((n, wanted), np.int64)
        states = np.empty((n, wanted + 1), np.int64)
        states[:, 0] = draw(self.start[None], np.zeros(n, np.int64), rng)
        for t in range(wanted):
            tokens[:, t], states[:, t + 1] = np.divmod(draw(steps, states[:, t], rng), self.n_states)
        return ChainSample(tokens, states)

    def beliefs(
        self, tokens: Integer[np.ndarray, "n length"], observed: Bool[np.ndarray, "n length"] | None = None
    ) -> Float64[np.ndarray, "n length+1 state"]:
        """Return P(state after t tokens | those tokens) for t = 0..length; index 0 is the law of the start.

        The belief that belongs to the activation at position t, which has seen token t, is at index t + 1.
        Raises ImpossibleEvidence, naming the first example, where the tokens have probability 0.
        """
        return self._filtered(tokens, "HiddenMarkovModel.beliefs", observed)[0]

    def log_evidence(
        self, tokens: Integer[np.ndarray, "n length"], observed: Bool[np.ndarray, "n length"] | None = None
    ) -> Float64[np.ndarray, " n"]:
        """Return log P(observed tokens), nats. Raises ImpossibleEvidence as `beliefs` does."""
        return self._filtered(tokens, "HiddenMarkovModel.log_evidence", observed)[1]

    def predictive(self, beliefs: Float64[np.ndarray, "*n state"]) -> Float64[np.ndarray, "*n token"]:
        """Return P(next token | belief)."""
        where, expected = "HiddenMarkovModel.predictive", f"probabilities [..., {self.n_states}]"
        given = checked_reals(beliefs, where, "beliefs", expected)
        if given.shape[-1:] != (self.n_states,) or np.isinf(given).any():
            raise InputError(f"{where}: beliefs must be {expected}, got {told(beliefs)} of shape {list(given.shape)}.")
        return given @ self.emissions

    def messages(
        self, tokens: Integer[np.ndarray, "n length"], observed: Bool[np.ndarray, "n length"] | None = None
    ) -> TreeBeliefs:
        """Return the messages of belief propagation on the chain, the comb-shaped tree whose node at depth t is state t.

        Downward messages are the beliefs given the tokens before, upward ones the evidence of the tokens after, marginals the
        smoothed beliefs given all tokens; each [n, 1, state]. Raises ImpossibleEvidence as `beliefs` does.
        """
        evidence = self._checked(tokens, "HiddenMarkovModel.messages", observed)
        messages = chain_messages(self.transitions, self.start, evidence)
        _refuse_impossible(np.isneginf(messages.log_evidence), "HiddenMarkovModel.messages")
        return messages

    def constrained_beliefs(
        self, tokens: Integer[np.ndarray, "n length"], evidence: Evidence = "bayes"
    ) -> Float64[np.ndarray, "n length+1 state"]:
        """Return the belief that adds up what every token says on its own; index 0 is the prior, entries may be negative.

        `evidence`: "bayes" uses P(state | token) (Eq. 26), "row" averages row-normalised transitions (Eq. 27). Masked tokens
        say nothing. Raises InputError for "row" where some state cannot emit some token.
        (Source: Piotrowski et al. 2025, Eqs. 5, 26, 27.)
        """
        shown = self._checked(tokens, "HiddenMarkovModel.constrained_beliefs")
        return constrained_beliefs(self.transitions, self.start, shown, evidence)

    def _checked(self, tokens: object, where: str, observed: object = None) -> Int[np.ndarray, "n length"]:
        return checked_evidence(
            tokens, where, vocab_size=self.vocab_size, length=None, place="position", observed=observed
        )  # fmt: skip

    def _filtered(self, tokens: object, where: str, observed: object) -> tuple[np.ndarray, np.ndarray]:
        """Beliefs and the log probability of each sequence."""
        evidence = self._checked(tokens, where, observed)
        n, length = evidence.shape
        # One row per token and a last one for a token that is not observed, laid out so that one product serves all of them.
        steps = np.concatenate([self.transitions, self.state_transitions[None]]).transpose(1, 0, 2).reshape(self.n_states, -1)
        beliefs = np.empty((n, length + 1, self.n_states))
        log_evidence = np.zeros(n)
        belief = np.tile(self.start, (n, 1))
        rows = np.arange(n)
        beliefs[:, 0] = belief
        for t in range(length):
            joint = (belief @ steps).reshape(n, self.vocab_size + 1, self.n_states)[rows, evidence[:, t]]
            chance = joint.sum(axis=1)
            _refuse_impossible(chance <= 0, where, t)
            belief = joint / chance[:, None]
            beliefs[:, t + 1] = belief
            log_evidence += np.log(chance)
        return beliefs, log_evidence


def _refuse_impossible(impossible: np.ndarray, where: str, position: int | None = None) -> None:
    if impossible.any():
        example = int(np.flatnonzero(impossible)[0])
        until = "" if position is None else f" up to position {position}"
        raise ImpossibleEvidence(
            f"{where}: the tokens of example {example}{until} have probability 0 under this process "
            f"({int(impossible.sum())} of {len(impossible)} examples).\nRemove these examples, or mask the offending tokens.",
            example=example,
        )


def _stationary(steps: Float64[np.ndarray, "state state"]) -> Float64[np.ndarray, " state"]:
    """The law that one step leaves as it is. Raises InputError where there are several."""
    n = len(steps)
    singular = np.linalg.svd(steps.T - np.eye(n), compute_uv=False)
    if n > 1 and singular[-2] < 1e-10:
        raise InputError(
            "HiddenMarkovModel: the states fall apart into parts that never meet, so no single stationary law exists.\n"
            "Pass start=, the law of the first state."
        )
    equations = np.vstack([steps.T - np.eye(n), np.ones(n)])
    law = np.linalg.lstsq(equations, np.append(np.zeros(n), 1.0), rcond=None)[0]
    law = np.maximum(law, 0.0)
    law[law < 1e-15] = 0.0
    return law / law.sum()


def _checked_start(start: object, n_states: int) -> Float64[np.ndarray, " state"]:
    law = np.array(checked_reals(start, "HiddenMarkovModel", "start", f"{n_states} probabilities"), np.float64)
    if law.shape != (n_states,) or not np.isfinite(law).all() or (law < 0).any() or abs(law.sum() - 1) > ROW_SUM_TOLERANCE:
        raise InputError(f"HiddenMarkovModel: start must be {n_states} probabilities that sum to 1, got {told(start)}.")
    return law / law.sum()


def _checked_length(length: object, where: str, optional: bool = False) -> None:
    if optional and length is None:
        return
    checked_count(length, where, "length")
