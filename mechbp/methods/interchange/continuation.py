"""Take the activation at one hook and run the rest of the model on a changed one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from mechbp.errors import HookError
from mechbp.hooks import HookedModel, accepts, capture, edit, forward, layer_of, matching_hooks, to_tokens

BETWEEN_BLOCKS = {"hook_resid_pre": 0, "hook_resid_post": 1}
"""How many blocks after its own a hook's value is what the next block starts from."""


@dataclass(frozen=True, eq=False)
class Continuation:
    """One hook of a model whose activations are [n, position, d]."""

    model: HookedModel
    hook: str

    @classmethod
    def at(cls, model: HookedModel, hook: str) -> Continuation:
        """Resolve the name of one hook. Raises HookError where it is unknown or a pattern for several."""
        names = matching_hooks(model, hook)
        if len(names) != 1:
            raise HookError(f"interchange: {hook!r} matches {len(names)} hooks; name one of {', '.join(names[:4])}.")
        return cls(model, names[0])

    def activation(self, tokens: Int[np.ndarray, "n position"] | Int[Tensor, "n position"]) -> Float[Tensor, "n position d"]:
        """Return the activation of unedited runs. Raises HookError unless it is [n, position, d]."""
        found = capture(self.model, tokens, self.hook)[self.hook]
        if found.ndim != 3 or found.shape[1] != tokens.shape[1]:
            raise HookError(f"interchange: {self.hook} is {list(found.shape)}; need [n, {tokens.shape[1]} positions, d].")
        return found

    def logits(
        self, tokens: Int[np.ndarray, "n position"] | Int[Tensor, "n position"], activation: Float[Tensor, "n position d"]
    ) -> Float[Tensor, "n position q"]:
        """Return the logits of runs on `tokens` that hold `activation` at the hook, in the graph when gradients are on.

        Between blocks a model that can restart does; anywhere else the whole model runs, with the activation written in.
        """
        offset, layer = BETWEEN_BLOCKS.get(self.hook.rpartition(".")[2]), layer_of(self.hook)
        if offset is not None and layer is not None and accepts(self.model, "start_at_layer"):
            return forward(self.model, activation, start_at_layer=layer + offset)
        with edit(self.model, {self.hook: lambda _: activation}):
            return forward(self.model, to_tokens(self.model, tokens))
