"""Pairs of words that tell a belief handed on from token to token from one computed anew at every token.

The belief after a token is all that the past says about the future: a filter that runs on from another word's belief answers
every later token from it, and needs nothing older. A model that adds up tokens anew at every position answers later tokens from
the base's own past instead, whatever belief stood in between. Both exact answers are known, and so is a third, that of the base
with this one token replaced: what follows where later positions take from this one no more than its token.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int

from mechbp.brief import Brief
from mechbp.divergence import kl_nats
from mechbp.errors import InputError, TooFewSequences
from mechbp.methods.interchange.pairs import CANDIDATES, LEAST_NATS, LEAST_PAIRS
from mechbp.processes.chain.hmm import HiddenMarkovModel
from mechbp.randomness import checked_generator

ALIKE = 1e-9
"""Predictives that differ by less are one and the same."""
ROUNDS = 8
"""Times that candidates are drawn; pairs whose predictives agree are rare."""


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class FuturePairs(Brief):
    """Row i of every field is one pair; answers are those after the token at `position` and after every later one."""

    base: Int[np.ndarray, "n length"]
    """Words that receive."""
    source: Int[np.ndarray, "n length"]
    """Words that lend: their own tokens up to `position`, the base's behind it."""
    position: int
    """Where the belief is written, counted from 0."""
    own: Float64[np.ndarray, "n lag q"]
    """Exact answers on the base as it is."""
    handed: Float64[np.ndarray, "n lag q"]
    """Exact answers of the filter that goes on from the source's belief with the base's later tokens."""
    swapped: Float64[np.ndarray, "n lag q"]
    """Exact answers on the base with the token at `position` replaced by the source's; NaN from where that is impossible."""
    share_kept: float
    """Share of the candidates that were kept."""

    def __len__(self) -> int:
        return len(self.base)


def future_pairs(
    hmm: HiddenMarkovModel,
    position: int,
    length: int,
    n: int,
    rng: np.random.Generator,
    *,
    alike_now: bool = False,
    least_nats: float = LEAST_NATS,
) -> FuturePairs:
    """Draw up to n pairs of words of `length` tokens whose beliefs after the token at `position` have different futures.

    Kept are pairs in which the base's later tokens are possible after the source's, and in which the exact answers after them
    differ by `least_nats` on average (KL(handed || own), nats). With `alike_now` the two beliefs predict the same next token, so
    that only later answers can tell them apart. Chosen by exact inference alone.
    Raises TooFewSequences where fewer than LEAST_PAIRS remain: beliefs that predict alike need not exist.
    """
    checked_generator(rng, "future_pairs")
    whole = all(isinstance(value, int | np.integer) and not isinstance(value, bool) for value in (position, length, n))
    if not isinstance(hmm, HiddenMarkovModel) or not whole or not 0 <= position < length - 1 or n < 1:
        raise InputError(
            f"future_pairs: need a HiddenMarkovModel, 0 <= position < length - 1 and n >= 1, got {type(hmm).__name__}, "
            f"{position!r}, {length!r} and {n!r}."
        )
    kept = []
    drawn = 0
    while drawn < ROUNDS * CANDIDATES * n and sum(len(base) for base, _ in kept) < n:
        base, lent = (hmm.sample(CANDIDATES * n, rng, length).tokens for _ in range(2))
        source = np.hstack([lent[:, : position + 1], base[:, position + 1 :]])
        own, handed = (_answers(hmm, tokens, position) for tokens in (base, source))
        moved = np.where(np.isnan(handed).any(axis=(1, 2)), 0.0, kl_nats(handed, own)[:, 1:].mean(axis=1))
        keep = moved >= least_nats
        if alike_now:
            keep &= np.abs(handed[:, 0] - own[:, 0]).max(axis=1) <= ALIKE
        kept.append((base[keep], source[keep]))
        drawn += len(base)
    base, source = (np.concatenate(parts)[:n] for parts in zip(*kept, strict=True))
    if len(base) < LEAST_PAIRS:
        raise TooFewSequences(
            f"future_pairs: only {len(base)} of {drawn:,} pairs of words have later answers that differ by {least_nats:g} nats"
            f"{' and the same next token' if alike_now else ''}; at least {LEAST_PAIRS} are needed.\n"
            "Ask for more pairs, or for a smaller least_nats."
        )
    token = base.copy()
    token[:, position] = source[:, position]
    own, handed, swapped = (_answers(hmm, tokens, position) for tokens in (base, source, token))
    share = sum(len(rows) for rows, _ in kept) / drawn
    return FuturePairs(
        base=base, source=source, position=position, own=own, handed=handed, swapped=swapped, share_kept=share
    )  # fmt: skip


def _answers(hmm: HiddenMarkovModel, tokens: Int[np.ndarray, "n length"], position: int) -> Float64[np.ndarray, "n lag q"]:
    """Exact predictives after the token at `position` and after every later one; NaN once the tokens are impossible."""
    belief = np.tile(hmm.start, (len(tokens), 1))
    found = []
    for place, column in enumerate(tokens.T):
        joint = np.einsum("ns,nsj->nj", belief, hmm.transitions[column])
        mass = joint.sum(axis=1, keepdims=True)
        with np.errstate(invalid="ignore"):
            belief = np.where(mass > 0, joint / np.where(mass > 0, mass, 1.0), np.nan)
        if place >= position:
            found.append(hmm.predictive(belief))
    return np.stack(found, axis=1)
