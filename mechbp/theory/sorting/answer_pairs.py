"""Pairs of independent lists for causal tests of what a model that sorts holds where it is asked: the value to be named next.

Exact inference needs one quantity there, the smallest value of the list above the current one. With another list's in its place
the answer must be the other list's, whether or not it is in the list at all.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int

from mechbp.errors import InputError, TooFewSequences
from mechbp.methods.interchange.pairs import CANDIDATES, LEAST_PAIRS, Pairs
from mechbp.processes.sorting.rungs import Rung
from mechbp.processes.sorting.sorted_lists import SortedLists
from mechbp.processes.sorting.splits import Split
from mechbp.randomness import checked_generator


def answer_pairs(
    process: SortedLists,
    n: int,
    rng: np.random.Generator,
    *,
    same: bool = False,
    asked: int | None = None,
    split: Split | None = "test",
) -> Pairs:
    """Draw up to n pairs of lists that are asked at the same position and have different answers there.

    same: pairs of different lists whose answers are equal, a control; the base list is uniform in the split, the source one of
    those drawn that fit it. asked: how many values have been named; None draws it uniformly for every pair. Inputs are the
    sequences without their last token; without the quantity, the answer follows the token asked at and its position.
    Raises InputError for arguments that do not fit, TooFewSequences where fewer than LEAST_PAIRS remain.
    """
    checked_generator(rng, "answer_pairs")
    if n < 1 or not (asked is None or 0 <= asked < process.length):
        raise InputError(f"answer_pairs: need n >= 1 and asked in 0..{process.length - 1}, got {n} and {asked}.")
    base, source = (process.sample(CANDIDATES * n, rng, split).tokens for _ in range(2))
    position = rng.integers(process.length, size=len(base)) if asked is None else np.full(len(base), asked)
    query = process.length + position
    rows = np.arange(len(base))
    answer = base[rows, query + 1]
    if same:
        partner = _with_answer(source, query, answer, rng)
        source = source[partner]
        fits = (partner >= 0) & (base[:, process.length + 1 :] != source[:, process.length + 1 :]).any(axis=1)
    else:
        fits = answer != source[rows, query + 1]
    keep = np.flatnonzero(fits)[:n]
    if len(keep) < LEAST_PAIRS:
        raise TooFewSequences(
            f"answer_pairs: only {len(keep)} of {len(base)} pairs of lists fit; at least {LEAST_PAIRS} are needed.\n"
            f"Ask for more pairs, or for lists of a larger design."
        )
    base, source, query = base[keep], source[keep], query[keep]
    rows = np.arange(len(keep))
    point = np.eye(process.vocab_size + 1)
    known = Rung(process, "token and position").table
    token_asked_at = base[rows, query]
    return Pairs(
        base=base[:, :-1],
        source=source[:, :-1],
        positions=np.arange(base.shape[1] - 1) == query[:, None],
        query=query,
        before=point[base[rows, query + 1]],
        expected=point[source[rows, query + 1]],
        without=known[query - process.length, token_asked_at],
        share_kept=float(fits.mean()),
    )


def source_answers(pairs: Pairs) -> Int[np.ndarray, " n"]:
    """Return the answers that the sources lend."""
    return pairs.expected.argmax(axis=1)


def lent_is_foreign(process: SortedLists, pairs: Pairs) -> Bool[np.ndarray, " n"]:
    """Return where the source's answer is not in the base list, so that no attention to the list could name it."""
    return (pairs.base[:, : process.length] != source_answers(pairs)[:, None]).all(axis=1)


def lent_is_above(process: SortedLists, pairs: Pairs) -> Bool[np.ndarray, " n"]:
    """Return where the source's answer is above the token the base is asked at, as answers are; always so at SEP."""
    current = pairs.base[np.arange(len(pairs)), pairs.query]
    return (current == process.separator) | (source_answers(pairs) > current)


def _with_answer(
    pool: Int[np.ndarray, "m _positions"], query: Int[np.ndarray, " n"], answer: Int[np.ndarray, " n"], rng: np.random.Generator
) -> Int[np.ndarray, " n"]:
    """For each question and answer, a random sequence of the pool with that answer there; -1 where there is none."""
    partner = np.full(len(query), -1)
    for asked in np.unique(query):
        here = np.flatnonzero(query == asked)
        order = pool[:, asked + 1].argsort(kind="stable")
        in_order = pool[order, asked + 1]
        first, last = (np.searchsorted(in_order, answer[here], side=side) for side in ("left", "right"))
        some = last > first
        partner[here[some]] = order[rng.integers(first[some], last[some])]
    return partner
