"""A linear read-out of a frozen encoder: one softmax classifier on the activations of all positions, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int
from torch import Tensor

from mechbp.brief import Brief
from mechbp.errors import InputError
from mechbp.hooks import to_array
from mechbp.methods.probing.logistic import fit_logistic
from mechbp.methods.probing.ridge import Spectrum

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Candidates, relative to the mean eigenvalue of the Gram matrix of the features."""
VALIDATION = 0.2
"""Share of the labelled sequences that choose the penalty before all of them are fitted."""


@dataclass(frozen=True, eq=False, repr=False)
class ReadOut(Brief):
    """What the classifier says of sequences it has not seen."""

    probabilities: Float64[np.ndarray, "m q"]
    penalty: float
    """The chosen candidate."""
    n: int
    """Labelled sequences it was fitted on."""
    converged: bool


def read_out(
    features: Float[np.ndarray, "n ..."] | Float[Tensor, "n ..."],
    labels: Int[np.ndarray, " n"] | Int[Tensor, " n"],
    unseen: Float[np.ndarray, "m ..."] | Float[Tensor, "m ..."],
    n_symbols: int,
    penalties: Sequence[float] = PENALTIES,
) -> ReadOut:
    """Fit softmax(W x + b) to labelled examples and apply it to unseen ones; x is an example's features, flattened.

    The last fifth of the examples chooses the penalty by cross-entropy, then all of them are fitted with it.
    Raises InputError for fewer than 10 examples, labels outside 0..n_symbols-1, or shapes that do not fit.
    """
    features, labels, unseen = to_array(features), to_array(labels), to_array(unseen)
    n = len(features)
    if n < 10 or labels.shape != (n,) or features.shape[1:] != unseen.shape[1:]:
        shapes = f"{list(features.shape)}, {list(labels.shape)} and {list(unseen.shape)}"
        raise InputError(f"read_out: need features [n >= 10, ...], labels [n] and unseen [m, ...], got {shapes}.")
    if labels.min() < 0 or labels.max() >= n_symbols:
        raise InputError(f"read_out: labels must be in 0..{n_symbols - 1}, got {labels.min()}..{labels.max()}.")
    rows, others = (array.reshape(len(array), -1).astype(np.float64) for array in (features, unseen))
    truth = np.eye(n_symbols)[:, None, labels]
    cut = n - max(1, round(VALIDATION * n))
    part = Spectrum.of(rows[:cut])
    held = part.rotate(rows[cut:])
    losses = []
    for penalty in penalties:
        said = fit_logistic(part, truth[..., :cut], penalty).predict(held)[:, 0]
        losses.append(-np.log(np.maximum(said[labels[cut:], np.arange(n - cut)], 1e-300)).mean())
    penalty = penalties[int(np.argmin(losses))]
    whole = Spectrum.of(rows)
    fit = fit_logistic(whole, truth, penalty)
    return ReadOut(fit.predict(whole.rotate(others))[:, 0].T, penalty, n, fit.converged)
