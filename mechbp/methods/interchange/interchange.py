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
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from mechbp.errors import InputError
from mechbp.hooks import HookedModel, check_model
from mechbp.methods.brief import Brief
from mechbp.methods.interchange.answer_heads import Reading, asked_of, kl_to_reading, softmax_reading
from mechbp.methods.interchange.continuation import Continuation, PairActivations
from mechbp.methods.interchange.leace import Eraser
from mechbp.methods.interchange.pairs import Pairs
from mechbp.methods.interchange.subspaces import Subspace, random_subspace
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean, bootstrap_ratio

NOTHING, WHOLE = "nothing", "whole vector"
BATCH = 256

Change = Callable[[Tensor, Tensor], Tensor]
"""Base and source activations -> the base's with the edit made, at all positions."""


@dataclass(frozen=True, eq=False, repr=False)
class MessageTest(Brief):
    """Divergence of the answers after each edit, per pair, from what exact inference says."""

    hook: str
    target_kl_nats: Mapping[str, Float64[np.ndarray, " n"]]
    """Edit -> KL(exact || model) at the query; exact is the answer with the source's message, or without any if erased."""
    before_kl_nats: Mapping[str, Float64[np.ndarray, " n"]]
    """Edit -> KL(exact || model) at the query, exact on the base as it is: small while the edit moves nothing."""
    bystander_kl_nats: Mapping[str, Float64[np.ndarray, " n"]]
    """Edit -> KL(exact || model) at the bystander, whose exact answer does not move; empty where there is none."""

    @property
    def edits(self) -> tuple[str, ...]:
        """Names of the edits; the first is "nothing"."""
        return tuple(self.target_kl_nats)

    def explained(self, edit: str, rng: np.random.Generator) -> Interval:
        """Return 1 - mean KL after the edit / mean KL unedited: 1 is the exact answer, 0 no nearer, below 0 farther away."""
        unedited = self.target_kl_nats[NOTHING]
        return bootstrap_ratio(unedited - self._of(self.target_kl_nats, edit), unedited, rng)

    def beyond(self, edit: str, rival_kl_nats: Float64[np.ndarray, " n"], rng: np.random.Generator) -> Interval:
        """Return 1 - mean KL after the edit / mean KL of a rival's answers on the same pairs, nats: 1 is exact, 0 the rival.

        It is (share - rival's share) / (1 - rival's share) in the shares of `explained`, and the resamples are paired: where its
        interval excludes 0 the edit explains more than the rival does.
        """
        return bootstrap_ratio(rival_kl_nats - self._of(self.target_kl_nats, edit), rival_kl_nats, rng)

    def side_effect(self, edit: str, rng: np.random.Generator) -> Interval:
        """Return how much the edit raises KL at the bystander, nats. Raises InputError where there is no bystander."""
        return bootstrap_mean(self._of(self.bystander_kl_nats, edit) - self.bystander_kl_nats[NOTHING], rng)

    def all_explained(self, rng: np.random.Generator) -> dict[str, Interval]:
        """Return `explained` of every edit, all from the same resamples: what each would be from a fresh copy of `rng`."""
        unedited = self.target_kl_nats[NOTHING]
        kl = np.stack(list(self.target_kl_nats.values()), axis=1)
        shares = bootstrap_ratio(unedited[:, None] - kl, unedited, rng)
        return {edit: shares[column] for column, edit in enumerate(self.target_kl_nats)}

    def all_side_effects(self, rng: np.random.Generator) -> dict[str, Interval]:
        """Return `side_effect` of every edit, all from the same resamples; empty where there is no bystander."""
        if not self.bystander_kl_nats:
            return {}
        kl = np.stack(list(self.bystander_kl_nats.values()), axis=1)
        rises = bootstrap_mean(kl - self.bystander_kl_nats[NOTHING][:, None], rng)
        return {edit: rises[column] for column, edit in enumerate(self.bystander_kl_nats)}

    @staticmethod
    def _of(table: Mapping[str, np.ndarray], edit: str) -> np.ndarray:
        if edit not in table:
            raise InputError(f"MessageTest: no edit {edit!r} here; there are {', '.join(table) or 'none'}.")
        return table[edit]


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
    Raises HookError for a hook that is not [n, position, d], InputError for a subspace of another width or
    number of positions.
    """
    changes: dict[str, Change] = {WHOLE: lambda base, source: source}
    for name, subspace in subspaces.items():
        _check_edit(name, subspace, Subspace, "basis", pairs.base.shape[1])
        placebo = random_subspace(pairs.base.shape[1], subspace.basis.shape[1], subspace.basis.shape[2], rng)
        changes[name] = lambda base, source, part=subspace.part: base + part(source - base)
        changes[f"{name}, placebo"] = lambda base, source, true=subspace.part, random=placebo.part: (
            base + _matched(random(source - base), true(source - base))
        )
    widths = {name: subspace.basis.shape[1] for name, subspace in subspaces.items()}
    return _test(model, pairs, hook, changes, widths, pairs.expected, reading, activations)


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
    for name, eraser in erasers.items():
        _check_edit(name, eraser, Eraser, "removed", pairs.base.shape[1])
        noise = torch.from_numpy(rng.normal(size=eraser.mean.shape))
        changes[name] = lambda base, source, without=eraser.erased: without(base)
        changes[f"{name}, placebo"] = lambda base, source, without=eraser.erased, noise=noise: (
            base + _matched(noise.to(base).expand_as(base), without(base) - base)
        )
    widths = {name: eraser.mean.shape[-1] for name, eraser in erasers.items()}
    return _test(model, pairs, hook, changes, widths, pairs.without, reading, activations)


@torch.no_grad()
def _test(
    model: HookedModel,
    pairs: Pairs,
    hook: str,
    changes: Mapping[str, Change],
    widths: Mapping[str, int],
    target: np.ndarray,
    reading: Reading,
    activations: PairActivations | None,
) -> MessageTest:
    check_model(model)
    place = Continuation.at(model, hook)
    base, source = place.of_pairs(pairs.base, pairs.source, activations)
    for name, width in widths.items():
        if width != base.shape[-1]:
            raise InputError(
                f"interchange: {name!r} is for activations of {width} dimensions, {place.hook} has {base.shape[-1]}."
            )
    reach = torch.from_numpy(pairs.positions).to(base.device)[..., None]
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
        unedited = said if unedited is None else unedited
        for table, (read, exact) in zip(tables, wanted, strict=False):
            at = reading(said[:, read])
            table[name] = kl_to_reading(torch.from_numpy(exact).to(at), at).double().cpu().numpy()
    return MessageTest(place.hook, *tables)


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
