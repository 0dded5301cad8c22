"""The wing of trees: a filtered tree over a random grammar, and models asked for a leaf, the root or the next leaf."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from einops import rearrange, repeat
from jaxtyping import Bool, Float64, Int

from mechbp.models.numbers import array_of, digest_of_numbers, nested
from mechbp.models.recipe_tables import in_range
from mechbp.models.tasks.objective import ObjectiveConfig
from mechbp.models.tasks.task import Attention, Family, Lesson, Prompts, Questions
from mechbp.processes.tree.filtered_tree import MAX_DEPTH, FilteredTree, TreeSample
from mechbp.processes.tree.grammar import Recipe, TreeGrammar


@dataclass(frozen=True)
class TreeRecipe:
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
class RulesRecipe:
    """The data: a filtered tree whose rules stand in the recipe, or in a file beside it."""

    kind: Literal["rules"]
    depth: int
    rules: tuple[tuple[tuple[float, ...], ...], ...]
    """P(left, right | parent) as [parent][left][right]. In run.toml also the name of a file of these numbers."""
    root_prior: tuple[float, ...] = ()
    """P(root); uniform where it is left out."""
    filter_level: int = 0

    numbers: ClassVar[tuple[str, ...]] = ("rules", "root_prior")
    """Keys that may name a file of numbers."""

    def __post_init__(self) -> None:
        in_range("process", self, depth=(1, MAX_DEPTH), filter_level=(0, self.depth))
        self.build()

    @property
    def n_tokens(self) -> int:
        """Tokens per sequence."""
        return 1 << self.depth

    @property
    def vocab_size(self) -> int:
        """Number of symbols."""
        return len(self.rules)

    @property
    def seed(self) -> str:
        """What stands where the number of a drawn grammar would: the beginning of the digest of its rules."""
        return digest_of_numbers(self.rules, self.root_prior)[:8]

    @property
    def name(self) -> str:
        """What it is, in a few words."""
        return f"filter level {self.filter_level}, depth {self.depth}, rules {self.seed}"

    def provenance(self) -> dict[str, str | int]:
        """Return what a page says about the process of a run."""
        return {"filter_level": self.filter_level, "rules_sha256": digest_of_numbers(self.rules, self.root_prior)}

    def build(self) -> FilteredTree:
        """Return the process."""
        rules = array_of(self.rules, "process.rules", "[parent][left][right]")
        prior = {"root_prior": np.array(self.root_prior)} if self.root_prior else {}
        return FilteredTree(TreeGrammar(rules, **prior), self.depth, self.filter_level)


class _TreeTask:
    """What all questions about trees share: sequences are leaves, and MASK and ROOT are input tokens."""

    attention: Attention = "bidirectional"
    verified_sequences: int = 2048

    def n_positions(self, process: FilteredTree) -> int:
        """Return the model's input length: the leaves."""
        return process.n_leaves

    def n_input_tokens(self, process: FilteredTree) -> int:
        """Return the number of symbols, MASK and ROOT."""
        return process.vocab_size + 2

    def draw(self, process: FilteredTree, n: int, rng: np.random.Generator) -> TreeSample:
        """Draw n trees."""
        return process.sample(n, rng)

    def inputs(self, process: FilteredTree, tokens: Int[np.ndarray, "n leaves"]) -> Int[np.ndarray, "n position"]:
        """Return the leaves as they are (MASK included)."""
        return tokens

    def oracles(self, process: FilteredTree) -> Mapping[str, FilteredTree]:
        """Return {"bp0": exact inference that knows the whole hierarchy, "bp1": all but its top level, …}."""
        levels = range(process.depth + 1)
        own = process.filter_level
        return {f"bp{k}": process if k == own else FilteredTree(process.grammar, process.depth, k) for k in levels}


class Masked(_TreeTask):
    """A hidden leaf, given all others: one query per leaf, each with a prompt of its own."""

    def questions(self, process: FilteredTree, sample: TreeSample) -> Questions:
        """Return the leaves, each of which is asked for."""
        return Questions(sample.tokens, sample.tokens)

    def lesson(self, process: FilteredTree, objective: ObjectiveConfig, sample: TreeSample, rng: np.random.Generator) -> Lesson:
        """Hide leaves as the objective says, and ask for them."""
        reads = hidden_leaves(objective, sample.tokens.shape, rng)
        inputs = np.where(reads, process.mask_token, sample.tokens)
        exact = objective.targets == "posteriors"
        targets = process.beliefs(inputs).marginals[process.depth][reads] if exact else sample.tokens[reads]
        return Lesson(inputs, reads, targets)

    def prompts(self, process: FilteredTree, tokens: Int[np.ndarray, "n leaves"]) -> Prompts:
        """Return every sequence as often as it has leaves, another leaf hidden each time."""
        hidden = np.eye(process.n_leaves, dtype=bool)
        inputs = rearrange(np.where(hidden, process.mask_token, tokens[:, None, :]), "n query leaf -> (n query) leaf")
        return Prompts(inputs, repeat(np.arange(process.n_leaves), "query -> (n query) 1", n=len(tokens)))

    def exact(self, process: FilteredTree, tokens: Int[np.ndarray, "n leaves"]) -> Float64[np.ndarray, "n query q"]:
        """Return P(leaf | all others) of every leaf."""
        return process.leave_one_out(tokens)


class _RootTask(_TreeTask):
    """What both questions about the root share: it is asked for once, given all leaves."""

    verified_sequences = 32_768

    def questions(self, process: FilteredTree, sample: TreeSample) -> Questions:
        """Return the leaves, and the root as what is asked for."""
        return Questions(sample.tokens, sample.root[:, None])

    def exact(self, process: FilteredTree, tokens: Int[np.ndarray, "n leaves"]) -> Float64[np.ndarray, "n query q"]:
        """Return P(root | leaves)."""
        return process.beliefs(tokens).marginals[0]


