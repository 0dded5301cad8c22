"""Attention that would sort, and attention that would not, list by list.

answer          all on the value to be named next: what sorting by copying needs
larger          the same on every value above the current one: knows what is left, not its order
list            the same on every value of the list
another larger  all on one value above the answer, drawn at random; on the answer where nothing is above it: a control
Lists stand in random order, so that the mean pattern over positions says nothing; with the values of every list put in ascending
order, the idealised pattern is one for all lists, and a diagonal.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Float64, Int, Integer

from mechbp.errors import InputError
from mechbp.processes.sorting.sorted_lists import SortedLists
from mechbp.randomness import checked_generator
from mechbp.theory.sorting.asked import AskedLists, asked_lists
from mechbp.theory.sorting.attention_classes import ANSWER, FURTHER, asked_rows, key_classes

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


def _sorted_keys(
    rows: Float64[np.ndarray, "n head asked key"], place: Int[np.ndarray, "n length"]
) -> Float64[np.ndarray, "n head asked key"]:
    length = place.shape[1]
    ordered = np.take_along_axis(rows[..., :length], place[:, None, None], axis=3)
    return np.concatenate([ordered, rows[..., length:]], axis=3)
