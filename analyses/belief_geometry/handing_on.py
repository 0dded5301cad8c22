"""Are later answers computed from the belief that stands after a token, or from the tokens anew? It is replaced to see.

At the last layer a belief is the answer in other coordinates, so that writing one there shows nothing. Here it is written at
earlier layers and judged by later answers, which the last layer of this position no longer reaches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from analyses.shared.prefix_corpus import LN, Corpus, stages
from mechbp.hooks import capture, to_array
from mechbp.methods.interchange.interchange import WHOLE
from mechbp.methods.interchange.later_answers import (
    Edit,
    LaterAnswers,
    component,
    component_of_others,
    whole_vector,
    without,
    write_at,
)
from mechbp.methods.interchange.leace import leace
from mechbp.methods.interchange.subspaces import mean_subspace
from mechbp.methods.statistics.intervals import Interval
from mechbp.models.runs import Run
from mechbp.study import Study
from mechbp.theory.chain.future_pairs import FuturePairs, future_pairs

BELIEF = "belief"
NEXT_ONLY = "its next token only"
OTHERS = "another word's belief"
ERASED = "belief erased"
TOKEN = "token replaced"
LATER = slice(1, None)
"""Lags of the answers after the position written."""
NOW = slice(0, 1)
REFITS = 3
"""Times that subspaces are fitted, each on words of its own."""
EMBEDDING = "embedding"


@dataclass(frozen=True, eq=False)
class HandingOn:
    """Answers after edits at the embedding and at every layer before the last, per refit of the subspaces."""

    corpus: Corpus
    any_pairs: FuturePairs
    """Pairs whose beliefs have different futures."""
    pairs: FuturePairs
    """Of these, pairs whose beliefs predict the same next token, where the process has such; else the same."""
    alike_now: bool
    dims: int
    next_dims: int
    written: dict[str, list[LaterAnswers]]
    """Layer -> one per refit, on `pairs`."""
    replaced: dict[str, LaterAnswers]
    """Embedding or layer -> the whole vector written, on `any_pairs`."""

    @property
    def layers(self) -> list[str]:
        """Layers at which something is written."""
        return list(self.written)

    @property
    def level(self) -> float:
        """Coverage of every interval at one layer, so that all of them are right 95 % of the time."""
        return 1 - 0.05 / len(self.written)

    @property
    def rivals(self) -> list[str]:
        """Edits that must do less than writing the belief."""
        some = next(iter(self.written.values()))[0]
        return [edit for edit in (NEXT_ONLY, OTHERS, ERASED, TOKEN) if edit in some.answers]

    def moved(self, study: Study, layer: str, edit: str) -> list[Interval]:
        """Return how far later answers go to those of the filter that runs on from the belief written, per refit."""
        rng = (self._rng(study, "moved", layer, edit, refit) for refit in range(REFITS))
        return [found.moved(edit, self.pairs.handed, LATER, r) for found, r in zip(self.written[layer], rng, strict=False)]

    def over(self, study: Study, layer: str, rival: str) -> list[Interval]:
        """Return how much farther they go than after a rival edit, per refit."""
        return [
            found.moved_beyond(
                BELIEF, rival, self.pairs.handed, LATER, self._rng(study, "over", layer, rival, refit), level=self.level
            )
            for refit, found in enumerate(self.written[layer])
        ]

    def nearer(self, study: Study, layer: str) -> list[Interval]:
        """Return how much nearer they are to that filter than to the base's own exact answers, nats, per refit."""
        handed, own = self.pairs.handed, self.pairs.own
        return [
            found.nearer(BELIEF, handed, own, LATER, self._rng(study, "nearer", layer, refit), level=self.level)
            for refit, found in enumerate(self.written[layer])
        ]

    def own_nearer(self, study: Study, stage: str) -> Interval:
        """Return how much nearer later answers are to the base's own than to the filter's, the whole vector written, nats."""
        pairs, rng = self.any_pairs, self._rng(study, "own", stage)
        return self.replaced[stage].nearer(WHOLE, pairs.own, pairs.handed, LATER, rng, level=self.level)

    def present_follows(self, study: Study, stage: str) -> Interval:
        """Return how much nearer the answer in place is to the source's exact one than to the base's, nats."""
        pairs, rng = self.any_pairs, self._rng(study, "now", stage)
        return self.replaced[stage].nearer(WHOLE, pairs.handed, pairs.own, NOW, rng, level=self.level)

    def token_read(self, study: Study) -> Interval:
        """Return how much nearer later answers are to those with the token replaced than to the base's own, nats.

        Over the pairs in which the word with that token is possible and answers otherwise: do later positions read this one?
        """
        pairs = self.any_pairs
        kept = np.isfinite(pairs.swapped).all(axis=(1, 2)) & (pairs.base[:, pairs.position] != pairs.source[:, pairs.position])
        found = self.replaced[EMBEDDING]
        answers = LaterAnswers(found.hook, {edit: said[kept] for edit, said in found.answers.items()})
        return answers.nearer(WHOLE, pairs.swapped[kept], pairs.own[kept], LATER, self._rng(study, "token"))

    def _rng(self, study: Study, *labels: str | int) -> np.random.Generator:
        return study.rng(self.corpus.run.name, "handing on", *labels)