class Root(_RootTask):
    """The root, given all leaves: answered at the ROOT query after them."""

    def n_positions(self, process: FilteredTree) -> int:
        """Return the model's input length: the leaves and the query."""
        return process.n_leaves + 1

    def inputs(self, process: FilteredTree, tokens: Int[np.ndarray, "n leaves"]) -> Int[np.ndarray, "n position"]:
        """Return the leaves as they are (MASK included), and the ROOT query after them."""
        return np.hstack([tokens, np.full((len(tokens), 1), process.root_token)])

    def lesson(self, process: FilteredTree, objective: ObjectiveConfig, sample: TreeSample, rng: np.random.Generator) -> Lesson:
        """Show all leaves and ask for the root."""
        inputs = self.inputs(process, sample.tokens)
        reads = np.broadcast_to(np.arange(inputs.shape[1]) == process.n_leaves, inputs.shape)
        exact = objective.targets == "posteriors"
        return Lesson(inputs, reads, self.exact(process, sample.tokens)[:, 0] if exact else sample.root)

    def prompts(self, process: FilteredTree, tokens: Int[np.ndarray, "n leaves"]) -> Prompts:
        """Return one prompt per sequence, read at the query."""
        return Prompts(self.inputs(process, tokens), np.full((len(tokens), 1), process.n_leaves))


class WholeRoot(_RootTask):
    """The root, given all leaves: answered once per sequence from the final tokens of all leaves, without a query token."""

    asks_once: bool = True
    """A model needs a read-out that sees all positions at once; its one answer stands at position 0."""

    def lesson(self, process: FilteredTree, objective: ObjectiveConfig, sample: TreeSample, rng: np.random.Generator) -> Lesson:
        """Show all leaves and ask for the root."""
        exact = objective.targets == "posteriors"
        targets = self.exact(process, sample.tokens)[:, 0] if exact else sample.root
        reads = np.broadcast_to(np.arange(process.n_leaves) == 0, sample.tokens.shape)
        return Lesson(sample.tokens, reads, targets)

    def prompts(self, process: FilteredTree, tokens: Int[np.ndarray, "n leaves"]) -> Prompts:
        """Return the leaves, one prompt per sequence."""
        return Prompts(tokens, np.zeros((len(tokens), 1), dtype=int))


class NextLeaf(_TreeTask):
    """Every leaf but the first, given those before it."""

    attention: Attention = "causal"
    verified_sequences = 4096

    def questions(self, process: FilteredTree, sample: TreeSample) -> Questions:
        """Return the leaves, of which all but the first are asked for."""
        return Questions(sample.tokens, sample.tokens[:, 1:])

    def lesson(self, process: FilteredTree, objective: ObjectiveConfig, sample: TreeSample, rng: np.random.Generator) -> Lesson:
        """Ask at every leaf but the last for the one after it."""
        tokens = sample.tokens
        reads = np.broadcast_to(np.arange(process.n_leaves) < process.n_leaves - 1, tokens.shape)
        if objective.targets == "posteriors":
            return Lesson(tokens, reads, rearrange(self.exact(process, tokens), "n query q -> (n query) q"))
        return Lesson(tokens, reads, tokens[:, 1:].reshape(-1))

    def prompts(self, process: FilteredTree, tokens: Int[np.ndarray, "n leaves"]) -> Prompts:
        """Return one prompt per sequence, read at all leaves but the last."""
        return Prompts(tokens, np.tile(np.arange(process.n_leaves - 1), (len(tokens), 1)))

    def exact(self, process: FilteredTree, tokens: Int[np.ndarray, "n leaves"]) -> Float64[np.ndarray, "n query q"]:
        """Return P(leaf | those before it) of every leaf but the first."""
        leaf = np.arange(process.n_leaves)
        prefixes = [process.beliefs(tokens, np.broadcast_to(leaf < t, tokens.shape)) for t in leaf[1:]]
        return np.stack([b.marginals[process.depth][:, t + 1] for t, b in enumerate(prefixes)], axis=1)


def training_evidence(
    objective: ObjectiveConfig, process: FilteredTree, tokens: Int[np.ndarray, "n leaves"], generator: np.random.Generator
) -> Int[np.ndarray, "n leaves"]:
    """Return the leaves with those hidden, as MASK, that training would hide: none, but where masked leaves are asked for."""
    if objective.task != "masked":
        return tokens
    return np.where(hidden_leaves(objective, tokens.shape, generator), process.mask_token, tokens)


def hidden_leaves(
    objective: ObjectiveConfig, shape: tuple[int, ...], generator: np.random.Generator
) -> Bool[np.ndarray, "n leaves"]:
    """Draw which leaves are masked; at least one in every sequence."""
    n, leaves = shape
    hidden = np.arange(leaves) == generator.integers(leaves, size=(n, 1))
    if objective.mask == "single":
        return hidden
    rate = generator.uniform(objective.mask_rate_low, objective.mask_rate_high, size=(n, 1))
    drawn = generator.random((n, leaves)) < rate
    return np.where(drawn.any(axis=1, keepdims=True), drawn, hidden)


def recipe_of(process: FilteredTree) -> RulesRecipe:
    """Return the recipe that builds a tree again."""
    rules, prior = nested(process.grammar.rules), nested(process.grammar.root_prior)
    return RulesRecipe("rules", process.depth, rules, prior, process.filter_level)


TREE = Family(
    "tree",
    (TreeRecipe, RulesRecipe),
    {"masked": Masked(), "root": Root(), "root-all": WholeRoot(), "next-token": NextLeaf()},
    (FilteredTree,),
    recipe_of,
)
