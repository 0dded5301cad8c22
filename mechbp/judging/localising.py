"""The suite's own localisation methods as `judge` asks them: effects of patches, gradients, ablations and paths, place by place.

Scores are mean effects as shares of the gap between the two runs. Each decides by itself: yes where the 95 % interval of the mean
effect over pairs lies off 0 and the effect is at least LEAST of the gap, which rounding never reaches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch

from mechbp.hooks import forward, layer_of, to_tokens
from mechbp.judging.question import Candidate, Question
from mechbp.methods.patching.ablate import Ablation, Mean, Resample, ablate
from mechbp.methods.patching.attribution import attribution_patch
from mechbp.methods.patching.edges import DirectPath, Receiver, Sender
from mechbp.methods.patching.metric import Direction
from mechbp.methods.patching.patch import patch
from mechbp.methods.patching.path_patch import path_patch
from mechbp.methods.statistics.intervals import Interval

LEAST = 0.01
"""Share of the gap."""

Found = tuple[np.ndarray, np.ndarray]
"""Scores and decisions, in the order of the candidates."""


def patching(direction: Direction) -> Callable[[Question], Found]:
    """Return activation patching in one direction."""

    def method(question: Question) -> Found:
        found: dict[Candidate, tuple[float, bool]] = {}
        for positions, hooks in question.by_positions().items():
            effects = patch(
                question.model,
                question.clean,
                question.corrupted,
                question.metric,
                hooks,
                direction=direction,
                positions=[positions],
                rng=question.rng,
            )
            found |= _told(effects.hooks, positions, effects.normalized_effect)
        return _in_order(question, found)

    return method


def attribution(question: Question) -> Found:
    """Attribution patching: the gradient at the corrupted run times the change of the activation."""
    groups = list(question.by_positions())
    estimates = attribution_patch(
        question.model,
        question.clean,
        question.corrupted,
        question.metric,
        question.hooks(),
        positions=groups,
        rng=question.rng,
    )
    found: dict[Candidate, tuple[float, bool]] = {}
    for index, cell in enumerate(estimates.cells):
        positions = cell.position if isinstance(cell.position, tuple) else (int(cell.position or 0),)
        found |= _told([cell.hook], positions, estimates.normalized_effect[[index]])
    return _in_order(question, found)


def ablation(stand_in: Literal["zero", "mean", "resample"]) -> Callable[[Question], Found]:
    """Return ablation of the clean runs by zeros, by the mean over as many of the question's other inputs, or by one of them."""

    def method(question: Question) -> Found:
        tokens = question.tokens[: len(question.clean)]
        stand_ins: dict[str, Ablation] = {"zero": "zero", "mean": Mean(tokens), "resample": Resample(tokens, question.rng)}
        gap = _gap(question)
        found: dict[Candidate, tuple[float, bool]] = {}
        for positions, hooks in question.by_positions().items():
            effects = ablate(
                question.model,
                question.clean,
                question.metric,
                hooks,
                stand_ins[stand_in],
                jointly=False,
                positions=[positions],
                rng=question.rng,
            )
            change = effects.change
            shares = Interval(change.mean / gap, change.low / gap, change.high / gap, change.n, change.level)
            found |= _told([cell.hook for cell in effects.cells], positions, shares)
        return _in_order(question, found)

    return method


def paths(question: Question) -> Found:
    """Path patching of components: the largest effect of the direct edges from one to values, MLPs and the unembedding."""
    n_layers = question.model.cfg.n_layers
    edges = [
        (candidate, DirectPath(_sender(candidate), (receiver,)))
        for candidate in question.candidates
        for receiver in _receivers(candidate.hook, n_layers)
    ]
    effects = path_patch(
        question.model,
        question.clean,
        question.corrupted,
        question.metric,
        [path for _, path in edges],
        ln="recomputed",
        rng=question.rng,
    ).normalized_effect
    best: dict[Candidate, tuple[float, bool]] = {}
    for index, (candidate, _) in enumerate(edges):
        told = _told([candidate.hook], candidate.positions, effects[[index]])[candidate]
        before = best.get(candidate, (0.0, False))
        best[candidate] = (max(told[0], before[0]), told[1] or before[1])
    return _in_order(question, best)


def random_scores(question: Question) -> np.ndarray:
    """Know nothing: the control that every method is held against."""
    return question.rng.random(len(question.candidates))


def decided(interval: Interval) -> np.ndarray:
    """Return where a mean effect, as a share of the gap, is off 0 and no rounding."""
    low, high = np.nan_to_num(interval.low), np.nan_to_num(interval.high)
    return ((low > 0) | (high < 0)) & (np.abs(interval.mean) >= LEAST)


def _told(hooks: Sequence[str], positions: tuple[int, ...], effects: Interval) -> dict[Candidate, tuple[float, bool]]:
    found = decided(effects)
    return {Candidate(hook, positions): (abs(float(effects.mean[index])), bool(found[index])) for index, hook in enumerate(hooks)}


def _in_order(question: Question, found: dict[Candidate, tuple[float, bool]]) -> Found:
    rows = [found[candidate] for candidate in question.candidates]
    return np.array([score for score, _ in rows]), np.array([yes for _, yes in rows])


@torch.no_grad()
def _gap(question: Question) -> float:
    """The metric's mean difference between clean and corrupted runs: two passes of each pair."""
    ends = [
        question.metric(forward(question.model, to_tokens(question.model, rows))) for rows in (question.clean, question.corrupted)
    ]
    return float((ends[0] - ends[1]).mean())


def _sender(candidate: Candidate) -> Sender:
    """Read the component that writes at a hook off its name."""
    kind = {"attn_out": "attention", "mlp_out": "mlp"}.get(candidate.hook.rpartition("hook_")[2])
    layer = layer_of(candidate.hook)
    if kind == "attention":
        return Sender("attention", layer, positions=candidate.positions)
    return Sender("mlp", layer, positions=candidate.positions) if kind else Sender("embedding", positions=candidate.positions)


def _receivers(hook: str, n_layers: int) -> list[Receiver]:
    """Everything after a component that reads values off the stream."""
    layer = layer_of(hook) or 0
    first_v = layer + (not hook.endswith("hook_resid_pre"))
    first_mlp = layer + hook.endswith("hook_mlp_out")
    values = [Receiver("v", block) for block in range(first_v, n_layers)]
    return [*values, *(Receiver("mlp", block) for block in range(first_mlp, n_layers)), Receiver("final")]
