"""Classifiers with one hidden layer, many targets at once: what a linear probe cannot read of the same features."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from mechbp.brief import Brief
from mechbp.errors import InputError
from mechbp.hooks import to_array
from mechbp.randomness import checked_generator

HIDDEN = 64
"""Units of the hidden layer, as in the probes of Garnier-Brun et al. 2025."""
LEARNING_RATE = 5e-3
BATCH = 256


@dataclass(frozen=True, eq=False, repr=False)
class TwoLayerProbe(Brief):
    """Frozen weights d -> HIDDEN (ReLU) -> q, one set per target, on features brought to mean 0 and variance 1."""

    mean: Float[torch.Tensor, " d"]
    scale: Float[torch.Tensor, " d"]
    weights: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
    """[target, d, hidden], [target, 1, hidden], [target, hidden, q], [target, 1, q]."""

    def predict(self, features: Float[np.ndarray, "m d"] | Float[torch.Tensor, "m d"]) -> Int[np.ndarray, "target m"]:
        """Return the likeliest symbol of every target."""
        with torch.no_grad():
            rows = (torch.from_numpy(to_array(features)).float() - self.mean) / self.scale
            return _scores(self.weights, rows).argmax(dim=-1).numpy()


def fit_two_layer(
    features: Float[np.ndarray, "n d"] | Float[torch.Tensor, "n d"],
    labels: Int[np.ndarray, "target n"] | Int[torch.Tensor, "target n"],
    n_symbols: int,
    rng: np.random.Generator,
    *,
    epochs: int = 8,
) -> TwoLayerProbe:
    """Fit every target's classifier by Adam on the cross-entropy, with a learning rate that falls to 0 along a cosine.

    Targets share the batches and nothing else: their losses add up, so that none can help or hinder another.
    Raises InputError for shapes that do not fit, labels outside 0..n_symbols-1, or fewer examples than one batch.
    """
    checked_generator(rng, "fit_two_layer")
    features, labels = to_array(features), to_array(labels)
    n, d = features.shape
    if labels.ndim != 2 or labels.shape[1] != n or n < BATCH or epochs < 1:
        raise InputError(
            f"fit_two_layer: need labels [target, n] for features [n >= {BATCH}, d] and epochs >= 1,\n"
            f"got {list(labels.shape)}, {list(features.shape)} and {epochs}."
        )
    if labels.min() < 0 or labels.max() >= n_symbols:
        raise InputError(f"fit_two_layer: labels must be in 0..{n_symbols - 1}, got {labels.min()}..{labels.max()}.")
    rows = torch.from_numpy(features).float()
    mean, scale = rows.mean(dim=0), rows.std(dim=0).clamp_min(1e-6)
    rows = (rows - mean) / scale
    truth = torch.from_numpy(np.asarray(labels, dtype=np.int64))
    shapes = ((d, HIDDEN), (1, HIDDEN), (HIDDEN, n_symbols), (1, n_symbols))
    widths = (d, None, HIDDEN, None)  # of the layer below: what its weights are drawn for; biases start at 0
    drawn = [
        rng.normal(size=(len(labels), *shape)) * math.sqrt(2 / width) if width else np.zeros((len(labels), *shape))
        for shape, width in zip(shapes, widths, strict=True)
    ]
    weights = tuple(torch.tensor(array, dtype=torch.float32, requires_grad=True) for array in drawn)
    steps = epochs * (n // BATCH)
    optimiser = torch.optim.Adam(weights, lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(epochs):
        order = torch.from_numpy(rng.permutation(n))
        for start in range(0, n - BATCH + 1, BATCH):
            batch = order[start : start + BATCH]
            scores = _scores(weights, rows[batch])
            loss = torch.nn.functional.cross_entropy(scores.flatten(0, 1), truth[:, batch].flatten(), reduction="sum") / BATCH
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return TwoLayerProbe(mean, scale, tuple(w.detach() for w in weights))  # type: ignore[arg-type]


def _scores(weights: tuple[torch.Tensor, ...], rows: Float[torch.Tensor, "n d"]) -> Float[torch.Tensor, "target n q"]:
    first, first_bias, second, second_bias = weights
    return (rows @ first + first_bias).relu() @ second + second_bias
