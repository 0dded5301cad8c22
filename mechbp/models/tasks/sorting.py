"""The wing of sorting: lists, and models asked for the sorted list value by value.

A model reads a_1..a_n, SEP, b_1..b_n and is asked at SEP, b_1, .. b_{n-1} for what follows; nothing else enters the loss.
Training sees lists of one split only, and everything that judges a model asks about lists of another, whatever their order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int

from mechbp.models.recipe_tables import in_range
from mechbp.models.tasks.objective import ObjectiveConfig
from mechbp.models.tasks.task import Attention, Family, Lesson, Prompts, Questions
from mechbp.processes.sorting.rungs import Rung
from mechbp.processes.sorting.sorted_lists import SortedLists

MAX_VALUES = 512
MAX_LENGTH = 128


@dataclass(frozen=True)
class SortingRecipe:
    """The data: lists and the same lists sorted."""

    kind: Literal["sorting"]
    vocab_size: int
    """Number of values."""
    length: int
    """Values per list."""
    window: int = 0
    """How many neighbouring values one list is taken from; 0 means all."""
    gap: int = 1
    """Least distance of two values of a list."""
    repeats: bool = False
    """Whether a value may occur more than once in a list."""

    def __post_init__(self) -> None:
        in_range("process", self, vocab_size=(1, MAX_VALUES), length=(1, MAX_LENGTH))
        self.build()

    @property
    def n_tokens(self) -> int:
        """Tokens per sequence."""
        return 2 * self.length + 1

    @property
    def name(self) -> str:
        """What it is, in a few words."""
        window = f", window {self.window}" if self.window else ""
        gap = f", gaps of {self.gap} or more" if self.gap > 1 else ""
        repeats = ", with repeats" if self.repeats else ""
        return f"sorting {self.length} of {self.vocab_size} values{window}{gap}{repeats}"

    def provenance(self) -> dict[str, str | int]:
        """Return what a page says about the process of a run."""
        return {"process": self.name}

    def build(self) -> SortedLists:
        """Return the process."""
        return SortedLists(self.vocab_size, self.length, self.window, self.gap, self.repeats)


@dataclass(frozen=True, eq=False)
class SplitLists:
    """Lists to ask about, and as many to learn from; no list of one, in any order, can be among the other."""

    tokens: Int[np.ndarray, "n _positions"]
    """Of the split "test"."""
    training: Int[np.ndarray, "n _positions"]
    """Of the split "train"."""


class Sort:
    """The next larger value of the list, after SEP and after every value named but the last."""

    attention: Attention = "causal"
    verified_sequences = 4096

    def n_positions(self, process: SortedLists) -> int:
        """Return the model's input length: all of a sequence, so that it can be shown as it is; the last is never asked."""
        return process.n_tokens

    def n_input_tokens(self, process: SortedLists) -> int:
        """Return the number of values, and SEP."""
        return process.vocab_size + 1

    def draw(self, process: SortedLists, n: int, rng: np.random.Generator) -> SplitLists:
        """Draw n lists of each split. Raises InputError where the design has so few lists that a split has none."""
        training = process.sample(n, rng, split="train").tokens
        return SplitLists(process.sample(n, rng, split="test").tokens, training)

    def questions(self, process: SortedLists, sample: SplitLists) -> Questions:
        """Return the lists that training has not seen, and their values in ascending order."""
        return Questions(sample.tokens, sample.tokens[:, process.length + 1 :])

    def lesson(self, process: SortedLists, objective: ObjectiveConfig, sample: SplitLists, rng: np.random.Generator) -> Lesson:
        """Show the lists for training and ask for each value that follows; the last, which nobody asks beyond, is not shown."""
        inputs = sample.training[:, :-1]
        reads = np.broadcast_to(np.arange(inputs.shape[1]) >= process.length, inputs.shape)
        if objective.targets == "posteriors":
            exact = self.exact(process, sample.training)
            return Lesson(inputs, reads, exact.reshape(-1, exact.shape[-1]))
        return Lesson(inputs, reads, sample.training[:, process.length + 1 :].reshape(-1))

    def inputs(self, process: SortedLists, tokens: Int[np.ndarray, "n length"]) -> Int[np.ndarray, "n position"]:
        """Return the sequences as they are."""
        return tokens

    def prompts(self, process: SortedLists, tokens: Int[np.ndarray, "n length"]) -> Prompts:
        """Return one prompt per list, read at SEP and at every value named but the last."""
        asked = np.arange(process.length, process.n_tokens - 1)
        return Prompts(tokens[:, :-1], np.tile(asked, (len(tokens), 1)))

    def exact(self, process: SortedLists | Rung, tokens: Int[np.ndarray, "n length"]) -> Float64[np.ndarray, "n query q"]:
        """Return P(next token | list, values named so far), or what a rung makes of it."""
        return process.predictive(tokens)

    def oracles(self, process: SortedLists) -> Mapping[str, SortedLists | Rung]:
        """Return exact sorting and readers that know less: the current token alone, and the larger values but not their order."""
        rungs: dict[str, SortedLists | Rung] = {"sorted": process, "token": Rung(process, "token")}
        if not process.repeats:
            rungs["larger"] = Rung(process, "larger")
        return rungs


def recipe_of(process: SortedLists) -> SortingRecipe:
    """Return the recipe that builds lists again."""
    return SortingRecipe("sorting", process.vocab_size, process.length, process.window, process.gap, process.repeats)


SORTING = Family("sorting", (SortingRecipe,), {"sort": Sort()}, (SortedLists,), recipe_of)
