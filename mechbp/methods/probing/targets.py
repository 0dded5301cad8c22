"""What probes are asked for, and which sequences may answer: target arrays side by side, and the split by sequence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from mechbp.arguments import as_array, told
from mechbp.brief import Brief
from mechbp.errors import InputError, TooFewSequences
from mechbp.hooks import to_array

SPLIT = (0.6, 0.2, 0.2)
"""Shares of distinct sequences used to fit, to choose the penalty, and to score."""

SUM_TOLERANCE = 1e-6
"""A target's probabilities may miss 1 by this much (float32 rounding)."""

MAX_BYTES = 2**32
"""What the one-hot form of one symbol target may take."""


@dataclass(frozen=True, eq=False, repr=False)
class Split(Brief):
    """Example indices of each part; copies of one sequence, and the examples of one group, always share a part."""

    train: Int[np.ndarray, " n"]
    validation: Int[np.ndarray, " m"]
    test: Int[np.ndarray, " k"]
    test_groups: Int[np.ndarray, " k"]
    """0..g-1: which test examples are copies of one sequence, or of one group."""
    n_distinct_train: int
    groups: Int[np.ndarray, " example"] | None = None
    """The group of every example, of all parts; None where no groups were given."""

    def shuffle(self, part: Int[np.ndarray, " m"], rng: np.random.Generator) -> Int[np.ndarray, " m"]:
        """Return which example of a part lends its target to each, at random; with groups, whole groups lend.

        The targets are laid out group by group in random order and handed to the examples group by group in fixed order: the
        k-th example of a group takes the target of the k-th of another where sizes are equal, and neighbours take from
        neighbours where they are not. A group that fills most of a part cannot but take targets of its own.
        """
        if self.groups is None:
            return rng.permutation(len(part))
        group = np.unique(self.groups[part], return_inverse=True)[1]
        order = np.empty(len(part), np.int64)
        order[np.argsort(group, kind="stable")] = np.argsort(rng.permutation(group.max() + 1)[group], kind="stable")
        return order


@dataclass(frozen=True, eq=False, repr=False)
class TargetBank(Brief):
    """Targets of one kind and one number of symbols, their nodes side by side on one axis."""

    slices: dict[str, slice]
    """Where each target's nodes stand on the node axis."""
    values: Float64[np.ndarray, "q node n"]
    """Probabilities; one-hot for symbols."""
    kind: str
    """"distribution" (ridge regression) or "symbol" (multinomial logistic regression)."""


def split_sequences(
    tokens: Int[np.ndarray, "n position"], rng: np.random.Generator, groups: Int[np.ndarray, " n"] | None = None
) -> Split:
    """Assign distinct sequences, or whole groups of them, to fit, validation and test at random, in the shares of SPLIT."""
    copy_of = np.unique(tokens, axis=0, return_inverse=True)[1].reshape(-1)
    unit_of = copy_of if groups is None else _joined_groups(groups, copy_of)
    n_units = int(unit_of.max()) + 1
    rank = rng.permutation(n_units)[unit_of]
    bounds = np.round(np.cumsum(SPLIT) * n_units).astype(int)
    train, validation, test = (
        np.flatnonzero((rank >= low) & (rank < high)) for low, high in zip((0, *bounds[:-1]), bounds, strict=True)
    )
    if min(len(train), len(validation), len(test)) == 0:
        units = "distinct sequences" if groups is None else "groups (those that share a sequence count as one)"
        raise TooFewSequences(f"probe: {n_units} {units} cannot be split in three; give at least 5, better thousands.")
    test_groups = np.unique(rank[test], return_inverse=True)[1]
    return Split(train, validation, test, test_groups, len(np.unique(copy_of[train])), None if groups is None else unit_of)


def _joined_groups(groups: object, copy_of: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Return the groups numbered from 0, or raise InputError; two that share a sequence are one, or it would be in two parts."""
    given = as_array(groups, "probe", "groups", f"integers [{len(copy_of)}]")
    if given.dtype.kind not in "iu" or given.shape != copy_of.shape:
        got = f"{given.dtype} {list(given.shape)}"
        raise InputError(f"probe: groups must be integers [{len(copy_of)}], one per example, got {got}.")
    group_of = np.unique(given, return_inverse=True)[1]
    n_groups, n_copies = int(group_of.max()) + 1, int(copy_of.max()) + 1
    links = coo_array((np.ones(len(given)), (group_of, copy_of + n_groups)), shape=(n_groups + n_copies,) * 2)
    component = connected_components(links, directed=False)[1]
    return np.unique(component[group_of], return_inverse=True)[1]


def target_banks(targets: Mapping[str, np.ndarray | Tensor], n: int) -> list[TargetBank]:
    """Return the targets, grouped by kind and number of symbols; raise InputError naming each target that cannot be one."""
    wanted = "pass {name: array [n, nodes, q] of probabilities or int [n, nodes]}"
    if not isinstance(targets, Mapping):
        raise InputError(f"probe: targets must have names, got a {type(targets).__name__}; {wanted}.")
    if not targets:
        raise InputError(f"probe: no targets given; {wanted}.")
    groups: dict[tuple[str, int], dict[str, np.ndarray]] = {}
    for name, given in targets.items():
        if not isinstance(name, str):
            raise InputError(f"probe: targets are named by texts, got {told(name)}; {wanted}.")
        if isinstance(given, Mapping):
            raise InputError(
                f"probe: target {name!r} is a {type(given).__name__} of several arrays, expected one array.\n"
                "Of a tree's beliefs pass those of one depth: beliefs.upward[depth]."
            )
        array = as_array(to_array(given), "probe", f"target {told(name)}", "float [n, nodes, q] or int [n, nodes]")
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
    if array.ndim != 3 or array.shape[1] < 1 or array.shape[2] < 2:
        raise InputError(f"probe: target {name!r} must have shape [n, nodes >= 1, q >= 2], got {list(array.shape)}.")
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
    q = max(2, int(array.max()) + 1)
    if 8 * q * array.size > MAX_BYTES:
        raise InputError(
            f"probe: target {name!r} holds the symbol {q - 1}, so that its {array.size:,} values would take "
            f"{8 * q * array.size / 2**30:,.0f} GiB one-hot; at most {MAX_BYTES / 2**30:g} are allowed.\n"
            f"Number its symbols 0, 1, 2, ...: np.unique(target, return_inverse=True)[1] does."
        )
    return "symbol", (np.arange(q)[:, None, None] == array.T).astype(np.float64)
