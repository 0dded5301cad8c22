"""All words of a run's process, once per prefix, with everything that its activations are compared with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from mechbp.hooks import HookedModel, firing_hooks
from mechbp.models.runs import Run
from mechbp.models.tasks.chain import PARAMETERS
from mechbp.processes.chain.filters import naive_bayes_beliefs, truncated_beliefs
from mechbp.processes.chain.hmm import HiddenMarkovModel
from mechbp.processes.chain.words import Words, enumerate_words
from mechbp.theory.chain.prefix_activations import activations_and_answers, prefix_activations

LN = "final LN"
TOGETHER = "all together"
FULL = "belief"
CONSTRAINED = "constrained"
NAIVE = "naive Bayes"
NEXT = "next token"
OTHER = "other process"
MOST_WORDS = 70_000
"""Words longer than gives this many are cut short: their number grows as tokens ** length."""

SHORTEST = 4
"""Tokens of a word with which patterns of attention can be judged."""
NOTHING = 1e-6
"""If no two predictives differ by more, there is nothing to learn."""

Prefixes = Float64[np.ndarray, "prefix last"]


@dataclass(frozen=True, eq=False)
class Corpus:
    """Words of one length under one process."""

    run: Run
    hmm: HiddenMarkovModel
    words: Words

    @classmethod
    def of(cls, run: Run, length: int) -> Corpus:
        """Return the words of at most `length` tokens, fewer where the model reads fewer or there would be too many."""
        within = int(np.log(MOST_WORDS) / np.log(run.process.vocab_size))
        wanted = max(min(length, run.process.length, within), 1)
        hmm = run.process.of_length(wanted)
        return cls(run, hmm, enumerate_words(hmm, wanted))

    @property
    def length(self) -> int:
        """Tokens per word."""
        return self.words.tokens.shape[1]

    @cached_property
    def targets(self) -> dict[str, Prefixes]:
        """What a stage is regressed on: the exact belief first, its shortcuts, and the belief of another process."""
        full = self.words.of_prefixes(self.words.beliefs[:, 1:])
        return {
            FULL: full,
            CONSTRAINED: self.of_words(self.hmm.constrained_beliefs(self.words.tokens)),
            NAIVE: self.of_words(naive_bayes_beliefs(self.hmm, self.words.tokens)),
            NEXT: self.hmm.predictive(full),
            OTHER: self.of_words(self.other.beliefs(self.words.tokens)),
        }

    @cached_property
    def oracles(self) -> dict[str, Prefixes]:
        """Observers who compete to describe a stage: the exact one and those who take shortcuts or forget."""
        named = {name: self.targets[name] for name in (FULL, CONSTRAINED, NAIVE)}
        memories = (m for m in (1, 2, 3) if m < self.length)
        return named | {f"last {m}": self.of_words(truncated_beliefs(self.hmm, self.words.tokens, m)) for m in memories}

    @cached_property
    def other(self) -> HiddenMarkovModel:
        """A process with the same states and tokens and another parameter."""
        recipe = self.run.config.process
        if recipe.kind not in PARAMETERS:  # a table without parameters: half of it, and half that says nothing
            steps = self.hmm.transitions
            return HiddenMarkovModel(steps / 2 + 0.5 / (self.hmm.vocab_size * self.hmm.n_states), length=self.hmm.length)
        name = PARAMETERS[recipe.kind][0]
        value = getattr(recipe, name)
        other = 0.25 if value == 0 else value / 3 if value > 1 / 6 else value * 3
        changed: Any = replace(recipe, **{name: other})
        return changed.build()

    def of_words(self, values: Float64[np.ndarray, "word length_1 last"]) -> Prefixes:
        """Return an observer's beliefs, the one before the first token left out, once per prefix."""
        return self.words.of_prefixes(values[:, 1:])

    def activations(self, model: HookedModel, stages: dict[str, str]) -> dict[str, Float32[np.ndarray, "prefix d"]]:
        """Return {stage: activation after every prefix}."""
        found = prefix_activations(model, self.words, list(stages.values()))
        return {stage: found[hook] for stage, hook in stages.items()}

    def activations_and_answers(
        self, model: HookedModel, stages: dict[str, str]
    ) -> tuple[dict[str, Float32[np.ndarray, "prefix d"]], Float64[np.ndarray, "prefix token"]]:
        """Return {stage: activation after every prefix}, and the model's probabilities of the next token."""
        found, answers = activations_and_answers(model, self.words, list(stages.values()))
        return {stage: found[hook] for stage, hook in stages.items()}, answers


def stages(run: Run, *, mid: bool = True) -> dict[str, str]:
    """Return {name: hook} of the residual stream from the embedding to what the unembedding reads."""
    layers = range(run.config.model.n_layers)
    wanted = {"embedding": "blocks.0.hook_resid_pre"}
    for layer in layers:
        wanted |= {f"layer {layer + 1} mid": f"blocks.{layer}.hook_resid_mid"} if mid else {}
        wanted |= {f"layer {layer + 1}": f"blocks.{layer}.hook_resid_post"}
    wanted |= {LN: "ln_final.hook_normalized"}
    firing = firing_hooks(run.model, wanted.values(), np.zeros((1, 1), np.int64))
    return {name: hook for name, hook in wanted.items() if hook in firing}


def unsuitable(run: Run) -> str:
    """Return why a run cannot be studied; empty where it can."""
    if run.process.length < SHORTEST:
        return f"{run.name} reads {run.process.length} tokens; words of at least {SHORTEST} are needed"
    corpus = Corpus.of(run, SHORTEST)
    predictives = corpus.targets[NEXT]
    if np.ptp(predictives, axis=0).max() < NOTHING:
        return f"whatever {run.name} has read, the exact answer is the same: there is nothing to learn"
    return ""


def trained_on_exact(run: Run) -> bool:
    """Return whether a run saw exact answers rather than sampled tokens."""
    return run.config.objective.targets == "posteriors"


def trained_on(run: Run) -> str:
    """Return what a run's answers were during training, in words."""
    return "exact answers" if trained_on_exact(run) else "sampled tokens"


def joined(activations: dict[str, Float32[np.ndarray, "prefix d"]]) -> Float32[np.ndarray, "prefix d"]:
    """Return several stages side by side."""
    return np.concatenate(list(activations.values()), axis=1)
