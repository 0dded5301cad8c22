"""How well a probe's predictions on held-out sequences match its target, one value per node and example."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64

from mechbp.brief import Brief
from mechbp.methods.probing.ridge import Targets

METRICS = {"distribution": ("r2", "kl_nats", "accuracy"), "symbol": ("cross_entropy_nats", "accuracy")}
"""What is reported for each kind of target."""

STATISTICS = {
    "distribution": ("squared_error", "squared_total", "kl_nats", "accuracy"),
    "symbol": ("cross_entropy_nats", "accuracy"),
}
"""What is known of each held-out example; R^2 is 1 - sum of squared_error / sum of squared_total."""

FLOOR = 1e-3
"""A linear probe's outputs are raised to this and renormalised before a KL is taken; they may be negative otherwise."""

TIE = 1e-9
"""Symbols whose target probability is this close to the largest all count as the argmax."""

PerExample = Float64[np.ndarray, "node example"]


@dataclass(frozen=True, eq=False, repr=False)
class Truth(Brief):
    """A target on the held-out sequences, with everything that does not depend on the probe."""

    values: Targets
    tops: Bool[np.ndarray, "q node example"]
    """Which symbols count as the target's argmax."""
    entropy_nats: PerExample
    squared_total: PerExample
    """Squared distance to the training mean, the constant predictor a probe must beat."""

    @classmethod
    def of(cls, values: Targets, training_mean: Float[np.ndarray, "q node 1"]) -> Truth:
        """Prepare the held-out values of a target."""
        tops = values >= values.max(axis=0) - TIE
        entropy = -(values * np.log(np.where(values > 0, values, 1))).sum(axis=0)
        return cls(values, tops, entropy, np.square(values - training_mean).sum(axis=0))

    def nodes(self, columns: np.ndarray | slice) -> Truth:
        """Return the same for some nodes only."""
        return Truth(self.values[:, columns], self.tops[:, columns], self.entropy_nats[columns], self.squared_total[columns])


def linear_scores(predicted: Targets, truth: Truth, floor: float) -> dict[str, PerExample]:
    """Return squared error, D(target || probe) in nats and accuracy of a linear probe.

    The KL is that of the outputs raised to `floor` and divided by their sum; a perfect probe of a one-hot target thus shows
    (q - 1) * floor nats. Logarithms run in float32 (error 1e-7).
    """
    squared_error, kept_sum, dot = (np.zeros(predicted.shape[1:]) for _ in range(3))
    for guess, target in zip(predicted, truth.values, strict=True):  # one symbol at a time stays in the processor's cache
        squared_error += np.square(guess - target)
        kept = np.maximum(guess, floor)
        kept_sum += kept
        dot += target * np.log(kept.astype(np.float32))
    return {
        "squared_error": squared_error,
        "kl_nats": np.log(kept_sum) - dot - truth.entropy_nats,
        "accuracy": _hits(predicted, truth),
    }


def softmax_scores(predicted: Targets, truth: Truth) -> dict[str, PerExample]:
    """Return cross-entropy in nats and accuracy of a softmax probe."""
    logs = np.log(np.maximum(predicted, np.finfo(np.float64).tiny))
    return {"cross_entropy_nats": -np.einsum("qjn,qjn->jn", truth.values, logs), "accuracy": _hits(predicted, truth)}


def _hits(predicted: Targets, truth: Truth) -> PerExample:
    """1 where the probe's most likely symbol is one of the target's, else 0."""
    best, hit = predicted[0].copy(), truth.tops[0].copy()
    for scores, top in zip(predicted[1:], truth.tops[1:], strict=True):  # argmax over a short leading axis, by rows
        better = scores > best
        np.copyto(best, scores, where=better)
        np.copyto(hit, top, where=better)
    return hit.astype(np.float64)
