"""Distributed alignment search: learn the subspace whose interchange makes a model answer as exact inference says it must.

The orthonormal basis is the Q factor of a free matrix, trained by Adam through the frozen model. What is found is *a* subspace
that suffices on held-out pairs. Four choices decide whether it is found at all where it is known to be, in a hand-compiled
network, whose units punish every direction but the right ones:

    search space  only directions along which base and source differ; a basis free to leave them writes to coordinates that never
                  vary, such as the flags of a position, and every gate opens
    objective     squared distance of probabilities; a divergence is ruled by the few pairs whose answer is badly wrong, and has
                  no gradient where an answer is at the floor
    start         any subspace, such as that of the conditional means; from a random one the search ends in a poorer optimum
    dimensions    as many as the message has: q where it is held unnormalised, q - 1 where it adds up to 1

(Source: Geiger et al., "Finding alignments between interpretable causal variables and distributed neural representations",
CLeaR 2024.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechbp.errors import InputError
from mechbp.hooks import HookedModel, check_model
from mechbp.methods.interchange.answer_heads import Reading, asked_of, softmax_reading
from mechbp.methods.interchange.continuation import Continuation, PairActivations
from mechbp.methods.interchange.pairs import Pairs
from mechbp.methods.interchange.subspaces import Subspace

STEPS = 100
BATCH = 64
LEARNING_RATE = 0.1
VARIES = 1e-6
"""Directions along which pairs differ by less than this share of the largest singular value are no part of the search."""
NOISE = 0.01
"""Size of the random part of a start that is given, beside unit columns: refits differ, and empty columns point somewhere."""


def learn_rotation(
    model: HookedModel,
    pairs: Pairs,
    hook: str,
    dims: int,
    *,
    rng: np.random.Generator,
    start: Subspace | None = None,
    groups: Sequence[int] | Int[np.ndarray, " position"] | None = None,
    steps: int = STEPS,
    batch_size: int = BATCH,
    learning_rate: float = LEARNING_RATE,
    reading: Reading = softmax_reading,
    activations: PairActivations | None = None,
) -> Subspace:
    """Return the learned subspace at `hook`, of `dims` dimensions or as many as pairs differ in, if fewer.

    One basis for all positions, or one for each group of positions that share a number in `groups`, which may hold a message in
    different directions (left and right children, say). Minimises the squared distance of the model's probabilities from
    `expected` at the query, plus that from the exact answer at the bystander, over random batches of `pairs`, with a learning
    rate that falls linearly to 0. The search starts from `start`, its bases pooled over the positions of a group, else at random.
    The model's parameters and their gradients are not touched. `activations` are those of base and source at the hook where they
    are known already (`pair_activations`).
    Raises InputError unless 1 <= dims <= d, steps >= 1, batch_size >= 1, there is one group per position, and `start` has the
    hook's width; HookError for a hook that is not [n, position, d].
    """
    check_model(model)
    place = Continuation.at(model, hook)
    base, source = place.of_pairs(pairs.base, pairs.source, activations)
    positions, d = base.shape[1:]
    if not 1 <= dims <= d or steps < 1 or batch_size < 1:
        raise InputError(f"learn_rotation: need 1 <= dims <= {d}, steps and batch_size >= 1, got {dims}, {steps}, {batch_size}.")
    group = _groups(groups, positions)
    change = (source - base) * torch.from_numpy(pairs.positions).to(base.device)[..., None]
    within = _varying(change)
    dims = min(dims, within.shape[1])
    free = _free(start, group, within, dims, rng).requires_grad_()
    adam = torch.optim.Adam([free], lr=learning_rate)
    asked = asked_of(pairs, pairs.expected)
    reads = torch.from_numpy(np.stack([position for position, _ in asked], axis=1)).to(base.device)
    exact = [torch.from_numpy(answer).to(base.device) for _, answer in asked]
    answer = place.answers(pairs.base, base, reads, gradients=True)
    coordinates = change @ within
    of_position = torch.from_numpy(group).to(base.device)
    with torch.enable_grad():
        for step in range(steps):
            rows = torch.from_numpy(rng.integers(len(pairs), size=min(batch_size, len(pairs)))).to(base.device)
            basis = torch.linalg.qr(free)[0][of_position]
            part = torch.einsum("npk,prk->npr", torch.einsum("npr,prk->npk", coordinates[rows], basis), basis)
            said = answer(rows, base[rows] + part @ within.T)
            losses = [
                (truth[rows] - reading(said[:, read]).exp()).square().sum(dim=-1).mean() for read, truth in enumerate(exact)
            ]
            (gradient,) = torch.autograd.grad(torch.stack(losses).sum(), [free])
            free.grad = torch.nan_to_num(gradient, posinf=0.0, neginf=0.0)  # a stiff network may overflow: stay put
            adam.param_groups[0]["lr"] = learning_rate * (1 - step / steps)
            adam.step()
    found = (within @ torch.linalg.qr(free.detach())[0]).double().cpu().numpy()
    return Subspace("learned rotation", found[group] if len(found) > 1 else found)


def _groups(groups: Sequence[int] | np.ndarray | None, positions: int) -> Int[np.ndarray, " position"]:
    """Number the groups from 0, in the order of their names."""
    if groups is None:
        return np.zeros(positions, int)
    if len(groups) != positions:
        raise InputError(f"learn_rotation: groups must name one group per position, got {len(groups)} for {positions} positions.")
    return np.unique(np.asarray(groups), return_inverse=True)[1]


def _varying(change: Float[Tensor, "n position d"]) -> Float[Tensor, "d r"]:
    """Return an orthonormal basis of the directions along which pairs differ; all of them where none do."""
    flat = change.reshape(-1, change.shape[-1]).double()
    values, vectors = torch.linalg.eigh(flat.T @ flat)
    kept = values > (VARIES**2) * values[-1]
    return (vectors[:, kept] if bool(kept.any()) else vectors).to(change)


def _free(
    start: Subspace | None, group: Int[np.ndarray, " position"], within: Float[Tensor, "d r"], dims: int, rng: np.random.Generator
) -> Float[Tensor, "group r k"]:
    """Return the matrices that the search starts from, in coordinates of `within`."""
    n_groups, (d, rank) = group.max() + 1, within.shape
    noise = rng.normal(size=(n_groups, rank, dims))
    if start is None:
        return torch.from_numpy(noise).to(within)
    if start.basis.shape[1] != d or len(start.basis) not in (1, len(group)):
        raise InputError(f"learn_rotation: start must be a subspace of [1 or {len(group)}, {d}], got {list(start.basis.shape)}.")
    bases = np.broadcast_to(start.basis, (len(group), *start.basis.shape[1:]))
    inside = within.double().cpu().numpy()
    matrices = NOISE * noise
    for name in range(n_groups):
        pooled = inside.T @ np.concatenate(list(bases[group == name]), axis=1)
        leading = np.linalg.svd(pooled, full_matrices=False)[0][:, :dims]
        matrices[name, :, : leading.shape[1]] += leading
    return torch.from_numpy(matrices).to(within)
