"""Causal tests of a message: write another sequence's into a run, or erase it, and hold the answer against exact inference.

Interchange asks whether a subspace is *sufficient*: with the source's component written into the base run at the positions below
the node, does the model answer what belief propagation answers when that one message is replaced, and nothing else moves?
Erasure asks whether it is *necessary*: without the message, does the model answer what belief propagation answers without it?
Neither shows that the model has no other copy of the message; a whole-vector patch bounds what any subspace at that place can do.
Every number stands beside the unedited run, the whole vector and a random subspace whose change has the same norm.
(Source: Geiger et al., "Causal abstractions of neural networks", NeurIPS 2021, for interchange interventions.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mechbp.arguments import told
from mechbp.errors import InputError
from mechbp.finite import check_finite
from mechbp.hooks import HookedModel, require_hooked
from mechbp.methods.interchange.answer_heads import Reading, asked_of, checked_reading, kl_to_reading, softmax_reading
from mechbp.methods.interchange.continuation import Continuation, PairActivations
from mechbp.methods.interchange.leace import Eraser
from mechbp.methods.interchange.message_test import ANOTHER_SOURCE, NOTHING, OTHER_MESSAGES, PLACEBO, MessageTest
from mechbp.methods.interchange.pairs import Pairs
from mechbp.methods.interchange.subspaces import Subspace, random_subspace

WHOLE = "whole vector"
WITHOUT = "exact answer without the message"
"""The rival of a write: an answer that ignores what was written."""
BATCH = 256

Change = Callable[[Tensor, Tensor], Tensor]
"""Base and source activations -> the base's with the edit made, at all positions."""


def interchange(
    model: HookedModel,
    pairs: Pairs,
    hook: str,
    subspaces: Mapping[str, Subspace],
    *,
    rng: np.random.Generator,
    reading: Reading = softmax_reading,
    activations: PairActivations | None = None,
) -> MessageTest:
    """Write the source's component of each subspace into the base run, at the positions of `pairs`, and compare the answers.

    Edits are "nothing", "whole vector" (the source's activation as it is), each subspace by its key, and "KEY, placebo": a random
    subspace of as many dimensions, its change scaled to the norm of the true one at every position. `activations` are those of
    base and source at the hook where they are known already (`pair_activations`).
    Raises HookError for a hook that is not [n, position, d], InputError for a subspace of another width or number of positions,
    for a key that another edit has ("nothing", "whole vector", …), and for activations or answers that are NaN or infinite.
    """
    changes: dict[str, Change] = {WHOLE: lambda base, source: source}
    for name, subspace in _named("interchange", subspaces).items():
        _check_edit(name, subspace, Subspace, "basis", pairs.base.shape[1])
        placebo = random_subspace(pairs.base.shape[1], subspace.basis.shape[1], subspace.basis.shape[2], rng)
        changes[name] = lambda base, source, part=subspace.part: base + part(source - base)
        changes[f"{name}{PLACEBO}"] = lambda base, source, true=subspace.part, random=placebo.part: (
            base + _matched(random(source - base), true(source - base))
        )
    widths = {name: subspace.basis.shape[1] for name, subspace in subspaces.items()}
    rivals = {WITHOUT: pairs.deletion_kl_nats}
    return _test("interchange", model, pairs, hook, changes, widths, pairs.expected, rivals, reading, activations)


def erase(
    model: HookedModel,
    pairs: Pairs,
    hook: str,
    erasers: Mapping[str, Eraser],
    *,
    rng: np.random.Generator,
    reading: Reading = softmax_reading,
    activations: PairActivations | None = None,
) -> MessageTest:
    """Erase the message from the base run at the positions of `pairs`, and compare with exact inference without the message.

    Edits are "nothing", each eraser by its key, and "KEY, placebo": a random change of the same norm at every position.
    Raises as `interchange` does.
    """
    changes: dict[str, Change] = {}
    for name, eraser in _named("erase", erasers).items():
        _check_edit(name, eraser, Eraser, "removed", pairs.base.shape[1])
        noise = torch.from_numpy(rng.normal(size=eraser.mean.shape))
        changes[name] = lambda base, source, without=eraser.erased: without(base)
        changes[f"{name}{PLACEBO}"] = lambda base, source, without=eraser.erased, noise=noise: (
            base + _matched(noise.to(base).expand_as(base), without(base) - base)
        )
    widths = {name: eraser.mean.shape[-1] for name, eraser in erasers.items()}
    return _test("erase", model, pairs, hook, changes, widths, pairs.without, pairs.erasure_rivals_kl_nats, reading, activations)


