"""Distributed alignment search: learn the subspace whose interchange makes a model answer as exact inference says it must.

The orthonormal basis is the Q factor of a free matrix, trained by Adam through the frozen model to lower the divergence of the
patched model from the exact answer at the query and, so that nothing else is moved along, at the bystander. What is found is
*a* subspace that suffices on held-out pairs; whether training finds one in any model is for the control models to say. That
none is found shows little: in a hand-compiled network, whose gates punish every direction but the right ones, the search fails.
(Source: Geiger et al., "Finding alignments between interpretable causal variables and distributed neural representations",
CLeaR 2024.)
"""

from __future__ import annotations

import numpy as np
import torch

from mechbp.errors import InputError
from mechbp.hooks import HookedModel, check_model
from mechbp.methods.interchange.answer_heads import Reading, asked_of, kl_to_reading, softmax_reading
from mechbp.methods.interchange.continuation import Continuation, PairActivations
from mechbp.methods.interchange.pairs import Pairs
from mechbp.methods.interchange.subspaces import Subspace

STEPS = 100
BATCH = 64
LEARNING_RATE = 0.1


def learn_rotation(
    model: HookedModel,
    pairs: Pairs,
    hook: str,
    dims: int,
    *,
    rng: np.random.Generator,
    steps: int = STEPS,
    batch_size: int = BATCH,
    learning_rate: float = LEARNING_RATE,
    reading: Reading = softmax_reading,
    activations: PairActivations | None = None,
) -> Subspace:
    """Return the learned `dims`-dimensional subspace at `hook`, one for all positions.

    Minimises KL(expected || model) at the query plus KL(exact || model) at the bystander over random batches of `pairs`, with a
    learning rate that falls linearly to 0. The model's parameters and their gradients are not touched. `activations` are those
    of base and source at the hook where they are known already (`pair_activations`).
    Raises InputError unless 1 <= dims <= d, steps >= 1 and batch_size >= 1; HookError for a hook that is not [n, position, d].
    """
    check_model(model)
    place = Continuation.at(model, hook)
    base, source = place.of_pairs(pairs.base, pairs.source, activations)
    d = base.shape[-1]
    if not 1 <= dims <= d or steps < 1 or batch_size < 1:
        raise InputError(f"learn_rotation: need 1 <= dims <= {d}, steps and batch_size >= 1, got {dims}, {steps}, {batch_size}.")
    free = torch.tensor(rng.normal(size=(d, dims)), dtype=base.dtype, device=base.device, requires_grad=True)
    adam = torch.optim.Adam([free], lr=learning_rate)
    asked = asked_of(pairs, pairs.expected)
    reads = torch.from_numpy(np.stack([position for position, _ in asked], axis=1)).to(base.device)
    exact = [torch.from_numpy(answer).to(base.device) for _, answer in asked]
    answer = place.answers(pairs.base, base, reads, gradients=True)
    change = (source - base) * torch.from_numpy(pairs.positions).to(base.device)[..., None]
    with torch.enable_grad():
        for step in range(steps):
            rows = torch.from_numpy(rng.integers(len(pairs), size=min(batch_size, len(pairs)))).to(base.device)
            basis = torch.linalg.qr(free)[0]
            said = answer(rows, base[rows] + change[rows] @ basis @ basis.T)
            losses = [kl_to_reading(truth[rows], reading(said[:, read])).mean() for read, truth in enumerate(exact)]
            (gradient,) = torch.autograd.grad(torch.stack(losses).sum(), [free])
            free.grad = torch.nan_to_num(gradient, posinf=0.0, neginf=0.0)  # a stiff network may overflow: stay put
            adam.param_groups[0]["lr"] = learning_rate * (1 - step / steps)
            adam.step()
    return Subspace("learned rotation", torch.linalg.qr(free.detach())[0].double().cpu().numpy()[None])
