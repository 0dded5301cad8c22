"""Multinomial logistic regression of many targets on the same features, in one preconditioned L-BFGS run.

The Hessian of every target is at most half the Gram matrix (Böhning 1992), whose eigendecomposition the ridge probes need
anyway. In coordinates that turn this bound into the identity, 10-40 iterations suffice where raw features take hundreds, and
the targets can share one optimiser. Function values run in float32: they steer the search, and the test against an
independent solver bounds what that costs.
(Source: Böhning, "Multinomial logistic regression algorithm", Annals of the Institute of Statistical Mathematics 1992.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.optimize import minimize

from mechbp.brief import Brief
from mechbp.methods.probing.ridge import Features, Spectrum, Targets

PENALTY = 1e-4
"""L2 penalty, relative to the mean eigenvalue of the Gram matrix of the training features."""

GRADIENT = 0.01
"""The search stops at this largest gradient entry, nats over all examples, in coordinates where the curvature is at most 1."""

ITERATIONS = 500


@dataclass(frozen=True, eq=False, repr=False)
class LogisticFit(Brief):
    """One softmax classifier per node on rotated features."""

    weights: Float64[np.ndarray, "q node d"]
    intercept: Float64[np.ndarray, "q node 1"]
    penalty: float
    """Absolute: the fit minimises the summed cross-entropy + penalty / 2 |W|^2 (scikit-learn's 1 / C)."""
    converged: bool

    def predict(self, rotated: Features) -> Targets:
        """Return the predicted probabilities."""
        q, nodes, d = self.weights.shape
        scores = (self.weights.reshape(-1, d) @ rotated.T).reshape(q, nodes, -1) + self.intercept
        scores = np.exp(scores - scores.max(axis=0))
        return scores / scores.sum(axis=0)


def fit_logistic(spectrum: Spectrum, train: Targets, relative_penalty: float = PENALTY) -> LogisticFit:
    """Fit every node's classifier; `train` holds one-hot symbols, or any distributions over them."""
    q, nodes, n = train.shape
    penalty = relative_penalty * spectrum.scale
    stretch = 1 / np.sqrt(np.append(spectrum.values / 2 + penalty, n / 2))  # the last coordinate is the intercept, unpenalised
    rows = np.hstack([spectrum.rotated, np.ones((n, 1))]) * stretch
    shrink = penalty * np.append(stretch[:-1] ** 2, 0.0)
    features, columns = rows.astype(np.float32), np.ascontiguousarray(rows.T, dtype=np.float32)
    truth = train.astype(np.float32)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(q * nodes, -1)
        scores = (weights.astype(np.float32) @ columns).reshape(q, nodes, n)
        scores -= scores.max(axis=0)
        fitted = np.exp(scores)
        sums = fitted.sum(axis=0)
        loss = np.log(sums).sum(dtype=np.float64) - (scores * truth).sum(dtype=np.float64)
        fitted /= sums
        fitted -= truth
        gradient = (fitted.reshape(q * nodes, n) @ features).astype(np.float64) + shrink * weights
        return float(loss + (shrink * weights**2).sum() / 2), gradient.ravel()

    options = {"maxiter": ITERATIONS, "maxcor": 10, "gtol": GRADIENT, "ftol": 0.0}
    found = minimize(objective, np.zeros(q * nodes * len(stretch)), jac=True, method="L-BFGS-B", options=options)
    weights = found.x.reshape(q, nodes, -1) * stretch
    return LogisticFit(weights[..., :-1], weights[..., -1:], penalty, converged=bool(np.abs(found.jac).max() <= GRADIENT))
