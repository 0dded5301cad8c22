"""The wing of chains: hidden Markov models known by name, and models asked for the next token at every position."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from einops import rearrange
from jaxtyping import Float64, Int

from mechbp.errors import InputError
from mechbp.models.recipe_tables import in_range
from mechbp.models.tasks.objective import ObjectiveConfig
from mechbp.models.tasks.task import Attention, Family, Lesson, Prompts, Questions
from mechbp.processes.chain.hmm import ChainSample, HiddenMarkovModel
from mechbp.processes.chain.library import even, golden_mean, mess3, rrxor, z1r

PARAMETERS = {"mess3": ("x", "alpha"), "rrxor": ("p", "q"), "z1r": ("p",), "even": ("p",), "golden-mean": ("p",)}
BUILDERS = {"mess3": mess3, "rrxor": rrxor, "z1r": z1r, "even": even, "golden-mean": golden_mean}
MAX_LENGTH = 1024


@dataclass(frozen=True)
class ChainRecipe:
    """The data: sequences of a hidden Markov model."""

    kind: Literal["mess3", "rrxor", "z1r", "even", "golden-mean"]
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


class NextToken:
    """The next token at every position, the one after the last token shown included."""

    attention: Attention = "causal"
    verified_sequences = 4096

    def n_positions(self, process: HiddenMarkovModel) -> int:
        """Return the model's input length: the process's own."""
        if process.length is None:
            raise InputError("n_positions: this hidden Markov model has no length; use hmm.of_length(10).")
        return process.length

    def n_input_tokens(self, process: HiddenMarkovModel) -> int:
        """Return the number of symbols."""
        return process.vocab_size

    def draw(self, process: HiddenMarkovModel, n: int, rng: np.random.Generator) -> ChainSample:
        """Draw n sequences of one token more than a model reads."""
        return process.sample(n, rng, self.n_positions(process) + 1)

    def questions(self, process: HiddenMarkovModel, sample: ChainSample) -> Questions:
        """Return all tokens but the last as shown, and all but the first as asked for."""
        return Questions(sample.tokens[:, :-1], sample.tokens[:, 1:])

    def lesson(
        self, process: HiddenMarkovModel, objective: ObjectiveConfig, sample: ChainSample, rng: np.random.Generator
    ) -> Lesson:
        """Ask at every position for the next token."""
        asked = self.questions(process, sample)
        everywhere = np.ones(asked.tokens.shape, bool)
        if objective.targets == "posteriors":
            return Lesson(asked.tokens, everywhere, rearrange(self.exact(process, asked.tokens), "n query q -> (n query) q"))
        return Lesson(asked.tokens, everywhere, asked.truth.reshape(-1))

    def inputs(self, process: HiddenMarkovModel, tokens: Int[np.ndarray, "n length"]) -> Int[np.ndarray, "n position"]:
        """Return the tokens as they are."""
        return tokens

    def prompts(self, process: HiddenMarkovModel, tokens: Int[np.ndarray, "n length"]) -> Prompts:
        """Return one prompt per sequence, read at every position."""
        return Prompts(tokens, np.tile(np.arange(tokens.shape[1]), (len(tokens), 1)))

    def exact(self, process: HiddenMarkovModel, tokens: Int[np.ndarray, "n length"]) -> Float64[np.ndarray, "n query q"]:
        """Return P(next token | tokens so far) after every token."""
        return process.predictive(process.beliefs(tokens)[:, 1:])

    def oracles(self, process: HiddenMarkovModel) -> Mapping[str, HiddenMarkovModel]:
        """Return exact inference alone, under the name that belief propagation on the whole structure has for trees."""
        return {"bp0": process}


CHAIN = Family("chain", (ChainRecipe,), {"next-token": NextToken()}, (HiddenMarkovModel,))
