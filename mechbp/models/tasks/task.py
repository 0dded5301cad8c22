"""What a family of processes brings to training and judging: recipes, and the questions its models can be asked.

Everything here is NumPy: a task turns sequences into model inputs and says where answers are read and what the exact ones are.
Axes: "prompt" is one forward pass of a model; "query" is one answer asked about a sequence; q is the number of symbols.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from einops import rearrange
from jaxtyping import Bool, Float64, Int

from mechbp.brief import Brief
from mechbp.errors import InputError
from mechbp.models.tasks.objective import ObjectiveConfig
from mechbp.randomness import rng as new_generator

Attention = Literal["causal", "bidirectional"]


@runtime_checkable
class ProcessRecipe(Protocol):
    """A table [process] of run.toml: a frozen dataclass whose `kind` is a Literal that names it."""

    @property
    def n_tokens(self) -> int:
        """Tokens per sequence."""
        ...

    @property
    def name(self) -> str:
        """What it is, in a few words."""
        ...

    def provenance(self) -> dict[str, str | int]:
        """Return what a page says about the process of a run."""
        ...

    def build(self) -> Any:
        """Return the process."""
        ...


@dataclass(frozen=True, eq=False, repr=False)
class Questions(Brief):
    """Sequences and the symbols that a task asks for."""

    tokens: Int[np.ndarray, "n length"]
    truth: Int[np.ndarray, "n query"]


@dataclass(frozen=True, eq=False, repr=False)
class Prompts(Brief):
    """The inputs that put every query of some sequences to a model, and where their answers stand.

    One prompt may answer several queries, or every query needs a prompt of its own: prompts of one sequence follow one another,
    and reading them row by row gives the queries in their order.
    """

    inputs: Int[np.ndarray, "prompt position"]
    read: Int[np.ndarray, "prompt read"]
    """Positions that answer a query."""


@dataclass(frozen=True, eq=False, repr=False)
class Lesson(Brief):
    """What one training step shows and asks."""

    inputs: Int[np.ndarray, "batch position"]
    reads: Bool[np.ndarray, "batch position"]
    """Where the loss reads the logits."""
    targets: Int[np.ndarray, " read"] | Float64[np.ndarray, "read q"]
    """Symbols, or exact posteriors, in the order of `reads`."""


@runtime_checkable
class Task(Protocol):
    """One question about the sequences of a family; a member is stateless and is registered in its Family.

    What is written here asks for the next token at every position, the last of a drawn sequence being asked for and not shown: a
    subclass for such a process adds `exact` alone, and whatever else its question changes.

    >>> import mechbp
    >>> run = mechbp.load("mess3-s24")
    >>> words = run.process.sample(2, length=10, rng=mechbp.rng(0, "words")).tokens
    >>> run.task.exact(run.process, words).shape
    (2, 10, 3)
    """

    @property
    def attention(self) -> Attention:
        """What the model's attention must be."""
        return "causal"

    @property
    def verified_sequences(self) -> int:
        """Sequences on which `mechbp verify` holds a model against its requirement."""
        return 4096

    def n_positions(self, process: Any) -> int:
        """Return the model's input length: here one token less than a drawn sequence has."""
        return process.sample(1, new_generator(0, "n_positions")).tokens.shape[1] - 1

    def n_input_tokens(self, process: Any) -> int:
        """Return how many tokens a model can be shown: the symbols, and what the task adds to them."""
        return process.vocab_size

    def draw(self, process: Any, n: int, rng: np.random.Generator) -> Any:
        """Draw n sequences with whatever hidden variables the task asks for: a frozen dataclass of arrays with one row each."""
        return process.sample(n, rng)

    def questions(self, process: Any, sample: Any) -> Questions:
        """Return what is asked about drawn sequences: here all tokens but the last are shown, all but the first asked for."""
        return Questions(sample.tokens[:, :-1], sample.tokens[:, 1:])

    def lesson(self, process: Any, objective: ObjectiveConfig, sample: Any, rng: np.random.Generator) -> Lesson:
        """Return a training batch of drawn sequences: here every question is asked at once."""
        asked = self.questions(process, sample)
        everywhere = np.ones(asked.tokens.shape, bool)
        if objective.targets == "posteriors":
            return Lesson(asked.tokens, everywhere, rearrange(self.exact(process, asked.tokens), "n query q -> (n query) q"))
        return Lesson(asked.tokens, everywhere, asked.truth.reshape(-1))

    def inputs(self, process: Any, tokens: Int[np.ndarray, "n length"]) -> Int[np.ndarray, "n position"]:
        """Return the model's inputs that show `tokens` as they are."""
        return tokens

    def prompts(self, process: Any, tokens: Int[np.ndarray, "n length"]) -> Prompts:
        """Return the inputs that ask every query about `tokens`: here one prompt per sequence, read at every position."""
        return Prompts(tokens, np.tile(np.arange(tokens.shape[1]), (len(tokens), 1)))

    def exact(self, process: Any, tokens: Int[np.ndarray, "n length"]) -> Float64[np.ndarray, "n query q"]:
        """Return the exact answer of every query under `process`, which need not have made the tokens."""
        raise InputError(f"{type(self).__name__} says no exact answer. Give it a method exact(process, tokens) -> [n, query, q].")

    def oracles(self, process: Any) -> Mapping[str, Any]:
        """Return the processes whose exact answers training curves are measured against, by name; one of them is `process`."""
        return {"exact": process}


@dataclass(frozen=True)
class Family:
    """A wing's entry in the registry.

    >>> import mechbp
    >>> from mechbp.models.families import families
    >>> tree = families()[0]
    >>> tree.name, isinstance(tree, mechbp.Family), sorted(tree.tasks)[0]
    ('tree', True, 'masked')
    """

    name: str
    """"tree", "chain", …: also the name of its rooms."""
    recipes: tuple[type, ...]
    """What a [process] table may become."""
    tasks: Mapping[str, Task]
    """What a model of it can be asked, by the name that a recipe's objective.task gives."""
    processes: tuple[type, ...] = ()
    """Classes of its processes, so that `mechbp.score` knows what the name of a task means for one."""
    recipe_of: Callable[[Any], Any] | None = None
    """Returns the [process] table that builds a process again; raises InputError for one that no table can tell. None where no
    process of the family can be told from its object alone."""


def own_oracle(task: Task, process: Any) -> str:
    """Return the name of the oracle that is exact for `process`."""
    return next(name for name, oracle in task.oracles(process).items() if oracle is process)
