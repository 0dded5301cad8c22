"""Ridge regression whose penalty is chosen by leaving out one row at a time, from one factorisation for all penalties.

Errors of rows left out come from residuals and leverages. scikit-learn's RidgeCV takes them from differences of the inverse
penalty and loses them to rounding where columns are nearly dependent: it then takes a larger penalty than the one that is best.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64
from torch import Tensor

from mechbp.brief import Brief
from mechbp.errors import InputError
from mechbp.hooks import to_array


@dataclass(frozen=True, eq=False, repr=False)
class RidgeFit(Brief):
    """x -> x @ weights + offset, with the penalty that predicts rows left out best."""

    weights: Float64[np.ndarray, "d target"]
    offset: Float64[np.ndarray, " target"]
    penalty: float

    def __call__(self, features: Float[np.ndarray, "n d"] | Float[Tensor, "n d"]) -> Float64[np.ndarray, "n target"]:
        """Return the predictions."""
        return to_array(features).astype(np.float64, copy=False) @ self.weights + self.offset


def fit_ridge_loo(
    features: Float[np.ndarray, "n d"] | Float[Tensor, "n d"],
    targets: Float[np.ndarray, "n target"] | Float[Tensor, "n target"],
    penalties: Float64[np.ndarray, " penalty"],
) -> RidgeFit:
    """Return the fit with intercept whose mean squared error over rows left out, all targets together, is least.

    Ties go to the penalty given first. Raises InputError unless there are two rows or more and penalties are positive.
    """
    features, targets = (to_array(values).astype(np.float64, copy=False) for values in (features, targets))
    n = len(features)
    if n < 2 or len(targets) != n or len(penalties) == 0 or not (penalties > 0).all():
        raise InputError(f"fit_ridge_loo: need two rows or more and positive penalties, got {n} rows and {penalties!r:.60}.")
    mean, centre = features.mean(axis=0), targets.mean(axis=0)
    x, y = features - mean, targets - centre
    triangle = np.linalg.qr(x, mode="r")
    _, values, right = np.linalg.svd(triangle, full_matrices=False)
    scores, squares = x @ right.T, np.square(values)
    cross = scores.T @ y
    leverages = np.square(scores)
    best, least, chosen = np.inf, penalties[0], cross
    for penalty in penalties:
        coefficients = cross / (squares + penalty)[:, None]
        kept = 1 - 1 / n - leverages @ (1 / (squares + penalty))
        error = float(np.square((y - scores @ coefficients) / kept[:, None]).mean())
        if error < best:
            best, least, chosen = error, penalty, coefficients
    weights = right.T @ chosen
    return RidgeFit(weights, centre - mean @ weights, float(least))
