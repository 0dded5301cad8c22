"""Pairs of lists that differ in one value, and in nothing else that is read before the question.

The value that changes stands at the same place in both lists; which one it is, relative to the answer, is the kind of the pair:
answer     the value asked for moves inside its gap: both lists have it at one place, but it is another value
overtaken  the value asked for moves above the next one, which becomes the answer: another place
further    a value above the answer moves inside its gap: the answer stays
current    the value named last moves inside its gap: the answer stays, but the token asked at is another
below      a value named before that moves inside its gap: the answer and the token asked at stay
The first two change the answer, the others are controls. "Inside its gap" means that its rank stays: what is named is the same in
both lists but for that value. So up to the question the sequences of the first three kinds differ at one position, those of the
other two also where the value was named.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechbp.brief import Brief
from mechbp.errors import InputError, TooFewSequences
from mechbp.processes.sorting.sorted_lists import SortedLists
from mechbp.processes.sorting.splits import Split, checked_split, in_split
from mechbp.randomness import checked_generator

Kind = Literal["answer", "overtaken", "further", "current", "below"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MOVES_ANSWER: tuple[Kind, ...] = ("answer", "overtaken")
MAX_REFUSED = 200_000
"""Candidates in a row that may yield no pair before there count as none."""


@dataclass(frozen=True, eq=False, repr=False)
class ListPairs(Brief):
    """Row i of every field is one pair."""

    kind: Kind
    base: Int[np.ndarray, "n _positions"]
    """a_1..a_n, SEP, b_1..b_n before the change."""
    source: Int[np.ndarray, "n _positions"]
    """The same after it."""
    asked: Int[np.ndarray, " n"]
    """How many values have been named when the question is put."""
    place: Int[np.ndarray, " n"]
    """Position of the list whose value changes."""
    old: Int[np.ndarray, " n"]
    """The base's answer where the answer moves, else the value that changes."""
    new: Int[np.ndarray, " n"]
    """The source's answer where the answer moves, else what that value becomes."""

    def __len__(self) -> int:
        return len(self.base)

    @property
    def query(self) -> Int[np.ndarray, " n"]:
        """Position asked at."""
        return self.asked + self.base.shape[1] // 2

    @property
    def answers(self) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        """The exact answers of base and source at the question."""
        rows = np.arange(len(self))
        return self.base[rows, self.query + 1], self.source[rows, self.query + 1]

    def metric(self, logits: Float[Tensor, "n position q"]) -> Float[Tensor, " n"]:
        """Return logit(new) - logit(old) at the question: a metric for patching, of all pairs in order."""
        rows = torch.arange(len(self), device=logits.device)
        query, new, old = (torch.from_numpy(index).to(logits.device) for index in (self.query, self.new, self.old))
        return logits[rows, query, new] - logits[rows, query, old]


def list_pairs(
    process: SortedLists,
    kind: Kind,
    n: int,
    rng: np.random.Generator,
    *,
    asked: int | None = None,
    split: Split | None = "test",
) -> ListPairs:
    """Draw n pairs of one kind, both lists in the design and of the split.

    The base list is uniform, the question uniform among those that the kind allows (or `asked`), the value that changes uniform
    among those of the kind, and its new value uniform among the legal ones; candidates without a legal one are left out.
    Raises InputError for lists with repeats and for questions that the kind does not allow, TooFewSequences where there are none.
    """
    where = "list_pairs"
    checked_generator(rng, where)
    wanted = checked_split(split, where)
    least, most = _allowed(process, kind, n, asked)
    found: list[tuple[np.ndarray, ...]] = []
    missing = n
    refused = 0
    while missing:
        tokens = process.sample(min(4 * missing + 64, 4096), rng, wanted).tokens
        position = rng.integers(least, most + 1, size=len(tokens))
        rank = _rank(kind, position, process.length, rng)
        legal = _legal(process, tokens[:, process.length + 1 :], rank, overtaking=kind == "overtaken")
        value = np.where(legal, rng.random(legal.shape), -1.0).argmax(axis=1)
        changed, place = _changed(process, tokens, rank, value)
        kept = legal.any(axis=1)
        if wanted is not None:
            kept &= in_split(changed[:, : process.length], wanted)
        chosen = np.flatnonzero(kept)[:missing]
        refused = 0 if len(chosen) else refused + len(tokens)
        if refused > MAX_REFUSED:
            raise TooFewSequences(
                f"list_pairs: none of {refused:,} lists has a legal change of kind {kind!r} within the split {split!r}.\n"
                f"Pass split=None, or a design with room between the values."
            )
        found.append(tuple(part[chosen] for part in (tokens, changed, position, place)))
        missing -= len(chosen)
    base, source, position, place = (np.concatenate(parts) for parts in zip(*found, strict=True))
    rows = np.arange(n)
    at = process.length + 1 + position if kind in MOVES_ANSWER else place
    return ListPairs(kind, base, source, position, place, base[rows, at], source[rows, at])


def _allowed(process: SortedLists, kind: Kind, n: int, asked: int | None) -> tuple[int, int]:
    """The first and the last question of a kind, or the one asked for."""
    if process.repeats or kind not in KINDS or n < 1:
        raise InputError(
            f"list_pairs: need lists without repeats, n >= 1 and a kind of {', '.join(KINDS)}, got {process}, {n} and "
            f"{kind!r:.40}."
        )
    least = {"current": 1, "below": 2}.get(kind, 0)
    most = process.length - 1 - (kind in ("overtaken", "further"))
    if least > most or (asked is not None and not least <= asked <= most):
        raise InputError(f"list_pairs: kind {kind!r} in lists of {process.length} can be asked at {least}..{most}, got {asked}.")
    return (least, most) if asked is None else (asked, asked)


def _rank(kind: Kind, asked: Int[np.ndarray, " n"], length: int, rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    """Rank of the value that changes; the answer has rank `asked`."""
    if kind == "further":
        return rng.integers(asked + 1, length)
    if kind == "below":
        return rng.integers(asked - 1)
    return asked - 1 if kind == "current" else asked


def _legal(
    process: SortedLists, ordered: Int[np.ndarray, "n length"], rank: Int[np.ndarray, " n"], *, overtaking: bool
) -> Bool[np.ndarray, "n value"]:
    """Which values the one of that rank may become."""
    n, length = ordered.shape
    value = np.arange(process.vocab_size)
    rest = ordered[np.arange(length) != rank[:, None]].reshape(n, length - 1)
    smaller = (rest[:, None] < value[:, None]).sum(axis=2)  # of the others: the rank that this value would have
    legal = smaller > rank[:, None] if overtaking else smaller == rank[:, None]
    legal &= value != np.take_along_axis(ordered, rank[:, None], axis=1)
    if length > 1:
        legal &= (np.abs(value[:, None] - rest[:, None]) >= process.gap).all(axis=2)
        legal &= (value > rest[:, -1:] - process.width) & (value < rest[:, :1] + process.width)
    return legal


def _changed(
    process: SortedLists, tokens: Int[np.ndarray, "n _positions"], rank: Int[np.ndarray, " n"], value: Int[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, "n _positions"], Int[np.ndarray, " n"]]:
    """The sequences of the changed lists, and where the value stands that changes."""
    rows = np.arange(len(tokens))
    values = tokens[:, : process.length].copy()
    place = (values == tokens[rows, process.length + 1 + rank][:, None]).argmax(axis=1)
    values[rows, place] = value
    separators = tokens[:, process.length, None]
    return np.hstack([values, separators, np.sort(values, axis=1)]), place
