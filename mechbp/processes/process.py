"""What a data-generating process offers: sequences, exact beliefs about them, and its joint distribution, stated once.

`mechbp.check_process` holds a process to it: the clever algorithms behind `beliefs` and the like are compared with plain sums
over the joint. A family of one's own needs no base class, only these members.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float64, Integer

from mechbp.brief import Brief

ABSENT = -1
"""What stands after the end of a sequence that is shorter than others; `absent_token` of a process that has such sequences."""

Beliefs = TypeVar("Beliefs", covariant=True)


@runtime_checkable
class Sample(Protocol):
    """Sequences drawn from a process, beside whatever hidden variables it also draws."""

    @property
    def tokens(self) -> Integer[np.ndarray, "n length"]:
        """Symbols 0..vocab_size-1; ABSENT after the end of a sequence, where the process has an `absent_token`."""
        ...


@dataclass(frozen=True, eq=False, repr=False)
class Query(Brief):
    """One exact answer that a process gives: distributions of variables, hidden ones or tokens, given some of the tokens."""

    answer: Callable[[Any, np.ndarray], np.ndarray]
    """answer(process, tokens)[i, v, a] = P(variable v = a | the tokens of example i that `given` marks)."""
    variables: Integer[np.ndarray, "state variable"]
    """The value of every variable in every state of the joint, 0..outcomes-1."""
    given: Bool[np.ndarray, "variable length"]
    """Which tokens the distribution of a variable is conditioned on."""
    likelihood: bool = False
    """Whether the answer is P(given tokens | variable = a) instead, scaled to sum to 1 over a."""


@dataclass(frozen=True, eq=False, repr=False)
class Joint(Brief):
    """A process in full: every assignment of its hidden variables and its tokens (a state of the joint), and its probability.

    Hidden variables that are continuous are integrated out. States may have probability 0, or be left out if they do.
    """

    tokens: Integer[np.ndarray, "state length"]
    probability: Float64[np.ndarray, " state"]
    """Sums to 1."""
    queries: Mapping[str, Query]
    """What the process answers exactly, by name: everything that `beliefs` holds, predictives, ..."""
    log_evidence: Callable[[Any, np.ndarray], np.ndarray] | None = None
    """log_evidence(process, tokens) is [n], log P(tokens) in nats; None where the process does not say."""


@runtime_checkable
class Process(Protocol[Beliefs]):
    """A source of sequences whose posterior is known exactly.

    Laws that every implementation keeps, checked by `mechbp.check_process`: immutable; randomness only from the generator
    given; inputs are never changed; the answer for an example does not depend on the batch around it; samples and answers
    agree with the joint.

    >>> import mechbp
    >>> isinstance(mechbp.rrxor(), mechbp.Process), isinstance("a name", mechbp.Process)
    (True, False)
    """

    @property
    def vocab_size(self) -> int:
        """Number of symbols q; symbols are 0..q-1."""
        ...

    def sample(self, n: int, rng: np.random.Generator) -> Sample:
        """Draw n independent sequences."""
        ...

    def beliefs(self, tokens: Integer[np.ndarray, "n length"]) -> Beliefs:
        """Return the exact posterior of the hidden variables; raise ImpossibleEvidence where there is none."""
        ...

    def small(self) -> Process[Beliefs]:
        """Return a process of the same class and the same parameters, so short that its joint can be listed; maybe itself."""
        ...

    def joint(self) -> Joint:
        """List the joint, in the plainest way there is. Raises LimitExceeded where it is too long; see `small`."""
        ...
