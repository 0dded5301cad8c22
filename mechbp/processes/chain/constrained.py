"""Beliefs of observers who weigh every token on its own: what one layer of attention, which only adds, can hold.

All of them are built from one table, the influence of a token on the state `lag` steps after it,

    influence[lag, z] = P(state | token z was emitted `lag` steps before) = g(z) T^lag.

Added up, the influences are the constrained belief; multiplied, naive Bayes. On a tree the same two readings are those of
`pairwise`, and the product is the belief of the tree filtered to its leaves.
(Source: Piotrowski et al. 2025, Eqs. 5-7, 26, 27.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Complex128, Float64, Int

from mechbp.arguments import checked_choice
from mechbp.brief import Brief
from mechbp.errors import InputError

Evidence = Literal["bayes", "row"]

Transitions = Float64[np.ndarray, "token state state"]


def token_beliefs(transitions: Transitions, prior: Float64[np.ndarray, " state"], evidence: Evidence) -> np.ndarray:
    """Return g[z] = what token z says about the state it leads to, [token, state].

    "bayes" is P(state | token z), with pi T^(z) normalised; "row" averages the row-normalised T^(z) under the prior, which
    does not ask how well each state explains z: another function, if a parallel one for Mess3.
    Raises InputError for "row" where some state cannot emit some token, and where the prior is not stationary.
    """
    checked_choice(evidence, "constrained beliefs", "evidence", get_args(Evidence))
    if not np.allclose(prior @ transitions.sum(axis=0), prior, rtol=0, atol=1e-9):
        raise InputError("constrained beliefs: the start must be the stationary law, under which every position looks alike.")
    if evidence == "bayes":
        joint = prior @ transitions
        return _divided(joint, joint.sum(axis=1, keepdims=True))
    chances = transitions.sum(axis=2, keepdims=True)
    if (chances == 0).any():
        token, state, _ = np.argwhere(chances == 0)[0]
        raise InputError(
            f"constrained beliefs: evidence 'row' divides by 0, for state {state} cannot emit token {token}. Use 'bayes'."
        )
    return prior @ (transitions / chances)


def influence(
    transitions: Transitions, prior: Float64[np.ndarray, " state"], lags: int, evidence: Evidence = "bayes"
) -> Float64[np.ndarray, "lag token state"]:
    """Return what a token says about the state 0..lags-1 steps after it."""
    step = transitions.sum(axis=0)
    rows = [token_beliefs(transitions, prior, evidence)]
    for _ in range(lags - 1):
        rows.append(rows[-1] @ step)
    return np.stack(rows)


def constrained_beliefs(
    transitions: Transitions, prior: Float64[np.ndarray, " state"], tokens: Int[np.ndarray, "n length"], evidence: Evidence
) -> Float64[np.ndarray, "n length+1 state"]:
    """Return prior + sum_s (g(z_s) T^(d-s) - prior) after every token d, by the recursion r <- r T + g(z) - prior."""
    shift = token_beliefs(transitions, prior, evidence) - prior
    shift = np.vstack([shift, np.zeros(len(prior))])  # a masked token says nothing
    step = transitions.sum(axis=0)
    beliefs = np.empty((len(tokens), tokens.shape[1] + 1, len(prior)))
    beliefs[:, 0] = prior
    for d in range(tokens.shape[1]):
        beliefs[:, d + 1] = beliefs[:, d] @ step + shift[tokens[:, d]]
    return beliefs


@dataclass(frozen=True, eq=False, repr=False)
class Decay(Brief):
    """How the chain forgets: T = sum over distinct eigenvalues of value * projector, so T^n = sum of value^n * projector."""

    values: Complex128[np.ndarray, " eigenvalue"]
    """Distinct eigenvalues of T, by falling modulus; the first is 1."""
    projectors: Complex128[np.ndarray, "eigenvalue state state"]

    def power(self, n: int) -> Float64[np.ndarray, "state state"]:
        """Return T^n; 0^0 is 1."""
        return np.einsum("e,eij->ij", self.values**n, self.projectors).real


def decay(transitions: Transitions) -> Decay:
    """Return the spectral form of T. Raises InputError where T cannot be diagonalised; use matrix powers there.

    (Source: Piotrowski et al. 2025, Eq. 7.)
    """
    step = transitions.sum(axis=0)
    found: tuple[np.ndarray, np.ndarray] = np.linalg.eig(step.astype(np.complex128))
    values, right = found
    if np.linalg.cond(right) > 1e8:
        raise InputError("decay: the transition matrix cannot be diagonalised. Use powers of state_transitions instead.")
    left = np.linalg.inv(right)
    order = np.lexsort((np.imag(values), -np.real(values), -np.abs(values).round(9)))
    groups: list[list[int]] = []
    for k in order:
        if groups and abs(values[groups[-1][0]] - values[k]) < 1e-9:
            groups[-1].append(int(k))
        else:
            groups.append([int(k)])
    groups.sort(key=lambda group: abs(values[group[0]] - 1) > 1e-9)  # 1 first among eigenvalues of modulus 1
    projectors = np.stack([right[:, group] @ left[group] for group in groups])
    distinct = np.array([values[group].mean() for group in groups])
    distinct[np.abs(distinct) < 1e-12] = 0
    return Decay(distinct, projectors)


def _divided(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
