"""How probes are shown on every page: the stages of the network as rows, the depths of the tree as columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

STREAM = ["hook_embed", "blocks.*.hook_resid_mid", "blocks.*.hook_resid_post"]
"""The residual stream after every attention layer and every block."""
OUTPUTS = ["hook_embed", "blocks.*.hook_resid_post"]
"""The residual stream after every block."""


def probe_layout(hooks: Sequence[str], depths: Sequence[int], depth: int, score: str) -> dict[str, Any]:
    """Return what heat maps of scores [hook, depth] share, for a tree of `depth`."""
    return {
        "rows": [hook_label(hook) for hook in hooks],
        "columns": [{0: "root", depth: "leaf"}.get(d, str(d)) for d in depths],
        "row_title": "read from",
        "column_title": "ancestor at depth",
        "value_title": score,
        "cell_text": True,
        "range": [0, 1],
    }


def hook_label(hook: str) -> str:
    """Return a stage's name in plain words."""
    if hook == "hook_embed":
        return "embedding"
    _, layer, site = hook.split(".")
    return f"block {int(layer) + 1} {'after attention' if site.endswith('mid') else 'output'}"