@torch.no_grad()
def _test(
    where: str,
    model: HookedModel,
    pairs: Pairs,
    hook: str,
    changes: Mapping[str, Change],
    widths: Mapping[str, int],
    target: np.ndarray,
    rivals: Mapping[str, np.ndarray],
    reading: Reading,
    activations: PairActivations | None,
) -> MessageTest:
    require_hooked(model)
    place = Continuation.at(model, hook)
    base, source = place.of_pairs(pairs.base, pairs.source, activations)
    for name, width in widths.items():
        if width != base.shape[-1]:
            raise InputError(
                f"interchange: {name!r} is for activations of {width} dimensions, {place.hook} has {base.shape[-1]}."
            )
    reach = torch.from_numpy(pairs.positions).to(base.device)[..., None]
    read_as = checked_reading(where, reading)
    asked = asked_of(pairs, target)
    reads = torch.from_numpy(np.stack([position for position, _ in asked], axis=1)).to(base.device)
    wanted = [(0, target), (0, pairs.before), *((read, exact) for read, (_, exact) in enumerate(asked) if read)]
    answer = place.answers(pairs.base, base, reads, gradients=False)
    parts = [slice(start, start + BATCH) for start in range(0, len(pairs), BATCH)]
    tables: tuple[dict, dict, dict] = ({}, {}, {})
    unedited = None
    for name, change in {NOTHING: lambda base, source: base, **changes}.items():
        edited = [torch.where(reach[rows], change(base[rows], source[rows]), base[rows]) for rows in parts]
        if unedited is not None and all(torch.equal(part, base[rows]) for part, rows in zip(edited, parts, strict=True)):
            said = unedited  # base and source agree in all that is written: the same run again
        else:
            said = torch.cat([answer(rows, part) for rows, part in zip(parts, edited, strict=True)])
        if unedited is None:
            unedited = check_finite(where, "logits", said)
        for table, (read, exact) in zip(tables, wanted, strict=False):
            at = read_as(said[:, read])
            if at.shape != exact.shape:
                got, expected = list(at.shape), list(exact.shape)
                raise InputError(f"{where}: the model's answers, as read, are {got}, the exact ones {expected}. Pass a reading.")
            kl = kl_to_reading(torch.from_numpy(exact).to(at), at).double()
            table[name] = check_finite(where, f"KL(exact || model) after the edit {name!r}", kl).cpu().numpy()
    return MessageTest(place.hook, *tables, dict(rivals))


def _named(where: str, edits: Mapping[str, object]) -> Mapping[str, Any]:
    """The edits, under names that are free: those of the unedited run, the bound and the placebos are taken."""
    if not isinstance(edits, Mapping) or not all(isinstance(name, str) for name in edits):
        raise InputError(f"{where}: edits must be {{name: Subspace}} or {{name: Eraser}}, got {told(edits)}.")
    for name in edits:
        if name in (NOTHING, WHOLE) or name.endswith((PLACEBO, ANOTHER_SOURCE, OTHER_MESSAGES)):
            raise InputError(
                f"{where}: an edit cannot be named {told(name)}: it means the baseline, the bound or a control beside it.\n"
                f"Taken are {NOTHING!r}, {WHOLE!r} and names that end in {PLACEBO!r}, {ANOTHER_SOURCE!r} or {OTHER_MESSAGES!r}."
            )
    return edits


def _check_edit(name: str, edit: object, kind: type, part: str, positions: int) -> None:
    if not isinstance(edit, kind):
        raise InputError(f"interchange: {name!r} must be of type {kind.__name__}, got {type(edit).__name__}.")
    rows = len(getattr(edit, part))
    if rows not in (1, positions):
        raise InputError(
            f"interchange: {name!r} has {rows} positions, the pairs have {positions}; give one for each, or one for all."
        )


def _matched(change: Tensor, like: Tensor) -> Tensor:
    """Scale each position's change to the norm of another."""
    return change * (like.norm(dim=-1, keepdim=True) / change.norm(dim=-1, keepdim=True).clamp_min(1e-30))
