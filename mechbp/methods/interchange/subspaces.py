"""Subspaces of an activation that may carry a message, one basis per position, and how to find them without gradients.

Two directions of one regression disagree about where a message is. A probe's weights are the directions from which the message
is *read* best, small variance included; the conditional means E[activation | symbol] span the directions along which the
activation *moves* with the message. Where features are correlated the two can be nearly orthogonal, and only a causal test
tells which of them the model uses.
(Source: for the difference of read-out and pattern, Haufe et al., "On the interpretation of weight vectors of linear models in
multivariate neuroimaging", NeuroImage 2014.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from mechbp.brief import Brief
from mechbp.errors import InputError
from mechbp.hooks import to_array
from mechbp.methods.probing.ridge import Spectrum, fit_ridge

CURE = "Of a tree's beliefs pass at_leaves(beliefs.upward[depth], n_leaves)"

VALIDATION = 0.25
"""Share of the examples that choose the probe's penalty."""
FLAT = 1e-9
"""Directions whose singular value is below this share of the largest are rounding noise, not part of a subspace."""

Activations = Float[np.ndarray, "n position d"] | Float[Tensor, "n position d"]
"""As `capture` returns them, or as arrays."""
Messages = Float[np.ndarray, "n leaf q"] | Float[Tensor, "n leaf q"]
"""The message that each position is tested for, a leaf or a token of a chain; a ROOT query after the leaves has none."""


@dataclass(frozen=True, eq=False, repr=False)
class Subspace(Brief):
    """Orthonormal basis of a subspace at every position, or one that all positions share."""

    name: str
    basis: Float64[np.ndarray, "position d k"]
    """Columns are orthonormal, or zero where a position has fewer directions; one position stands for all."""

    def part(self, change: Float[Tensor, "n position d"]) -> Float[Tensor, "n position d"]:
        """Return the part of a change of the activation that lies in the subspace."""
        basis = torch.from_numpy(self.basis).to(change).expand(change.shape[1], -1, -1)
        return torch.einsum("npk,pdk->npd", torch.einsum("npd,pdk->npk", change, basis), basis)


