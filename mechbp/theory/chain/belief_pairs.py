"""Pairs of words for causal tests of the belief that a model holds after a token of a chain.

The belief is the downward message of the state after that token: with another word's belief in its place, the next token must
follow the predictive of that belief, whatever was read before. Tokens before keep their own beliefs.
"""

from __future__ import annotations

import numpy as np

from mechbp.divergence import kl_nats
from mechbp.errors import InputError, TooFewSequences
from mechbp.methods.interchange.pairs import CANDIDATES, LEAST_NATS, LEAST_PAIRS, Pairs
from mechbp.processes.chain.hmm import HiddenMarkovModel
from mechbp.randomness import checked_generator


def belief_pairs(
    hmm: HiddenMarkovModel, position: int, n: int, rng: np.random.Generator, *, least_nats: float = LEAST_NATS
) -> Pairs:
    """Draw up to n pairs of independent words that test the belief after the token at `position`, counted from 0.

    Both words have `position + 1` tokens. Pairs are kept if the exact predictive moves by `least_nats`, chosen by exact
    inference alone. Without the belief the predictive is that of the prior at this position; there is no bystander, for a
    causal model answers earlier positions before. Raises TooFewSequences where fewer than LEAST_PAIRS remain.
    """
    checked_generator(rng, "belief_pairs")
    whole = all(isinstance(value, int | np.integer) and not isinstance(value, bool) for value in (position, n))
    if not isinstance(hmm, HiddenMarkovModel) or not whole or position < 0 or n < 1:
        raise InputError(
            f"belief_pairs: need a HiddenMarkovModel, position >= 0 and n >= 1, got {type(hmm).__name__}, {position!r} and {n!r}."
        )
    base, source = (hmm.sample(CANDIDATES * n, rng, position + 1).tokens for _ in range(2))
    before, expected = (hmm.predictive(hmm.beliefs(tokens)[:, -1]) for tokens in (base, source))
    moved = kl_nats(expected, before) >= least_nats
    keep = np.flatnonzero(moved)[:n]
    if len(keep) < LEAST_PAIRS:
        raise TooFewSequences(
            f"belief_pairs: only {len(keep)} of {len(base)} pairs of words have predictives that differ by {least_nats:g} nats; "
            f"at least {LEAST_PAIRS} are needed.\nAsk for more pairs, or for a smaller least_nats."
        )
    prior = hmm.start @ np.linalg.matrix_power(hmm.state_transitions, position + 1)
    reach = np.zeros((len(keep), position + 1), bool)
    reach[:, position] = True
    return Pairs(
        base=base[keep],
        source=source[keep],
        positions=reach,
        query=np.full(len(keep), position),
        before=before[keep],
        expected=expected[keep],
        without=np.tile(hmm.predictive(prior), (len(keep), 1)),
        share_kept=float(moved.mean()),
    )
