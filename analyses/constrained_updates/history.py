"""What the parts ask of a one-block run at its stored steps, each step run once for all of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from analyses.constrained_updates.settings import MID, POST
from analyses.shared.prefix_corpus import CONSTRAINED, FULL, Corpus
from mechbp.study import Study
from mechbp.theory.chain.first_block import MeanPattern, pattern_and_activations
from mechbp.theory.chain.prefix_probe import word_probe


@dataclass(frozen=True, eq=False)
class StoredStep:
    """One run at one step."""

    pattern: MeanPattern
    mid: float
    """MSE of the constrained belief at Mid, on the fitted words."""
    post: float
    """MSE of the exact belief at Post."""


@dataclass(frozen=True, eq=False)
class History:
    """A run at its stored steps, made as they are asked for."""

    study: Study
    corpus: Corpus
    known: dict[int, StoredStep] = field(default_factory=dict)

    def at(self, step: int) -> StoredStep:
        """Return what is known of a step."""
        if step not in self.known:
            run = self.corpus.run
            pattern, columns = pattern_and_activations(run.at(step), self.corpus.words, (MID, POST))
            rng = self.study.rng(run.name, "course")
            errors = [
                word_probe(columns[hook], {name: self.corpus.targets[name]}, self.corpus.words, rng=rng, repeats=0)[name].mse
                for hook, name in ((MID, CONSTRAINED), (POST, FULL))
            ]
            self.known[step] = StoredStep(pattern, *errors)
        return self.known[step]