def at_leaves(messages: Float64[np.ndarray, "n nodes q"], n_leaves: int) -> Float64[np.ndarray, "n leaf q"]:
    """Return every leaf's own node's message, repeated below each node of one depth.

    Raises InputError for what is no level of a tree with so many leaves.
    """
    if not hasattr(messages, "shape"):
        raise InputError(f"at_leaves: messages are those of one depth, got {type(messages).__name__}. {CURE}.")
    n_nodes = messages.shape[1]
    if n_leaves % n_nodes:
        raise InputError(f"at_leaves: {n_nodes} nodes are no level of a tree of {n_leaves} leaves.")
    return np.repeat(messages, n_leaves // n_nodes, axis=1)


def mean_subspace(activations: Activations, messages: Messages, dims: int) -> Subspace:
    """Return the leading `dims` principal directions of the conditional means E[activation | symbol], position by position.

    Soft messages weigh each example by the message's probability of the symbol. With q symbols there are at most q - 1
    directions, and all of them together span the columns of the cross-covariance of activation and message.
    """
    return mean_subspaces(activations, [messages], dims)[0]


def mean_subspaces(activations: Activations, messages: Sequence[Messages], dims: int) -> list[Subspace]:
    """Return `mean_subspace` of each of several messages on the same activations."""
    bases: list[list[np.ndarray]] = [[] for _ in messages]
    for features, targets in by_leaf(activations, messages, dims):
        mean = features.mean(axis=0)
        for found, target in zip(bases, targets, strict=True):
            weights = target.mean(axis=0)
            kept = weights > 0
            means = (target.T @ features)[kept] / (len(features) * weights[kept, None]) - mean
            found.append(_leading(means.T * np.sqrt(weights[kept]), dims))
    return [Subspace("conditional means", _stacked(found, activations)) for found in bases]


def probe_subspace(activations: Activations, messages: Messages, dims: int) -> Subspace:
    """Return the leading `dims` directions of ridge probes' weights: the span from which the message is read."""
    return probe_subspaces(activations, [messages], dims)[0]


def probe_subspaces(activations: Activations, messages: Sequence[Messages], dims: int) -> list[Subspace]:
    """Return `probe_subspace` of each of several messages; all share one decomposition of each position's activations."""
    cut = len(activations) - max(1, round(VALIDATION * len(activations)))
    bases: list[list[np.ndarray]] = [[] for _ in messages]
    for features, targets in by_leaf(activations, messages, dims):
        spectrum = Spectrum.of(features[:cut])
        held = spectrum.rotate(features[cut:])
        for found, target in zip(bases, targets, strict=True):
            columns = np.ascontiguousarray(target.T[:, None, :])
            fit = fit_ridge(spectrum, columns[..., :cut], held, columns[..., cut:])
            found.append(_leading(spectrum.basis @ fit.weights[:, 0].T, dims))
    return [Subspace("ridge probe", _stacked(found, activations)) for found in bases]


def random_subspace(n_positions: int, d: int, dims: int, rng: np.random.Generator) -> Subspace:
    """Return a uniformly random subspace for every position: the placebo."""
    return Subspace("random", np.linalg.qr(rng.normal(size=(n_positions, d, dims)))[0])


def slot_subspace(name: str, d: int, dims: slice) -> Subspace:
    """Return named coordinates of the activation as a subspace, the same at all positions."""
    return Subspace(name, np.eye(d)[None, :, dims])


def by_leaf(
    activations: Activations, messages: Sequence[Messages], dims: int = 1
) -> Iterator[tuple[Float64[np.ndarray, "n d"], list[Float64[np.ndarray, "n q"]]]]:
    """Yield float64 features and the messages of every position that has some; raise InputError where shapes do not fit."""
    arrays = [_array(given) for given in messages]
    for given in arrays:
        fits = (
            given.ndim == activations.ndim == 3
            and given.shape[0] == len(activations) >= 8
            and given.shape[1] >= 1
            and activations.shape[1] - given.shape[1] in (0, 1)
        )
        if not fits or not 1 <= dims <= activations.shape[2]:
            if given.ndim != 3 or activations.ndim != 3:
                raise InputError(
                    "subspace: need activations [n, position, d] and messages [n, position, q], got "
                    f"{list(activations.shape)} and {list(given.shape)}.\n{CURE}, and activations with a head axis flattened."
                )
            raise InputError(
                f"subspace: need activations [n >= 8, position, d >= dims] and messages [n, position, q], a last position may "
                f"have none; got {list(activations.shape)}, {list(given.shape)} and dims {dims}.\n"
                "Messages of a tree's nodes: pass at_leaves(beliefs.upward[depth], n_leaves)."
            )
    sizes = {given.shape[1] for given in arrays}
    if len(sizes) != 1:
        raise InputError(f"subspace: all messages must be of the same positions, got {sorted(sizes)} positions.")
    array = to_array(activations)
    for position in range(sizes.pop()):
        yield array[:, position].astype(np.float64), [given[:, position] for given in arrays]


def _array(messages: object) -> Float64[np.ndarray, "..."]:
    if not isinstance(messages, np.ndarray | Tensor):
        raise InputError(f"subspace: messages must be an array [n, position, q], got {type(messages).__name__}.\n{CURE}.")
    return to_array(messages).astype(np.float64, copy=False)


def _leading(directions: Float64[np.ndarray, "d columns"], dims: int) -> Float64[np.ndarray, "d dims"]:
    """The leading left singular vectors, zeros where there are fewer."""
    left, values, _ = np.linalg.svd(directions, full_matrices=False)
    basis = np.zeros((len(directions), dims))
    rank = min(dims, int((values > FLAT * max(values[0], 1e-300)).sum()))
    basis[:, :rank] = left[:, :rank]
    return basis


def _stacked(bases: list[np.ndarray], activations: Activations) -> Float64[np.ndarray, "position d k"]:
    """All leaf positions, and an empty subspace at the ROOT query."""
    extra = activations.shape[1] - len(bases)
    return np.stack([*bases, *[np.zeros_like(bases[0])] * extra])
