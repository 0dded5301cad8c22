"""What a data-generating process offers: sequences, and the exact beliefs an ideal observer holds about them."""

from __future__ import annotations

from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Integer

Beliefs = TypeVar("Beliefs", covariant=True)


@runtime_checkable
class Sample(Protocol):
    """Sequences drawn from a process, beside whatever hidden variables it also draws."""

    @property
    def tokens(self) -> Integer[np.ndarray, "n length"]:
        """Symbols 0..vocab_size-1."""
        ...


@runtime_checkable
class Process(Protocol[Beliefs]):
    """A source of sequences whose posterior is known exactly.

    Promises kept by every implementation and checked in tests/processes/test_process.py: immutable; randomness only from
    the generator given; inputs are never changed; the answer for an example does not depend on the batch around it.
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
