"""Take the activation at one hook and run the rest of the model on a changed one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechbp.errors import HookError
from mechbp.hook_check import can_restart, require_sound
from mechbp.hooks import HookedModel, capture, edit, forward, layer_of, matching_hooks, require_hooked, to_tokens
from mechbp.methods.patching.plain_capture import captured
from mechbp.methods.patching.plain_transformer import Network

BETWEEN_BLOCKS = {"hook_resid_pre": 0, "hook_resid_post": 1}
"""How many blocks after its own a hook's value is what the next block starts from."""
TOLERANCE = 1e-4
"""How far logits and gradients from the weights may be from the model's own, relative to their largest; float64: 1e-9."""
FEW = 8
"""Examples on which the weights have to reproduce the model before they stand in for it."""

Rows = slice | Int[Tensor, " row"]
"""Which examples."""
Answer = Callable[[Rows, Float[Tensor, "row position d"]], Float[Tensor, "row read q"]]
"""Rows and their activation at the hook -> logits at the positions that are read."""
PairActivations = tuple[Float[Tensor, "n position d"], Float[Tensor, "n position d"]]
"""Base and source activations at one hook."""


@dataclass(frozen=True, eq=False)
class Continuation:
    """One hook of a model whose activations are [n, position, d]."""

    model: HookedModel
    hook: str

    @classmethod
    def at(cls, model: HookedModel, hook: str) -> Continuation:
        """Resolve the name of one hook. Raises HookError where it is unknown or a pattern for several."""
        require_hooked(model)
        names = matching_hooks(model, hook)
        if len(names) != 1:
            raise HookError(f"interchange: {hook!r} matches {len(names)} hooks; name one of {', '.join(names[:4])}.")
        return cls(model, names[0])

    def activation(self, tokens: Int[np.ndarray, "n position"] | Int[Tensor, "n position"]) -> Float[Tensor, "n position d"]:
        """Return the activation of unedited runs. Raises HookError unless it is [n, position, d]."""
        return self._checked(capture(self.model, tokens, self.hook)[self.hook], tokens)

    def of_pairs(
        self, base: Int[np.ndarray, "n position"], source: Int[np.ndarray, "n position"], known: PairActivations | None
    ) -> PairActivations:
        """Return the activations of unedited base and source runs, those `known` if there are any; raise as `activation` does.

        Raises HookError, too, for a hook that is not what its name says.
        """
        require_sound("interchange", self.model, [self.hook], base)
        found = (self.activation(base), self.activation(source)) if known is None else known
        return self._checked(found[0], base), self._checked(found[1], source)

    def _checked(self, found: Tensor, tokens: np.ndarray | Tensor) -> Float[Tensor, "n position d"]:
        if found.ndim != 3 or found.shape[:2] != tokens.shape:
            n, positions = tokens.shape
            raise HookError(f"interchange: {self.hook} is {list(found.shape)}; need [{n}, {positions} positions, d].")
        return found

    def logits(
        self, tokens: Int[np.ndarray, "n position"] | Int[Tensor, "n position"], activation: Float[Tensor, "n position d"]
    ) -> Float[Tensor, "n answer q"]:
        """Return the logits of runs on `tokens` that hold `activation` at the hook, in the graph when gradients are on.

        Between blocks a model that can restart does; anywhere else the whole model runs, with the activation written in.
        """
        layer = self._restart(tokens)
        if layer is not None:
            return forward(self.model, activation, start_at_layer=layer)
        with edit(self.model, {self.hook: lambda _: activation}):
            return forward(self.model, to_tokens(self.model, tokens))

    def answers(
        self,
        tokens: Int[np.ndarray, "n position"] | Int[Tensor, "n position"],
        activation: Float[Tensor, "n position d"],
        reads: Int[Tensor, "n read"],
        *,
        gradients: bool,
    ) -> Answer:
        """Return what the model answers at the positions `reads` of each row when its activation at the hook is changed.

        `activation` is that of the unedited runs. Where the hook is between blocks and the model's weights reproduce its own
        logits, and gradients where they will be asked for, only the blocks after the hook run, and the last of them only where it
        is read.
        """
        rows = to_tokens(self.model, tokens)

        def from_hooks(which: Rows, changed: Tensor) -> Tensor:
            return _at(self.logits(rows[which], changed), reads[which])

        layer, network = self._restart(rows), Network.of(self.model)
        if network is None or layer is None:
            return from_hooks

        def from_weights(which: Rows, changed: Tensor) -> Tensor:
            for block in range(layer, len(network.blocks) - 1):
                changed = network.through(block, changed)
            last = layer == len(network.blocks)
            return network.logits(_at(changed, reads[which]) if last else network.through_last(changed, reads[which]))

        return from_weights if _agree(from_weights, from_hooks, activation[:FEW], gradients) else from_hooks

    def _restart(self, tokens: Int[np.ndarray, "n position"] | Int[Tensor, "n position"]) -> int | None:
        """The block that starts from the hook's value; None where no block does, or the model cannot start there."""
        site = self.hook.rpartition(".")[2]
        offset, layer = BETWEEN_BLOCKS.get(site), layer_of(self.hook)
        whole = self.hook == f"blocks.{layer}.{site}"  # no hook inside a module of the block, which may show a part of the stream
        if offset is None or layer is None or not whole or not can_restart(self.model, tokens):
            return None
        return layer + offset


def pair_activations(
    model: HookedModel,
    base: Int[np.ndarray, "n position"],
    source: Int[np.ndarray, "n position"],
    hooks: Iterable[str],
) -> dict[str, PairActivations]:
    """Return base and source activations at several hooks, from one run of each."""
    names = list(hooks)
    of_base, of_source = (captured(model, tokens, names) for tokens in (base, source))
    return {name: (of_base[name], of_source[name]) for name in names}


def _at(values: Float[Tensor, "row position width"], reads: Int[Tensor, "row read"]) -> Float[Tensor, "row read width"]:
    return values.gather(1, reads[..., None].expand(-1, -1, values.shape[-1]))


def _agree(found: Answer, expected: Answer, activation: Float[Tensor, "row position d"], gradients: bool) -> bool:
    """Whether two ways to the same logits give the same values and, if asked for, gradients; no if one has no gradient."""
    close = TOLERANCE if activation.dtype == torch.float32 else 1e-9
    few = slice(0, len(activation))
    with torch.inference_mode(False), torch.set_grad_enabled(gradients):
        results = []
        for answer in (found, expected):
            start = activation.detach().clone().requires_grad_(gradients)
            try:
                logits = answer(few, start)
                results.append([logits.detach()])
                if gradients:
                    # Another weight on every logit: plain sums have no gradient wherever logits are normalised.
                    weights = torch.linspace(-1, 1, logits.numel()).to(logits).reshape(logits.shape)
                    results[-1] += torch.autograd.grad(logits, start, weights)
            except RuntimeError:  # in-place arithmetic leaves no gradient
                return False
    return all(
        bool((mine - theirs).abs().max() <= close * theirs.abs().max().clamp_min(1))
        for mine, theirs in zip(*results, strict=True)
    )
