"""The directions of an activation to which an answer is sensitive: where a search for the subspace of a message may start.

At the positions that hold a message, the gradient of the answer elsewhere lies in what the rest of the network reads there. The
leading eigenvectors of E[g g'], with g the gradient of a random combination of the log-probabilities, span it; of a message that
is held in k dimensions and read linearly there are k. That the answer is sensitive to a direction does not say that the message
varies along it; for that the interchange is the test.
(Source: Constantine, "Active subspaces", SIAM 2015, for the eigenvectors of E[g g'].)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int

from mechbp.errors import InputError
from mechbp.hooks import HookedModel, require_hooked
from mechbp.methods.interchange.answer_heads import Reading, softmax_reading
from mechbp.methods.interchange.continuation import Continuation, PairActivations
from mechbp.methods.interchange.das import position_groups, varying
from mechbp.methods.interchange.pairs import Pairs
from mechbp.methods.interchange.subspaces import Subspace

BATCH = 256
MOST = 512
"""The first so many pairs settle the directions."""


def sensitive_subspace(
    model: HookedModel,
    pairs: Pairs,
    hook: str,
    dims: int,
    *,
    rng: np.random.Generator,
    groups: Sequence[int] | Int[np.ndarray, " position"] | None = None,
    reading: Reading = softmax_reading,
    activations: PairActivations | None = None,
) -> Subspace:
    """Return the `dims` directions at `hook` that the answer at the query is most sensitive to, in the base runs of `pairs`.

    Gradients are taken at `pairs.positions` alone, along the directions in which base and source differ, and scaled to length 1
    pair by pair, so that a stiff network's few steep answers do not outweigh the rest. One basis for all positions, or one for
    each group of them (see `learn_rotation`). Raises InputError unless 1 <= dims <= d and there is one group per position;
    HookError for a hook that is not [n, position, d].
    """
    require_hooked(model)
    place = Continuation.at(model, hook)
    base, source = place.of_pairs(pairs.base, pairs.source, activations)
    positions, d = base.shape[1:]
    if not 1 <= dims <= d:
        raise InputError(f"sensitive_subspace: need 1 <= dims <= {d}, got {dims}.")
    group = position_groups(groups, positions, "sensitive_subspace")
    reads = torch.from_numpy(pairs.query[:, None]).to(base.device)
    answer = place.answers(pairs.base, base, reads, gradients=True)
    reach = torch.from_numpy(pairs.positions).to(base.device)[..., None]
    within = varying((source - base) * reach).double().cpu()
    dims = min(dims, within.shape[1])
    moments = torch.zeros(int(group.max()) + 1, within.shape[1], within.shape[1], dtype=torch.float64)
    with torch.enable_grad():
        for start in range(0, min(len(pairs), MOST), BATCH):
            rows = slice(start, start + BATCH)
            at = base[rows].detach().clone().requires_grad_()
            said = reading(answer(rows, at)[:, 0])
            weights = torch.from_numpy(rng.normal(size=said.shape)).to(said)
            (found,) = torch.autograd.grad(said, at, weights)
            found = torch.nan_to_num(torch.where(reach[rows], found, 0), posinf=0.0, neginf=0.0).double().cpu() @ within
            found = found / found.flatten(1).norm(dim=1).clamp_min(1e-300)[:, None, None]
            for name in range(len(moments)):
                mine = found[:, group == name].flatten(0, 1)
                moments[name] += mine.T @ mine
    bases = (within @ torch.linalg.eigh(moments)[1].flip(-1)[..., :dims]).numpy()
    return Subspace("most sensitive", bases[group] if len(bases) > 1 else bases)
