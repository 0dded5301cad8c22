"""Hooks on parts of a residual stream: each shows, and lets replace, some of its dimensions as an activation of its own.

A method that works on activations [n, position, d] then works on one slot as it works on a whole residual stream.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from mechbp.errors import HookError
from mechbp.models.architectures import HookedTransformer, HookPoint

SITES = ("hook_resid_mid", "hook_resid_post")


def add_part_hooks(model: HookedTransformer, parts: Mapping[str, Sequence[slice]]) -> dict[str, tuple[str, ...]]:
    """Give `model` a hook for every part of the residual stream at each hook named, and return their names in order.

    parts: hook of the residual stream -> dimensions of each part; dimensions in no part stay as they are. The parts of
    `blocks.1.hook_resid_mid` are `blocks.1.part_00.hook_resid_mid` and so on, [n, position, dimensions of the part]. The model
    computes what it did. Raises HookError for a hook that is not the residual stream inside or after a
    block, or has parts already.
    """
    names: dict[str, tuple[str, ...]] = {}
    pieces: Any = model  # torch types every submodule as Tensor | Module
    for hook, dims in parts.items():
        block, _, site = hook.rpartition(".")
        if hook not in model.hook_dict or site not in SITES or block.count(".") != 1:
            raise HookError(f"add_part_hooks: {hook!r:.60} is no hook_resid_mid or hook_resid_post of a block of this model.")
        owner = pieces.blocks[int(block.partition(".")[2])]
        points = []
        for index in range(len(dims)):
            name = f"part_{index:02d}"
            holder = getattr(owner, name, None)
            if holder is None:
                holder = nn.Module()
                owner.add_module(name, holder)
            if hasattr(holder, site):
                raise HookError(f"add_part_hooks: {hook} has parts already. Name every part of it in one call.")
            point = HookPoint()
            holder.add_module(site, point)
            points.append(point)
        # In place of the forward pass, not as a hook: what clears all hooks of a model leaves the parts.
        setattr(model.hook_dict[hook], "forward", partial(_through, tuple(zip(dims, points, strict=True))))  # noqa: B010
        names[hook] = tuple(f"{block}.part_{index:02d}.{site}" for index in range(len(dims)))
    model.setup()
    model.train(model.training)  # new modules are in train mode
    return names


def _through(parts: tuple[tuple[slice, HookPoint], ...], stream: Tensor) -> Tensor:
    """Send every part through its hook, and put together what comes out."""
    changed = stream.clone()
    for dims, point in parts:
        changed[..., dims] = point(stream[..., dims].clone())
    return changed
