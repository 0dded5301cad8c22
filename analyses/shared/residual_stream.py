"""The residual stream between blocks: hooks in order, and what they are called on every page."""

from __future__ import annotations


def between_blocks(n_layers: int) -> dict[str, str]:
    """Return {name: hook} of what the first block reads, and of every block's output."""
    outputs = {f"block {layer + 1} output": f"blocks.{layer}.hook_resid_post" for layer in range(n_layers)}
    return {"embedding": "blocks.0.hook_resid_pre", **outputs}
