"""The residual stream from a model's weights: what `capture` returns between and inside blocks, several times faster.

Nothing is taken on trust: on a few sequences the rebuilt activations are held against those that the hooks show, and where they
differ, or a hook is no place in the residual stream, or somebody watches the model through hooks, the hooks are asked instead.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from mechbp.finite import check_finite
from mechbp.hooks import HookedModel, accepts, capture, forward, layer_of, matching_hooks, require_hooked, to_tokens
from mechbp.methods.patching.plain_transformer import Network

BATCH = 128
"""Sequences at a time: few enough to stay near the processor."""
EMBEDDED = 4096
"""Sequences embedded at a time, through the model itself: a pass by way of hooks costs milliseconds before it computes."""
FEW = 8
"""Sequences on which rebuilt activations are compared."""
TOLERANCE = 1e-5
"""Largest difference, relative to the largest activation, in float32; float64 is held to 1e-10."""
STREAM = ("hook_resid_pre", "hook_resid_mid", "hook_resid_post")


@torch.no_grad()
def captured(
    model: HookedModel,
    tokens: Int[np.ndarray, "n position"] | Int[Tensor, "n position"],
    hooks: str | Iterable[str],
) -> dict[str, Tensor]:
    """Return the activations [n, ...] at every matching hook, as `capture` does and to float rounding with the same values."""
    require_hooked(model)
    names = matching_hooks(model, hooks)
    stream = [name for name in names if name.rpartition(".")[2] in STREAM and layer_of(name) is not None]
    network = Network.of(model) if stream and accepts(model, "stop_at_layer") else None
    rows = to_tokens(model, tokens)
    if network is None or not _agree(_rebuilt(model, network, rows[:FEW], stream), capture(model, rows[:FEW], stream)):
        return capture(model, rows, names)
    others = [name for name in names if name not in stream]
    found = _rebuilt(model, network, rows, stream) | (capture(model, rows, others) if others else {})
    return {name: found[name] for name in names}


def _rebuilt(model: HookedModel, network: Network, rows: Int[Tensor, "n position"], names: list[str]) -> dict[str, Tensor]:
    """Run the blocks from the weights, as deep as the last of the named hooks."""
    depth = 1 + max(layer_of(name) or 0 for name in names)
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    embedded = torch.cat([forward(model, part, stop_at_layer=0) for part in rows.split(EMBEDDED)])
    for residual in embedded.split(BATCH):
        for layer in range(depth):
            middle = network.after_mixing(layer, residual)
            after = network.blocks[layer].after_attention(middle)
            for site, value in zip(STREAM, (residual, middle, after), strict=True):
                if (name := f"blocks.{layer}.{site}") in found:
                    found[name].append(value)
            residual = after
    return {name: check_finite("capture", name, torch.cat(parts)) for name, parts in found.items()}


def _agree(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    for name, value in expected.items():
        close = TOLERANCE if value.dtype == torch.float32 else 1e-10
        if not bool((found[name] - value).abs().max() <= close * value.abs().max().clamp_min(1)):
            return False
    return True
