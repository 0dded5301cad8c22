"""A model that sorts as its pages see it: its lists, its circuits between values, and how its heads share the values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float64, Int

from mechbp.hooks import capture, to_array
from mechbp.methods.circuits.circuit import circuits
from mechbp.methods.circuits.modes import Modes, modes
from mechbp.methods.circuits.result import Circuits
from mechbp.models.config import ModelConfig
from mechbp.models.runs import Run
from mechbp.processes.sorting.sorted_lists import SortedLists
from mechbp.study import Study
from mechbp.theory.sorting.gaps import gap_laws

PATTERN = "blocks.0.attn.hook_pattern"


@dataclass(frozen=True, eq=False)
class Sorter:
    """A run, and its model at one step, or another of the same architecture."""

    run: Run
    model: Any
    """In eval mode."""

    @classmethod
    def last(cls, run: Run) -> Sorter:
        """Return a run's last step."""
        return cls(run, run.model)

    @classmethod
    def at(cls, run: Run, step: int) -> Sorter:
        """Return a stored step of a run."""
        return cls(run, run.at(step))

    @classmethod
    def untrained(cls, run: Run, seed: int) -> Sorter:
        """Return the architecture with random weights: the control."""
        return cls(run, run.untrained(seed))

    @property
    def name(self) -> str:
        """The run's name."""
        return self.run.name

    @property
    def process(self) -> SortedLists:
        """The lists."""
        return self.run.process

    @property
    def architecture(self) -> ModelConfig:
        """What the transformer is built of."""
        found = self.run.config.model
        assert isinstance(found, ModelConfig), f"{self.name} is unsuitable"
        return found

    @property
    def n_heads(self) -> int:
        """Heads of the block."""
        return self.architecture.n_heads

    @property
    def decays(self) -> bool:
        """Whether training let weights decay."""
        return self.run.config.training.l2 > 0 or self.run.config.training.weight_decay > 0

    @property
    def mean_gap(self) -> float:
        """Expected gap between neighbours of a sorted list, exactly."""
        return gap_laws(self.process).expected_gap

    @property
    def uniform(self) -> bool:
        """Whether lists are uniform subsets: no windows, no least gap, no repeats."""
        process = self.process
        return process.width == process.vocab_size and process.gap == 1 and not process.repeats

    @property
    def ordinary(self) -> bool:
        """Whether it is of the design that most runs have: two heads with layer norm, on uniform subsets."""
        return self.uniform and self.n_heads == 2 and self.architecture.normalization == "LN"

    @cached_property
    def circuits(self) -> Circuits:
        """Circuits between tokens, positions averaged: keys over the list, queries over the positions asked at."""
        length = self.process.length
        return circuits(self.model, key_positions=range(length), query_positions=range(length, 2 * length))

    @property
    def ov(self) -> Float64[np.ndarray, "head value output"]:
        """OV between values."""
        values = self.process.vocab_size
        return self.circuits.ov[:, :values, :values]

    @property
    def qk(self) -> Float64[np.ndarray, "head query value"]:
        """QK with keys that are values; the separator is the last query."""
        return self.circuits.qk[:, :, : self.process.vocab_size]

    @cached_property
    def modes(self) -> Modes:
        """How the heads share the values, each value counting the same."""
        return modes(self.ov, self.qk)

    @property
    def label(self) -> str:
        """The mode of the best pair of heads."""
        return self.modes.label

    @property
    def specialised(self) -> bool:
        """Whether the label is splitting, copy-suppression or both."""
        return self.label in ("splitting", "suppression", "both")

    def lists(self, study: Study, label: str, n: int) -> Int[np.ndarray, "n position"]:
        """Draw n sequences whose lists training has not seen."""
        return self.process.sample(n, study.rng(self.name, "lists", label), "test").tokens

    def patterns(self, model: Any, tokens: Int[np.ndarray, "n position"]) -> Float64[np.ndarray, "n head query key"]:
        """Return the attention of the model, or another, on sequences without their last token."""
        return to_array(capture(model, tokens[:, :-1], PATTERN)[PATTERN])


def unsuitable(run: Run) -> str:
    """Return why the pages on sorting cannot study a run; empty where they can."""
    model = run.config.model
    if not isinstance(model, ModelConfig) or model.n_layers != 1 or model.d_mlp:
        return "is not one block of attention only, whose logits are a sum over heads"
    if not run.steps:
        return "has no stored step"
    return ""
