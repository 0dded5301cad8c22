"""The table [process] of a recipe: a filtered tree, or one of the hidden Markov models known by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from mechbp.errors import InputError
from mechbp.models.recipe_tables import in_range
from mechbp.processes.chain.hmm import HiddenMarkovModel
from mechbp.processes.chain.library import even, golden_mean, mess3, rrxor, z1r
from mechbp.processes.tree.filtered_tree import MAX_DEPTH, FilteredTree
from mechbp.processes.tree.grammar import Recipe, TreeGrammar

PARAMETERS = {"mess3": ("x", "alpha"), "rrxor": ("p", "q"), "z1r": ("p",), "even": ("p",), "golden-mean": ("p",)}
MAX_LENGTH = 1024


@dataclass(frozen=True)
class ProcessConfig:
    """The data: a filtered tree over a random grammar."""

    vocab_size: int
    depth: int
    kind: Literal["tree"] = "tree"
    filter_level: int = 0
    sigma: float = 1.0
    seed: int = 0
    recipe: Recipe = "paper"
    ambiguity: float = 0.0
    """Weight of the pairs that belong to other parents; 0 leaves every pair one parent."""

    family: ClassVar[str] = "tree"
    """Which analyses can study it."""

    def __post_init__(self) -> None:
        in_range(
            "process", self, vocab_size=(2, 128), depth=(1, MAX_DEPTH), filter_level=(0, self.depth), sigma=(0, 100),
            seed=(0, 2**32 - 1), ambiguity=(0, 1),
        )  # fmt: skip

    @property
    def n_tokens(self) -> int:
        """Tokens per sequence."""
        return 1 << self.depth

    @property
    def levels(self) -> tuple[int, ...]:
        """Filter levels k whose oracle BP_k training curves are measured against."""
        return tuple(range(self.depth + 1))

    @property
    def name(self) -> str:
        """What it is, in a few words."""
        return f"filter level {self.filter_level}, depth {self.depth}"

    def provenance(self) -> dict[str, str | int]:
        """Return what a page says about the process of a run."""
        return {"filter_level": self.filter_level, "grammar": f"{self.recipe}, seed {self.seed}"}

    def build(self) -> FilteredTree:
        """Return the process."""
        grammar = TreeGrammar.random(self.vocab_size, self.sigma, self.seed, self.recipe, self.ambiguity)
        return FilteredTree(grammar, self.depth, self.filter_level)


@dataclass(frozen=True)
class ChainConfig:
    """The data: sequences of a hidden Markov model."""

    kind: Literal["mess3", "rrxor", "z1r", "even", "golden-mean"]
    length: int
    """Tokens that the model reads, each a place where it predicts the next."""
    x: float = 0.05
    """Mess3: chance of a move to each other state."""
    alpha: float = 0.85
    """Mess3: chance that the token names the state."""
    p: float = 0.5
    """RRXOR, Z1R, even, golden mean: the free probability."""
    q: float = 0.5
    """RRXOR: its second one."""

    family: ClassVar[str] = "chain"
    """Which analyses can study it."""
    filter_level: ClassVar[int] = 0
    """What the data are not: filtered."""

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
    def levels(self) -> tuple[int, ...]:
        """Filter levels whose oracle training curves are measured against: the exact belief alone."""
        return (0,)

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
        families = {"mess3": mess3, "rrxor": rrxor, "z1r": z1r, "even": even, "golden-mean": golden_mean}
        return families[self.kind](*(getattr(self, name) for name in PARAMETERS[self.kind]), length=self.length)
