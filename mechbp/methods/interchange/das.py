"""Distributed alignment search: learn the subspace whose interchange makes a model answer as exact inference says it must.

The orthonormal basis is the Q factor of a free matrix, trained by Adam through the frozen model. What is found is *a* subspace
that suffices on held-out pairs. Whether it is found at all where it is known to be, in a hand-compiled network whose units punish
every direction but the right ones, depends on three choices:

    start         subspaces that other methods find, such as the directions to which the answer is most sensitive; a search from
                  random directions ends in poor optima there, and so may a search from the right ones: the best one met is kept
    search space  only directions along which base and source differ; a basis free to leave them writes to coordinates that never
                  vary, such as the flags of a position, and opens every gate
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
from mechbp.hooks import HookedModel, require_hooked
from mechbp.methods.interchange.answer_heads import Reading, asked_of, kl_to_reading, softmax_reading
from mechbp.methods.interchange.continuation import Continuation, PairActivations, Rows
from mechbp.methods.interchange.pairs import Pairs
from mechbp.methods.interchange.subspaces import Subspace

STEPS = 100
BATCH = 64
LEARNING_RATE = 0.1
CHOOSING = 512
"""The first so many pairs choose between the starts and the end."""
WHOLE_BATCH = 256
"""Of these so many at a time."""
VARIES = 1e-6
"""Directions along which pairs differ by less than this share of the largest singular value are no part of the search."""


def learn_rotation(
    model: HookedModel,
    pairs: Pairs,
    hook: str,
    dims: int,
    *,
    rng: np.random.Generator,
    starts: Sequence[Subspace] = (),
    groups: Sequence[int] | Int[np.ndarray, " position"] | None = None,
    steps: int = STEPS,
    batch_size: int = BATCH,
    learning_rate: float = LEARNING_RATE,
    reading: Reading = softmax_reading,
    activations: PairActivations | None = None,
) -> Subspace:
    """Return the learned subspace at `hook`, of `dims` dimensions or as many as pairs differ in, if fewer.

    One basis for all positions, or one for each group of positions that share a number in `groups`, which may hold a message in
    different directions (left and right children, say). Minimises KL(expected || model) at the query plus KL(exact || model) at
    the bystander over random batches of `pairs`, with a learning rate that falls linearly to 0. The search begins at the best
    of `starts`, their bases pooled over the positions of a group, or at random where there are none, and what does best on
    the first `CHOOSING` pairs is returned: its end, or a start that it did not improve. The model's parameters and their
    gradients are not touched. `activations` are those of base and source at the hook where they are known already
    (`pair_activations`).
    Raises InputError unless 1 <= dims <= d, steps >= 1, batch_size >= 1, there is one group per position, and `starts` have the
    hook's width; HookError for a hook that is not [n, position, d].
    """
    require_hooked(model)
    place = Continuation.at(model, hook)
    base, source = place.of_pairs(pairs.base, pairs.source, activations)
    positions, d = base.shape[1:]
    if not 1 <= dims <= d or steps < 1 or batch_size < 1:
        raise InputError(f"learn_rotation: need 1 <= dims <= {d}, steps and batch_size >= 1, got {dims}, {steps}, {batch_size}.")
    group = position_groups(groups, positions, "learn_rotation")
    # A search in half precision has no QR decomposition, nor steps fine enough: it is float32 at least, the model as it is.
    searched = torch.promote_types(base.dtype, torch.float32)
    change = (source - base).to(searched) * torch.from_numpy(pairs.positions).to(base.device)[..., None]
    within = varying(change)
    dims = min(dims, within.shape[1])
    asked = asked_of(pairs, pairs.expected)
    reads = torch.from_numpy(np.stack([position for position, _ in asked], axis=1)).to(base.device)
    exact = [torch.from_numpy(answer).to(base.device) for _, answer in asked]
    answer = place.answers(pairs.base, base, reads, gradients=True)
    coordinates = change @ within
    of_position = torch.from_numpy(group).to(base.device)

    def loss(free: Float[Tensor, "group r k"], rows: Rows) -> Float[Tensor, " row"]:
        basis = torch.linalg.qr(free)[0][of_position]
        part = torch.einsum("npk,prk->npr", torch.einsum("npr,prk->npk", coordinates[rows], basis), basis)
        said = answer(rows, base[rows] + (part @ within.T).to(base))
        kl = [kl_to_reading(truth[rows], reading(said[:, read])) for read, truth in enumerate(exact)]
        return torch.stack(kl).sum(dim=0)

    def judged(free: Float[Tensor, "group r k"]) -> float:
        with torch.no_grad():
            most = min(len(pairs), CHOOSING)
            parts = [loss(free, slice(start, min(start + WHOLE_BATCH, most))) for start in range(0, most, WHOLE_BATCH)]
        return float(torch.cat(parts).nan_to_num(nan=torch.inf).mean())

    begun = [_free(start, group, within, dims, rng) for start in starts or [None]]
    best = min(begun, key=judged) if len(begun) > 1 else begun[0]
    free = best.clone().requires_grad_()
    adam = torch.optim.Adam([free], lr=learning_rate)
    with torch.enable_grad():
        for step in range(steps):
            rows = torch.from_numpy(rng.integers(len(pairs), size=min(batch_size, len(pairs)))).to(base.device)
            (gradient,) = torch.autograd.grad(loss(free, rows).mean(), [free])
            free.grad = torch.nan_to_num(gradient, posinf=0.0, neginf=0.0)  # a stiff network may overflow: stay put
            adam.param_groups[0]["lr"] = learning_rate * (1 - step / steps)
            adam.step()
    ended = free.detach()
    best = min([best, ended], key=judged) if starts else ended
    found = (within @ torch.linalg.qr(best)[0]).double().cpu().numpy()
    return Subspace("learned rotation", found[group] if len(found) > 1 else found)


def position_groups(groups: Sequence[int] | np.ndarray | None, positions: int, caller: str) -> Int[np.ndarray, " position"]:
    """Number the groups from 0, in the order of their names; raise InputError unless there is one per position."""
    if groups is None:
        return np.zeros(positions, int)
    if len(groups) != positions:
        raise InputError(f"{caller}: groups must name one group per position, got {len(groups)} for {positions} positions.")
    return np.unique(np.asarray(groups), return_inverse=True)[1]


def varying(change: Float[Tensor, "n position d"]) -> Float[Tensor, "d r"]:
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
    for name in range(n_groups):  # directions that the start does not have stay random
        pooled = inside.T @ np.concatenate(list(bases[group == name]), axis=1)
        left, values, _ = np.linalg.svd(pooled, full_matrices=False)
        leading = left[:, values > VARIES * max(values[0], 1e-300)][:, :dims]
        noise[name, :, : leading.shape[1]] = np.sqrt(rank) * leading  # as long as random columns: a step of Adam turns both alike
    return torch.from_numpy(noise).to(within)
