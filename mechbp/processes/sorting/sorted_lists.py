"""Lists and the same lists sorted: a_1..a_n in random order, a separator, then b_1..b_n in ascending order.

The answer is deterministic. Given the list, what follows the separator, b_1, .. b_{n-1} has one possible next token each, so that
the least cross-entropy is 0 and the KL of a model from the exact answer is its cross-entropy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import comb, factorial, log

import numpy as np
from jaxtyping import Float64, Int, Integer

from mechbp.arguments import check_memory, checked_count, checked_flag
from mechbp.brief import Brief
from mechbp.errors import ImpossibleEvidence, InputError
from mechbp.processes.evidence import checked_evidence
from mechbp.processes.process import Joint
from mechbp.processes.sorting.draws import draw_distinct, spread_apart
from mechbp.processes.sorting.joint import small_length, sorting_joint
from mechbp.processes.sorting.splits import Split, checked_split, in_split
from mechbp.randomness import checked_generator

MAX_VALUES = 1024
MAX_LENGTH = 512
MAX_REFUSED = 200_000
"""Lists in a row that may miss a split before it counts as empty."""


@dataclass(frozen=True, eq=False, repr=False)
class ListSample(Brief):
    """Lists drawn from SortedLists, each with its answer."""

    tokens: Int[np.ndarray, "n _positions"]
    """a_1..a_n, SEP, b_1..b_n."""


@dataclass(frozen=True)
class SortedLists:
    """A source of lists of `length` values out of 0..vocab_size-1, all that the design allows equally probable.

    A design changes how far neighbours of the sorted list are apart. With `window`, an offset uniform on 0..vocab_size-window is
    drawn first, then the list among the `window` values from there on: gaps shrink, and a list that fits into several windows is
    more probable than one that does not. With `gap`, neighbours are at least that far apart. With `repeats`, entries are
    independent and uniform.

    >>> import mechbp
    >>> lists = mechbp.SortedLists(vocab_size=6, length=3)
    >>> tokens = lists.sample(1, mechbp.rng(0, "lists")).tokens
    >>> sorted(tokens[0, :3].tolist()) == tokens[0, 4:].tolist(), int(tokens[0, 3])
    (True, 6)
    """

    vocab_size: int = 51
    """Number of values V; values are 0..V-1 and the separator is V."""
    length: int = 10
    """Values per list n."""
    window: int = 0
    """W, how many neighbouring values one list is taken from; 0 means all."""
    gap: int = 1
    """Least distance of two values of a list."""
    repeats: bool = False
    """Whether a value may occur more than once in a list."""

    def __post_init__(self) -> None:
        for name, least, most in (
            ("vocab_size", 1, MAX_VALUES),
            ("length", 1, MAX_LENGTH),
            ("window", 0, MAX_VALUES),
            ("gap", 1, MAX_VALUES),
        ):
            value = checked_count(getattr(self, name), "SortedLists", name, least=least, most=most)
            object.__setattr__(self, name, value)
        object.__setattr__(self, "repeats", checked_flag(self.repeats, "SortedLists", "repeats"))
        if self.window > self.vocab_size:
            raise InputError(f"SortedLists: a window of {self.window} does not fit into {self.vocab_size} values.")
        if self.repeats and self.gap != 1:
            raise InputError(f"SortedLists: lists with repeats have no least gap, got gap {self.gap}. Leave gap out.")
        if not self.repeats and self.free_values < self.length:
            raise InputError(
                f"SortedLists: {self.length} values at least {self.gap} apart need a range of "
                f"{(self.length - 1) * self.gap + 1}, there are {self.width}. Lower length or gap."
            )

    @property
    def separator(self) -> int:
        """SEP, the token between a list and its answer: V."""
        return self.vocab_size

    @property
    def n_tokens(self) -> int:
        """Length of a sequence: 2 n + 1."""
        return 2 * self.length + 1

    @property
    def width(self) -> int:
        """Number of values that one list is taken from."""
        return self.window or self.vocab_size

    @property
    def n_offsets(self) -> int:
        """Number of windows."""
        return self.vocab_size - self.width + 1

    @property
    def free_values(self) -> int:
        """W' = W - (n - 1)(g - 1): sets of n out of so many values are one to one with the sorted lists of a window."""
        return self.width - (self.length - 1) * (self.gap - 1)

    def sample(self, n: int, rng: np.random.Generator, split: Split | None = None) -> ListSample:
        """Draw n independent lists, of those of a split where one is named, and sort them.

        Raises InputError where the design has so few lists that the split has none.
        """
        where = "SortedLists.sample"
        n = checked_count(n, where, "n", least=0)
        generator = checked_generator(rng, where)
        what = f"{n:,} lists of {self.length} out of {self.vocab_size:,} values"
        check_memory(8.0 * n * (4 * self.length + self.vocab_size), where, what, "Draw fewer.")
        wanted = checked_split(split, where)
        values = self._draw(int(n), generator) if wanted is None else self._draw_from(wanted, int(n), generator)
        separators = np.full((len(values), 1), self.separator)
        return ListSample(np.hstack([values, separators, np.sort(values, axis=1)]))

    def predictive(self, tokens: Integer[np.ndarray, "n _positions"]) -> Float64[np.ndarray, "n length _token"]:
        """Return P(next token | list, what follows it) after SEP, b_1, .. b_{n-1}: 1 for the next larger value of the list.

        The last axis is the V values and SEP. Raises InputError for tokens that are none, ImpossibleEvidence, naming the first
        example, where tokens are no list of the design followed by SEP and the sorted list.
        """
        answers = self._checked(tokens, "SortedLists.predictive")[:, self.length + 1 :]
        return np.eye(self.vocab_size + 1)[answers]

    def beliefs(self, tokens: Integer[np.ndarray, "n _positions"]) -> Float64[np.ndarray, "n length _token"]:
        """Return what `predictive` does: nothing is hidden but the tokens to come."""
        return self.predictive(tokens)

    def log_evidence(self, tokens: Integer[np.ndarray, "n _positions"]) -> Float64[np.ndarray, " n"]:
        """Return log P(tokens), nats: of the list, for the rest follows. Raises as `predictive` does."""
        sequences = self._checked(tokens, "SortedLists.log_evidence")
        n_windows = self._n_windows(sequences[:, self.length + 1], sequences[:, -1])
        n_lists = self.width**self.length if self.repeats else comb(self.free_values, self.length) * factorial(self.length)
        return np.log(n_windows) - log(self.n_offsets) - log(n_lists)

    def small(self) -> SortedLists:
        """Return the same design for lists so short that its joint can be listed."""
        length = small_length(self.vocab_size, self.length)
        return self if length == self.length else replace(self, length=length)

    def joint(self) -> Joint:
        """List all lists and their probabilities. Raises LimitExceeded where there are too many."""
        return sorting_joint(
            self.vocab_size, self.length, n_offsets=self.n_offsets, width=self.width, gap=self.gap, repeats=self.repeats
        )

    def _draw(self, n: int, rng: np.random.Generator) -> Int[np.ndarray, "n length"]:
        if self.repeats:
            values = rng.integers(self.width, size=(n, self.length))
        else:
            values = draw_distinct(n, self.length, self.free_values, rng)
        if self.gap > 1:
            values = spread_apart(values, self.gap - 1)
        return values + rng.integers(self.n_offsets, size=(n, 1))  # of one offset nothing is drawn

    def _draw_from(self, split: Split, n: int, rng: np.random.Generator) -> Int[np.ndarray, "n length"]:
        """Lists of a split, by rejection: what is left of uniform lists is uniform."""
        found = [np.empty((0, self.length), np.int64)]
        missing = n
        refused = 0
        block = n
        while missing:
            drawn = self._draw(block, rng)
            kept = drawn[in_split(drawn, split)]
            found.append(kept[:missing])
            missing -= len(found[-1])
            refused = 0 if len(kept) else refused + block
            if refused > MAX_REFUSED:
                raise InputError(
                    f"SortedLists.sample: none of {refused:,} lists is in the split {split!r}; this design has too few lists.\n"
                    f"Widen window, lower gap, or raise vocab_size."
                )
            block = max(missing, 64) * min(8, 1 + len(drawn) // max(len(kept), 1))
        return np.concatenate(found)

    def _n_windows(self, least: Int[np.ndarray, " n"], greatest: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """Number of windows that hold both values, 0 where none does."""
        first = np.maximum(greatest - self.width + 1, 0)
        last = np.minimum(least, self.n_offsets - 1)
        return np.maximum(last - first + 1, 0)

    def _checked(self, tokens: object, where: str) -> Int[np.ndarray, "n _positions"]:
        sequences = checked_evidence(
            tokens, where, vocab_size=self.vocab_size, length=self.n_tokens, place="position",
            hint=f" (a list of {self.length}, SEP, the list sorted)",
        )  # fmt: skip
        values = sequences[:, : self.length]
        in_order = np.sort(values, axis=1)
        gaps = np.diff(in_order, axis=1)
        too_close = (gaps < self.gap) & (not self.repeats)
        faults = {
            f"SEP = {self.separator} stands inside the list": (values == self.separator).any(axis=1),
            f"no SEP = {self.separator} stands at position {self.length}": sequences[:, self.length] != self.separator,
            f"two values of the list are closer than {self.gap}": too_close.any(axis=1),
            f"the list spans more than {self.width} values": self._n_windows(in_order[:, 0], in_order[:, -1]) == 0,
            "what follows SEP is not the list in ascending order": (sequences[:, self.length + 1 :] != in_order).any(axis=1),
        }
        impossible = np.any(list(faults.values()), axis=0)
        if impossible.any():
            example = int(impossible.argmax())
            reason = next(reason for reason, broken in faults.items() if broken[example])
            raise ImpossibleEvidence(
                f"{where}: example {example} has probability 0 ({int(impossible.sum())} of {len(impossible)} examples): "
                f"{reason}.\nPass sequences as SortedLists.sample draws them.",
                example=example,
            )
        return sequences
