"""Production rules of a binary tree: P(left child, right child | parent), one tensor shared by all nodes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float64, Real

from mechbp.arguments import checked_choice, checked_count, checked_number, checked_reals
from mechbp.brief import Brief
from mechbp.errors import InputError, LimitExceeded
from mechbp.processes.read_only import read_only

Recipe = Literal["paper", "released"]

MAX_VOCAB_SIZE = 512
"""Random rules [q, q, q] of this many symbols take 1 GiB; more are refused before anything is allocated."""

MAX_SIGMA = 1e300
"""So that sigma times a normal deviate is a float64."""
ROOM = 600.0
"""exp(ROOM) and sums of such weights are float64."""

ROW_SUM_TOLERANCE = 1e-6
"""Rows may miss 1 by this much (single precision, decimals in a user's file); they are renormalised exactly."""


@dataclass(frozen=True, eq=False, repr=False)
class TreeGrammar(Brief):
    """Rules M[a, b, c] = P(left = b, right = c | parent = a) and the root's prior p_0.

    Any tensor of probabilities will do: pairs may have several parents (an ambiguous grammar) or none.
    (Source: Garnier-Brun et al. 2025, section 2.)

    >>> import mechbp
    >>> grammar = mechbp.TreeGrammar.random(vocab_size=4, sigma=1.0, seed=0)
    >>> grammar.rules.shape, float(grammar.rules[0].sum().round(12))
    ((4, 4, 4), 1.0)
    """

    rules: Real[np.ndarray, "q q q"]
    """[parent, left, right], each parent's block sums to 1; kept as a read-only float64 copy."""
    root_prior: Real[np.ndarray, " q"] = field(default=None)  # type: ignore[assignment]
    """[symbol], sums to 1; uniform when not given; kept as a read-only float64 copy."""

    def __post_init__(self) -> None:
        rules = _probabilities("rules", self.rules, ndim=3)
        q = rules.shape[0]
        if q < 2 or rules.shape != (q, q, q):
            raise InputError(f"TreeGrammar: rules must have shape [q, q, q] with q >= 2, got {list(rules.shape)}.")
        prior = np.full(q, 1 / q) if self.root_prior is None else _probabilities("root_prior", self.root_prior, ndim=1)
        if prior.shape != (q,):
            raise InputError(f"TreeGrammar: root_prior must have shape [{q}] like the rules, got {list(prior.shape)}.")
        object.__setattr__(self, "rules", _normalised("rules", rules.reshape(q, -1)).reshape(q, q, q))
        object.__setattr__(self, "root_prior", _normalised("root_prior", prior[None])[0])
        self.rules.setflags(write=False)
        self.root_prior.setflags(write=False)

    def __repr__(self) -> str:
        return f"TreeGrammar({self.vocab_size} symbols, {np.count_nonzero(self.rules):,} rules)"

    @property
    def vocab_size(self) -> int:
        """Number of symbols q."""
        return self.rules.shape[0]

    @cached_property
    def left(self) -> Float64[np.ndarray, "q q"]:
        """M^L[a, b] = P(left child = b | parent = a)."""
        return read_only(self.rules.sum(axis=2))

    @cached_property
    def right(self) -> Float64[np.ndarray, "q q"]:
        """M^R[a, c] = P(right child = c | parent = a)."""
        return read_only(self.rules.sum(axis=1))

    @classmethod
    def random(
        cls, vocab_size: int, sigma: float = 1.0, seed: int = 0, recipe: Recipe = "paper", ambiguity: float = 0.0
    ) -> TreeGrammar:
        """Draw a grammar: the q^2 ordered pairs split at random into q per parent, log-weights sigma * N(0, 1).

        With `ambiguity` > 0 each parent also makes the pairs of the others, their weights multiplied by it; with 0 every pair
        has one parent and a sequence one parse.

        `recipe` fixes the order of draws from NumPy's legacy generator: "paper" reproduces the grammar behind the published
        figures, "released" that of the published script, which differs for the same seed because it skips a first block of
        q^3 normals, the log-weights of the pairs of other parents, which count only with `ambiguity`.
        (Source: Garnier-Brun et al. 2025, section 2 and released code.)
        """
        where = "TreeGrammar.random"
        vocab_size = checked_count(vocab_size, where, "vocab_size", least=2)
        seed = checked_count(seed, where, "seed", least=0, most=2**32 - 1)
        if vocab_size > MAX_VOCAB_SIZE:
            raise LimitExceeded(
                f"TreeGrammar.random: vocab_size {vocab_size:,} means rules of {8 * vocab_size**3 / 2**30:,.1f} GiB; "
                f"at most {MAX_VOCAB_SIZE} symbols are allowed."
            )
        sigma = checked_number(sigma, where, "sigma", least=0, most=MAX_SIGMA)
        checked_choice(recipe, where, "recipe", get_args(Recipe))
        ambiguity = checked_number(ambiguity, where, "ambiguity", least=0, most=1)
        if ambiguity and recipe != "paper":
            raise InputError(f"{where}: ambiguity must be 0 with recipe 'released', got {ambiguity:g}. Take recipe='paper'.")
        q = vocab_size
        legacy = np.random.RandomState(seed)  # a private instance: the global stream is neither read nor moved
        others = legacy.standard_normal((q, q * q)) if recipe == "paper" else np.zeros((q, q * q))
        pairs = legacy.permutation(q * q).reshape(q, q)
        logits = sigma * legacy.standard_normal((q, q))
        highest = logits.max(axis=1, keepdims=True)
        if ambiguity:  # shifts no weight of a usual sigma, and lets none overflow
            weights = sigma * others
            np.put_along_axis(weights, pairs, -np.inf, axis=1)  # a parent's own pairs have weights of their own
            highest = np.maximum(highest, weights.max(axis=1, keepdims=True) - ROOM)
        rules = ambiguity * np.exp(np.minimum(sigma * others - highest, ROOM)) if ambiguity else np.zeros((q, q * q))
        np.put_along_axis(rules, pairs, np.exp(logits - highest), axis=1)
        return cls((rules / rules.sum(axis=1, keepdims=True)).reshape(q, q, q))


def _probabilities(name: str, values: object, *, ndim: int) -> np.ndarray:
    """Return a private float64 copy of `values`, or say why they are no probabilities."""
    array = checked_reals(values, "TreeGrammar", name, "real numbers")
    if array.ndim != ndim:
        raise InputError(f"TreeGrammar: {name} must have {ndim} axes, got shape {list(array.shape)}.")
    array = array.astype(np.float64)
    if not np.isfinite(array).all() or (array < 0).any():
        where = [int(i) for i in np.argwhere(~(np.isfinite(array) & (array >= 0)))[0]]
        raise InputError(f"TreeGrammar: {name}{where} = {array[tuple(where)]} is not a probability; all must be finite and >= 0.")
    return array


def _normalised(name: str, rows: np.ndarray) -> np.ndarray:
    """Return the rows divided by their sums, refusing sums that are not 1 within ROW_SUM_TOLERANCE."""
    sums = rows.sum(axis=1)
    wrong = np.flatnonzero(np.abs(sums - 1) > ROW_SUM_TOLERANCE)
    if wrong.size:
        raise InputError(
            f"TreeGrammar: {name} of parent {wrong[0]} sum to {sums[wrong[0]]:.12g}, expected 1.\n"
            f"Divide each parent's block by its sum first."
            if name == "rules"
            else f"TreeGrammar: {name} sums to {sums[0]:.12g}, expected 1. Divide it by its sum first."
        )
    return rows / sums[:, None]
