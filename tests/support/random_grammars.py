"""Grammars of every kind, for the tests of this folder."""

import numpy as np

from mechbp.processes.tree.grammar import TreeGrammar

KINDS = ("unambiguous", "soft", "overlapping", "sparse")


def make_grammar(kind: str, q: int, rng: np.random.Generator) -> TreeGrammar:
    """Return a random grammar: "soft" has no zero, "overlapping" has zeros but no impossible sequence, "sparse" may have both."""
    if kind == "unambiguous":
        return TreeGrammar.random(q, sigma=1.5, seed=int(rng.integers(2**31)))
    prior = rng.dirichlet(np.ones(q))
    rules = rng.gamma(0.5, size=(q, q * q)) + 1e-3
    if kind == "overlapping":
        keep = rng.random((q, q * q)) < 0.5
        keep[rng.integers(q, size=q * q), np.arange(q * q)] = True  # every pair has a parent
        keep[:, rng.integers(q * q)] = True  # every parent has a pair
        rules = rules * keep
    if kind == "sparse":
        keep = rng.random((q, q * q)) < 0.35
        keep[np.arange(q), rng.integers(q * q, size=q)] = True
        rules, prior = rules * keep, prior * (np.arange(q) != rng.integers(q))
    return TreeGrammar((rules / rules.sum(axis=1, keepdims=True)).reshape(q, q, q), prior / prior.sum())
