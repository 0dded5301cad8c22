"""Attention that would sort, and attention that would not, list by list.

answer          all on the value to be named next: what sorting by copying needs
larger          the same on every value above the current one: knows what is left, not its order
list            the same on every value of the list
another larger  all on one value above the answer, drawn at random; on the answer where nothing is above it: a control
Lists stand in random order, so that the mean pattern over positions says nothing; with the values of every list put in ascending
order, the idealised pattern is one for all lists, and a diagonal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Float64, Int, Integer

from mechbp.divergence import js_nats
from mechbp.errors import InputError
from mechbp.methods.attention.comparison import TIE
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.processes.sorting.sorted_lists import SortedLists
from mechbp.randomness import checked_generator
from mechbp.theory.sorting.asked import AskedLists, asked_lists
from mechbp.theory.sorting.attention_classes import ANSWER, FURTHER, NO_KEY, asked_rows, key_classes

Ideal = Literal["answer", "larger", "list", "another larger"]
IDEALS: tuple[Ideal, ...] = get_args(Ideal)


def idealised_pattern(
    lists: AskedLists, name: Ideal, rng: np.random.Generator | None = None
) -> Float64[np.ndarray, "n asked key"]:
    """Return the pattern of that name for every list, over keys 0..2n-1; rows sum to 1.

    rng: draws "another larger", and is not used by the others. With repeats, equal answers share the weight.
    Raises InputError for another name, or where randomness is missing.
    """
    classes = key_classes(lists)
    in_list = np.arange(classes.shape[2]) < lists.length
    if name == "another larger":
        generator = checked_generator(rng, "idealised_pattern")
        further = classes == FURTHER
        drawn = np.where(further, generator.random(classes.shape), -1.0).argmax(axis=2)
        one = (np.arange(classes.shape[2]) == drawn[..., None]) & further
        chosen = np.where(further.any(axis=2, keepdims=True), one, classes == ANSWER)
    elif name in IDEALS:
        chosen = {"answer": classes == ANSWER, "larger": (classes == ANSWER) | (classes == FURTHER)}.get(
            name, np.broadcast_to(in_list, classes.shape)
        )
    else:
        raise InputError(f"idealised_pattern: unknown pattern {name!r:.40}; there are {', '.join(IDEALS)}.")
    return chosen / chosen.sum(axis=2, keepdims=True)


def in_rank_order(
    patterns: Float[np.ndarray, "n head query key"], tokens: Integer[np.ndarray, "n _positions"], process: SortedLists
) -> Float64[np.ndarray, "n head asked position"]:
    """Return the rows asked at with the list's keys in ascending order of their values, SEP and the outputs as they are.

    Raises as `class_attention` does.
    """
    lists = asked_lists(process, tokens)
    return _sorted_keys(asked_rows(patterns, lists), lists.place_of_rank)


def idealised_in_rank_order(length: int) -> Float64[np.ndarray, "asked key"]:
    """Return the pattern "answer" with the values in ascending order: after j values, all on the value of rank j."""
    return np.eye(length, 2 * length)


@dataclass(frozen=True, eq=False)
class IdealMatch:
    """How near every list's attention is to all on its answer."""

    js_nats: Interval
    """Jensen-Shannon divergence per head, 0 .. log 2, mean over questions, with an interval over lists."""
    js_by_answer_nats: Float64[np.ndarray, "head value"]
    """The same over all questions with one answer: heads may share the values out; NaN for a value that is never one."""
    uniform_js_nats: float
    """The same of attention that is alike on all keys: what a diffuse head scores."""
    top: Interval
    """Share of questions, per head, at which no key gets more attention than the answer."""
    p: Float64[np.ndarray, " head"]
    """Share of relabelled ideals that are at least as near, (1 + count) / (1 + permutations)."""
    null_js_nats: Float64[np.ndarray, "permutation head"]
    """Distance to ideals whose questions are answered by the values of random ranks, no rank twice."""


def match_idealised(
    patterns: Float[np.ndarray, "n head query key"],
    tokens: Integer[np.ndarray, "n _positions"],
    process: SortedLists,
    rng: np.random.Generator,
    *,
    permutations: int = 999,
) -> IdealMatch:
    """Compare attention with the pattern "answer", list by list. Raises InputError for lists with repeats, else as above."""
    if process.repeats or permutations < 1:
        raise InputError(f"match_idealised: need lists without repeats and permutations >= 1, got {process} and {permutations}.")
    lists = asked_lists(process, tokens)
    rows = asked_rows(patterns, lists)
    length = lists.length
    by_rank = _sorted_keys(rows, lists.place_of_rank)
    to_rank = np.stack([_distance_to(by_rank, rank) for rank in range(length)], axis=-1)  # [n, head, asked, rank]
    own = np.arange(length)
    js = to_rank[:, :, own, own]
    orders = rng.permuted(np.tile(own, (permutations, 1)), axis=1)
    null = to_rank.mean(axis=0)[:, own, orders].mean(axis=2).T
    observed = js.mean(axis=(0, 2))
    keys = key_classes(lists) != NO_KEY
    uniform = keys / keys.sum(axis=2, keepdims=True)
    top = by_rank[:, :, own, own] >= by_rank.max(axis=3)
    return IdealMatch(
        js_nats=bootstrap_mean(js.mean(axis=2), rng),
        js_by_answer_nats=_means(js, lists.answer, process.vocab_size),
        uniform_js_nats=float(js_nats(uniform, idealised_pattern(lists, "answer")).mean()),
        top=bootstrap_mean(top.mean(axis=2), rng),
        p=(1 + (null <= observed + TIE).sum(axis=0)) / (1 + permutations),
        null_js_nats=null,
    )


def _distance_to(by_rank: Float64[np.ndarray, "n head asked key"], rank: int) -> Float64[np.ndarray, "n head asked"]:
    """Divergence of every row from all on the value of one rank."""
    return js_nats(by_rank, np.broadcast_to(np.eye(by_rank.shape[3])[rank], by_rank.shape))


def _sorted_keys(
    rows: Float64[np.ndarray, "n head asked key"], place: Int[np.ndarray, "n length"]
) -> Float64[np.ndarray, "n head asked key"]:
    length = place.shape[1]
    ordered = np.take_along_axis(rows[..., :length], place[:, None, None], axis=3)
    return np.concatenate([ordered, rows[..., length:]], axis=3)


def _means(
    js: Float64[np.ndarray, "n head asked"], answer: Int[np.ndarray, "n asked"], n_values: int
) -> Float64[np.ndarray, "head value"]:
    count = np.bincount(answer.ravel(), minlength=n_values)
    sums = np.stack([np.bincount(answer.ravel(), js[:, head].ravel(), n_values) for head in range(js.shape[1])])
    return np.divide(sums, count, out=np.full(sums.shape, np.nan), where=count > 0)
