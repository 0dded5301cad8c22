"""The suite's own probes and interchanges as `judge` asks them: what can be read at a place, and what can be written there.

A probe's score is its held-out R² of the message; it says yes where the interval lies above LEAST_R2. An interchange's score is
the share explained of the change to the exact answer, on pairs that the subspace was not found from; it says yes where the
interval lies above LEAST_SHARE.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mechbp.hooks import capture, to_array
from mechbp.judging.localising import Found
from mechbp.judging.question import Candidate, Question
from mechbp.methods.interchange.continuation import PairActivations
from mechbp.methods.interchange.das import learn_rotation
from mechbp.methods.interchange.interchange import WHOLE, MessageTest, erase, interchange
from mechbp.methods.interchange.leace import leace
from mechbp.methods.interchange.pairs import Pairs
from mechbp.methods.interchange.subspaces import Subspace, mean_subspace, probe_subspace
from mechbp.methods.probing.probe import probe

LEAST_R2 = 0.05
LEAST_SHARE = 0.05
ROTATION_STEPS = 10

FOUND = "found"

Half = tuple[Pairs, PairActivations]
"""Half of the pairs, and their activations at a place."""
Finder = Callable[[Question, Pairs, Candidate, PairActivations, np.ndarray], Subspace]
"""Question, pairs to learn from, place, their activations there, and those of the question's inputs -> a subspace."""


def probing(question: Question) -> Found:
    """Ridge probes of the message at every place; R² averaged over its positions."""
    targets = {"message": question.message[:, None]}
    grid = probe(question.model, question.tokens, targets, question.hooks(), rng=question.rng, controls=())
    r2 = grid.model.cells["r2"]["message"]
    rows = {hook: row for row, hook in enumerate(grid.hooks)}
    mean, low = (np.nan_to_num(end[..., 0]) for end in (r2.mean, r2.low))
    scores = np.array([mean[rows[hook], list(positions)].mean() for hook, positions in question.candidates])
    lows = np.array([low[rows[hook], list(positions)].mean() for hook, positions in question.candidates])
    return scores, lows > LEAST_R2


def written(finder: Finder | None) -> Callable[[Question], Found]:
    """Return interchange of the subspaces that a finder finds, or of whole vectors."""

    def method(question: Question) -> Found:
        seen = {} if finder is None else _of_inputs(question)

        def tested(place: Candidate, learn: Half, held: Half) -> MessageTest:
            subspaces = {}
            if finder is not None:
                subspaces = {FOUND: finder(question, learn[0], place, learn[1], seen[place.hook])}
            return interchange(
                question.model,
                held[0],
                place.hook,
                subspaces,
                rng=question.rng,
                reading=question.reading,
                activations=held[1],
            )

        return _shares(question, tested, WHOLE if finder is None else FOUND)

    return method


def erased(question: Question) -> Found:
    """Erasure by LEACE: does the model answer as it must without the message?"""
    seen = _of_inputs(question)

    def tested(place: Candidate, learn: Half, held: Half) -> MessageTest:
        erasers = {FOUND: leace(seen[place.hook], question.messages)}
        return erase(
            question.model, held[0], place.hook, erasers, rng=question.rng, reading=question.reading, activations=held[1]
        )

    return _shares(question, tested, FOUND)


def conditional_means(
    question: Question, learn: Pairs, place: Candidate, activations: PairActivations, seen: np.ndarray
) -> Subspace:
    """Find the directions along which the activation moves with the message."""
    return mean_subspace(seen, question.messages, _dims(question, seen))


def probe_weights(question: Question, learn: Pairs, place: Candidate, activations: PairActivations, seen: np.ndarray) -> Subspace:
    """Find the directions from which ridge regression reads the message."""
    return probe_subspace(seen, question.messages, _dims(question, seen))


def rotation(question: Question, learn: Pairs, place: Candidate, activations: PairActivations, seen: np.ndarray) -> Subspace:
    """Find a subspace by distributed alignment search from the conditional means, of as many dimensions as there are symbols."""
    return learn_rotation(
        question.model,
        learn,
        place.hook,
        min(question.message.shape[1], seen.shape[-1]),
        rng=question.rng,
        starts=(conditional_means(question, learn, place, activations, seen),),
        steps=ROTATION_STEPS,
        batch_size=len(learn),
        reading=question.reading,
        activations=activations,
    )


def _shares(question: Question, tested: Callable[[Candidate, Half, Half], MessageTest], edit: str) -> Found:
    """Share explained at every place: the even pairs are there to learn from, the odd ones to be scored on."""
    ends = [capture(question.model, rows, question.hooks()) for rows in (question.corrupted, question.clean)]
    scores, found = [], []
    for place in question.candidates:
        pairs = question.pairs(place.positions)
        odd = np.arange(len(pairs)) % 2 == 1
        base, source = (end[place.hook] for end in ends)
        learn, held = ((pairs.at(rows), (base[rows], source[rows])) for rows in (~odd, odd))
        share = tested(place, learn, held).explained(edit, question.rng)
        scores.append(float(share.mean))
        found.append(float(share.low) > LEAST_SHARE)
    return np.array(scores), np.array(found)


def _of_inputs(question: Question) -> dict[str, np.ndarray]:
    """Activations of the question's inputs at every hook asked about, from one run."""
    return {hook: to_array(value) for hook, value in capture(question.model, question.tokens, question.hooks()).items()}


def _dims(question: Question, seen: np.ndarray) -> int:
    """How many dimensions a message of q symbols has, divided by its sum."""
    return min(question.message.shape[1] - 1, seen.shape[-1])
