"""Pairs of documents for causal tests of the belief about topics that a model answers from.

With another document's belief in place of its own, a hidden word must follow the predictive of that belief, whatever the document
shows. The belief may be written where one word is asked for, and must then leave the answers about other hidden words alone, or
at all positions, where the document's own words stand.
"""

from __future__ import annotations

import numpy as np

from mechbp.divergence import kl_nats
from mechbp.errors import InputError, TooFewSequences
from mechbp.methods.interchange.pairs import LEAST_NATS, LEAST_PAIRS, Pairs
from mechbp.theory.topics.hidden_words import Shown, Topics, shown_beliefs, unigram


def belief_pairs(
    process: Topics, shown: Shown, n: int, *, everywhere: bool = False, least_nats: float = LEAST_NATS
) -> Pairs:  # fmt: skip
    """Pair the documents of the first half, which receive, with those of the second, which lend; keep up to n pairs.

    shown: ids whose position 0 hides the word asked for. Pairs are kept if the exact predictive moves by `least_nats`, chosen by
    exact inference alone, and, unless the belief is written `everywhere`, if the receiver hides a second word, the bystander.
    Without the belief the predictive is that of a document that shows nothing.
    Raises InputError where position 0 shows something, TooFewSequences where fewer than LEAST_PAIRS remain.
    """
    mask = process.vocab_size
    if n < 1 or (shown[:, 0] != mask).any():
        raise InputError(f"belief_pairs: need n >= 1 and documents that hide the word at position 0, got n = {n}.")
    half = len(shown) // 2
    base = shown[:half]
    source = shown[half : 2 * half]
    before = shown_beliefs(process, base).predictive
    expected = shown_beliefs(process, source).predictive
    moved = kl_nats(expected, before) >= least_nats
    others = base == mask
    others[:, 0] = False
    keep = np.flatnonzero(moved if everywhere else moved & others.any(axis=1))[:n]
    if len(keep) < LEAST_PAIRS:
        raise TooFewSequences(
            f"belief_pairs: only {len(keep)} of {half} pairs of documents have predictives that differ by {least_nats:g} nats; "
            f"at least {LEAST_PAIRS} are needed.\nGive more documents, or a smaller least_nats."
        )
    reach = np.full(base[keep].shape, everywhere)
    reach[:, 0] = True
    return Pairs(
        base=base[keep],
        source=source[keep],
        positions=reach,
        query=np.zeros(len(keep), np.int64),
        before=before[keep],
        expected=expected[keep],
        without=np.tile(unigram(process), (len(keep), 1)),
        bystander=None if everywhere else others[keep].argmax(axis=1),
        bystander_answer=None if everywhere else before[keep],
        share_kept=float(moved.mean()),
    )
