"""Which runs the page studies, and the documents that they are shown."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float64, Int

from analyses.shared.residual_stream import between_blocks
from mechbp.hooks import capture, to_array
from mechbp.models import forward
from mechbp.models.answers import ask
from mechbp.models.config import ModelConfig
from mechbp.models.runs import Run
from mechbp.study import Study
from mechbp.theory.topics.hidden_words import HiddenWords, unigram
from mechbp.theory.topics.key_classes import KeyClasses
from mechbp.theory.topics.pairs import PairClasses

SHORTEST = 8
"""Words of a document with which patterns of attention can be judged."""
NOTHING = 1e-6
"""If a hidden word's answer moves by no more, nats on average, there is nothing to learn."""
RANDOM_SEEDS = (1, 2)
"""Of networks with random weights, the control beside every number."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A run, and what its topics say about pairs of words."""

    run: Run

    @property
    def name(self) -> str:
        """The run's name."""
        return self.run.name

    @property
    def process(self) -> Any:
        """The topics."""
        return self.run.process

    @cached_property
    def pairs(self) -> PairClasses:
        """Pairs of words by whether their topics meet."""
        return PairClasses.of_sets(self.process.word_given_topic)

    @cached_property
    def keys(self) -> KeyClasses:
        """Pairs of ids that query and key may show."""
        return KeyClasses.of(self.pairs)

    @property
    def architecture(self) -> ModelConfig:
        """What the transformer is built of."""
        found = self.run.config.model
        assert isinstance(found, ModelConfig), f"{self.name} is unsuitable"
        return found

    @property
    def hidden_share(self) -> float:
        """How many words of a document are hidden, about."""
        task: Any = self.run.task
        return task.rates.rate

    @cached_property
    def stages(self) -> dict[str, str]:
        """Names and hooks of the residual stream between blocks."""
        return between_blocks(self.architecture.n_layers)

    @property
    def last(self) -> str:
        """The stage that the answer is read from."""
        return list(self.stages)[-1]

    @cached_property
    def controls(self) -> list[Any]:
        """Networks of the same architecture with random weights."""
        return [self.run.untrained(seed) for seed in RANDOM_SEEDS]

    def documents(self, study: Study, label: str, n: int) -> Int[np.ndarray, "n position"]:
        """Draw n documents as the model is shown them in training; position 0 hides its word."""
        return ask(self.run.task, self.process, n, study.rng(self.name, "documents", label)).tokens

    def hidden_words(self, study: Study, label: str, n: int) -> HiddenWords:
        """Draw n documents with their exact answers."""
        return HiddenWords.of(self.process, self.documents(study, label, n))

    def answers(self, model: Any, shown: Int[np.ndarray, "n position"]) -> Float64[np.ndarray, "n position word"]:
        """Return a model's probabilities at all positions."""
        return forward.answers(model, shown)

    def embeddings(self, model: Any) -> Float64[np.ndarray, "word d"]:
        """Return a model's embedding of every word, without its position."""
        words = np.arange(self.process.vocab_size)[:, None]
        return to_array(capture(model, words, "hook_embed")["hook_embed"])[:, 0].astype(np.float64)


def unsuitable(run: Run) -> str:
    """Return why a run cannot be studied; empty where it can."""
    if not isinstance(run.config.model, ModelConfig):
        return "is the theory's own model, which has no residual stream; the page on topic structure is about it"
    task = run.config.objective.task
    if task != "masked":
        return f"was asked for words that are not all hidden (task {task!r}); this page hides all that it asks for"
    if run.config.process.length_low < SHORTEST:
        return f"reads documents of {run.config.process.length_low} words; at least {SHORTEST} are needed"
    if run.config.process.topics_per_document:
        return "reads documents of a fixed number of topics, in which a word of one more topic is impossible and proves nothing"
    pairs = PairClasses.of_sets(run.process.word_given_topic)
    if not pairs.same.any() or not pairs.different.any():
        return "knows no two words that share a topic, or none that do not, so there is no contrast between them"
    alone = run.process.beliefs(np.arange(run.process.vocab_size)[:, None]).predictive
    if np.abs(alone - unigram(run.process)).max() < NOTHING:
        return "gives every hidden word one answer, whatever is shown: there is nothing to learn"
    return ""
