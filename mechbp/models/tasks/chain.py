"""The wing of chains: hidden Markov models, by name or by table, and models asked for the next token at every position."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float64, Int

from mechbp.errors import InputError
from mechbp.models.numbers import array_of, digest_of_numbers, nested
from mechbp.models.recipe_tables import in_range
from mechbp.models.tasks.task import Family, Task
from mechbp.processes.chain.hmm import ChainSample, HiddenMarkovModel
from mechbp.processes.chain.library import even, golden_mean, mess3, rrxor, z1r

Kind = Literal["mess3", "rrxor", "z1r", "even", "golden-mean"]
PARAMETERS: Mapping[Kind, tuple[str, ...]] = {
    "mess3": ("x", "alpha"),
    "rrxor": ("p", "q"),
    "z1r": ("p",),
    "even": ("p",),
    "golden-mean": ("p",),
}
BUILDERS = {"mess3": mess3, "rrxor": rrxor, "z1r": z1r, "even": even, "golden-mean": golden_mean}
READ_OFF: Mapping[Kind, Callable[[np.ndarray], Sequence[float]]] = {
    "mess3": lambda steps: (steps[:, 0, 1].sum(), steps[0, 0, 0] / max(steps[:, 0, 0].sum(), 1e-300)),
    "rrxor": lambda steps: (steps[0, 0, 1], steps[0, 1, 4]),
    "z1r": lambda steps: (steps[0, 2, 0],),
    "even": lambda steps: (steps[1, 0, 1],),
    "golden-mean": lambda steps: (steps[1, 0, 1],),
}
"""The parameters of a process known by name, read off its transitions [token, from, to], in the order of PARAMETERS."""
MAX_LENGTH = 1024


@dataclass(frozen=True)
class ChainRecipe:
    """The data: sequences of a hidden Markov model."""

    kind: Kind
    length: int
    """Tokens that the model reads, each a place where it predicts the next."""
    x: float = 0.05
    """Mess3: probability of a move to each other state."""
    alpha: float = 0.85
    """Mess3: probability that the token names the state."""
    p: float = 0.5
    """RRXOR, Z1R, even, golden mean: the free probability."""
    q: float = 0.5
    """RRXOR: its second one."""

    def __post_init__(self) -> None:
        in_range("process", self, length=(1, MAX_LENGTH))
        for name in ("x", "alpha", "p", "q"):
            if name not in PARAMETERS[self.kind] and getattr(self, name) != type(self).__dataclass_fields__[name].default:
                raise InputError(f"process.{name} does not apply to {self.kind!r}, which has {', '.join(PARAMETERS[self.kind])}.")
        self.build()

    @property
    def n_tokens(self) -> int:
        """Tokens per sequence."""
        return self.length

    @property
    def name(self) -> str:
        """What it is, in a few words."""
        values = ", ".join(f"{name} {getattr(self, name):g}" for name in PARAMETERS[self.kind])
        return f"{self.kind}, {values}, length {self.length}"

    def provenance(self) -> dict[str, str | int]:
        """Return what a page says about the process of a run."""
        return {"process": self.name}

    def build(self) -> HiddenMarkovModel:
        """Return the process."""
        return BUILDERS[self.kind](*(getattr(self, name) for name in PARAMETERS[self.kind]), length=self.length)


@dataclass(frozen=True)
class TableRecipe:
    """The data: sequences of the hidden Markov model whose transitions stand in the recipe, or in a file beside it."""

    kind: Literal["hmm"]
    length: int
    """Tokens that the model reads, each a place where it predicts the next."""
    transitions: tuple[tuple[tuple[float, ...], ...], ...]
    """[token][from][to]; sums to 1 over tokens and arrivals. In run.toml also the name of a file of these numbers."""
    start: tuple[float, ...] = ()
    """Distribution of the state before the first token; the stationary one where it is left out."""

    numbers: ClassVar[tuple[str, ...]] = ("transitions", "start")
    """Keys that may name a file of numbers."""

    def __post_init__(self) -> None:
        in_range("process", self, length=(1, MAX_LENGTH))
        self.build()

    @property
    def n_tokens(self) -> int:
        """Tokens per sequence."""
        return self.length

    @property
    def name(self) -> str:
        """What it is, in a few words."""
        return f"hidden Markov model, {len(self.transitions[0])} states, {len(self.transitions)} tokens, length {self.length}"

    def provenance(self) -> dict[str, str | int]:
        """Return what a page says about the process of a run."""
        return {"process": self.name, "transitions_sha256": digest_of_numbers(self.transitions, self.start)}

    def build(self) -> HiddenMarkovModel:
        """Return the process."""
        transitions = array_of(self.transitions, "process.transitions", "[token][from][to]")
        start = {"start": np.array(self.start)} if self.start else {}
        return HiddenMarkovModel(transitions, **start, length=self.length)


class NextToken(Task):
    """The next token at every position, the one after the last token shown included."""

    def n_positions(self, process: HiddenMarkovModel) -> int:
        """Return the model's input length: the process's own."""
        if process.length is None:
            raise InputError("n_positions: this hidden Markov model has no length; use hmm.of_length(10).")
        return process.length

    def draw(self, process: HiddenMarkovModel, n: int, rng: np.random.Generator) -> ChainSample:
        """Draw n sequences of one token more than a model reads."""
        return process.sample(n, rng, self.n_positions(process) + 1)

    def exact(self, process: HiddenMarkovModel, tokens: Int[np.ndarray, "n length"]) -> Float64[np.ndarray, "n query q"]:
        """Return P(next token | tokens so far) after every token."""
        return process.predictive(process.beliefs(tokens)[:, 1:])

    def oracles(self, process: HiddenMarkovModel) -> Mapping[str, HiddenMarkovModel]:
        """Return exact inference alone, under the name that belief propagation on the whole structure has for trees."""
        return {"bp0": process}


def recipe_of(process: HiddenMarkovModel) -> ChainRecipe | TableRecipe:
    """Return the recipe that builds a hidden Markov model again: one known by name and parameters, else its table."""
    length = NextToken().n_positions(process)
    for kind, read_off in READ_OFF.items():
        try:
            values = [round(float(value), 12) for value in read_off(process.transitions)]
            found = ChainRecipe(kind, length, **dict(zip(PARAMETERS[kind], values, strict=True)))
        except (IndexError, InputError):  # too few states or tokens, or no probabilities
            continue
        if _same(found.build(), process):
            return found
    return TableRecipe("hmm", length, nested(process.transitions), nested(process.start))


def _same(one: HiddenMarkovModel, other: HiddenMarkovModel) -> bool:
    if one.transitions.shape != other.transitions.shape:
        return False
    return bool(np.allclose(one.transitions, other.transitions, 0, 1e-12) and np.allclose(one.start, other.start, 0, 1e-12))


CHAIN = Family("chain", (ChainRecipe, TableRecipe), {"next-token": NextToken()}, (HiddenMarkovModel,), recipe_of)