def handing_on(study: Study, corpus: Corpus) -> HandingOn:
    """Draw pairs, fit subspaces REFITS times on other words, and write at every layer. Raises TooFewSequences without pairs."""
    run = corpus.run
    hmm = corpus.hmm
    study.stage(f"{run.name}: writing beliefs")
    position = corpus.length // 2 - 1
    beliefs = corpus.words.beliefs[:, position + 1]
    dims, next_dims = _rank(beliefs), _rank(hmm.predictive(beliefs))
    n = study.size(512, 120)
    any_pairs = future_pairs(hmm, position, corpus.length, n, study.rng(run.name, "handing on", "pairs"))
    pairs = any_pairs
    alike_now = next_dims < dims
    if alike_now:
        pairs = future_pairs(hmm, position, corpus.length, n, study.rng(run.name, "handing on", "alike"), alike_now=True)
    where = written_at(run)
    answers = {
        stage: write_at(run.model, any_pairs.base, any_pairs.source, position, hook, {WHOLE: whole_vector})
        for stage, hook in where.items()
    }
    token = write_at(run.model, pairs.base, pairs.source, position, where[EMBEDDING], {WHOLE: whole_vector}).answers[WHOLE]
    written: dict[str, list[LaterAnswers]] = {stage: [] for stage in where if stage != EMBEDDING}
    for refit in range(REFITS):
        rng = study.rng(run.name, "handing on", "fit", refit)
        sample = hmm.sample(study.size(2000, 400), rng, position + 1)
        found = capture(run.model, sample.tokens, [where[stage] for stage in written])
        belief = hmm.beliefs(sample.tokens)[:, -1:]
        for stage in written:
            activations = to_array(found[where[stage]])[:, -1:]
            edits = _edits(activations, belief, hmm.predictive(belief), dims, next_dims, rng.permutation(len(pairs)))
            after = write_at(run.model, pairs.base, pairs.source, position, where[stage], edits)
            written[stage].append(after.beside({TOKEN: token}))
    return HandingOn(corpus, any_pairs, pairs, alike_now, dims, next_dims, written, answers)


def written_at(run: Run) -> dict[str, str]:
    """Return {name: hook} of the embedding and of all layers that another one follows."""
    where = [(stage, hook) for stage, hook in stages(run, mid=False).items() if stage != LN]
    return dict(where[:-1])


def _edits(
    activations: np.ndarray,
    belief: Float64[np.ndarray, "n 1 state"],
    following: Float64[np.ndarray, "n 1 token"],
    dims: int,
    next_dims: int,
    order: np.ndarray,
) -> dict[str, Edit]:
    subspace = mean_subspace(activations, belief, dims)
    edits: dict[str, Edit] = {
        WHOLE: whole_vector,
        BELIEF: component(subspace),
        OTHERS: component_of_others(subspace, order),
        ERASED: without(leace(activations, belief)),
    }
    if next_dims < dims:
        edits[NEXT_ONLY] = component(mean_subspace(activations, following, next_dims))
    return edits


def _rank(rows: Float64[np.ndarray, "word column"]) -> int:
    return int(np.linalg.matrix_rank(np.cov(rows.T), tol=1e-9))
