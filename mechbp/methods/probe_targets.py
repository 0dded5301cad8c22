"""What probes are asked for, and which sequences may answer: target arrays side by side, and the split by sequence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int

from mechbp.errors import InputError

SPLIT = (0.6, 0.2, 0.2)
"""Shares of distinct sequences used to fit, to choose the penalty, and to score."""

SUM_TOLERANCE = 1e-6
"""A target's probabilities may miss 1 by this much (float32 rounding)."""


@dataclass(frozen=True, eq=False)
class Split:
    """Example indices of each part; copies of one sequence always share a part, so that none is both fitted and scored."""

    train: Int[np.ndarray, " n"]
    validation: Int[np.ndarray, " m"]
    test: Int[np.ndarray, " k"]
    test_groups: Int[np.ndarray, " k"]
    """0..g-1: which test examples are copies of one sequence."""
    n_distinct_train: int


@dataclass(frozen=True, eq=False)
class TargetBank:
    """Targets of one kind and one number of symbols, their nodes side by side on one axis."""

    slices: dict[str, slice]
    """Where each target's nodes stand on the node axis."""
    values: Float64[np.ndarray, "q node n"]
    """Probabilities; one-hot for symbols."""
    kind: str
    """"distribution" (ridge regression) or "symbol" (multinomial logistic regression)."""


def split_sequences(tokens: Int[np.ndarray, "n position"], rng: np.random.Generator) -> Split:
    """Assign distinct sequences to fit, validation and test at random, in the shares of SPLIT."""
    _, copy_of = np.unique(tokens, axis=0, return_inverse=True)
    copy_of = copy_of.reshape(-1)
    n_distinct = int(copy_of.max()) + 1
    rank = rng.permutation(n_distinct)[copy_of]
    bounds = np.round(np.cumsum(SPLIT) * n_distinct).astype(int)
    train, validation, test = (
        np.flatnonzero((rank >= low) & (rank < high)) for low, high in zip((0, *bounds[:-1]), bounds, strict=True)
    )
    if min(len(train), len(validation), len(test)) == 0:
        raise InputError(f"probe: {n_distinct} distinct sequences cannot be split in three; give at least 5, better thousands.")
    return Split(train, validation, test, np.unique(rank[test], return_inverse=True)[1], int(bounds[0]))


def target_banks(targets: Mapping[str, np.ndarray], n: int) -> list[TargetBank]:
    """Return the targets, grouped by kind and number of symbols; raise InputError naming each target that cannot be one."""
    if not targets:
        raise InputError("probe: no targets given; pass {name: array [n, nodes, q] of probabilities or int [n, nodes]}.")
    groups: dict[tuple[str, int], dict[str, np.ndarray]] = {}
    for name, given in targets.items():
        array = np.asarray(given)
        kind, values = _distribution(name, array) if array.dtype.kind == "f" else _one_hot(name, array)
        if len(array) != n:
            raise InputError(f"probe: target {name!r} has {len(array)} examples, tokens have {n}; they must agree.")
        groups.setdefault((kind, len(values)), {})[name] = values
    banks = []
    for (kind, _), members in groups.items():
        edges = np.cumsum([0, *(values.shape[1] for values in members.values())])
        slices = {name: slice(int(a), int(b)) for name, a, b in zip(members, edges[:-1], edges[1:], strict=True)}
        banks.append(TargetBank(slices, np.concatenate(list(members.values()), axis=1), kind))
    return banks


def _distribution(name: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    if array.ndim != 3 or array.shape[2] < 2:
        raise InputError(f"probe: target {name!r} must have shape [n, nodes, q >= 2], got {list(array.shape)}.")
    values = array.astype(np.float64)
    if not np.isfinite(values).all() or (values < 0).any() or (np.abs(values.sum(axis=2) - 1) > SUM_TOLERANCE).any():
        raise InputError(
            f"probe: target {name!r} must hold probabilities that sum to 1 over the last axis.\n"
            f"Normalise it first; integer symbols [n, nodes] are the other kind of target."
        )
    return "distribution", np.ascontiguousarray(values.transpose(2, 1, 0))


def _one_hot(name: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    if array.dtype.kind not in "iu" or array.ndim != 2:
        got = f"{array.dtype} {list(array.shape)}"
        raise InputError(f"probe: target {name!r} must be float [n, nodes, q] or int [n, nodes], got {got}.")
    if array.size == 0 or array.min() < 0:
        raise InputError(f"probe: target {name!r} must hold symbols >= 0 and at least one node.")
    return "symbol", np.eye(max(2, int(array.max()) + 1))[:, array.T]
