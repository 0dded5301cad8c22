"""How attention patterns are shown on every page: which heads there are, their maps, and their mass by level of the tree."""

from __future__ import annotations

import numpy as np


def head_names(n_layers: int, n_heads: int) -> list[str]:
    """One name per head, layer by layer; a block with a single head goes by its own name."""
    return [
        f"block {layer + 1}" + (f", head {head}" if n_heads > 1 else "") for layer in range(n_layers) for head in range(n_heads)
    ]


def by_head(n_layers: int, n_heads: int) -> tuple[np.ndarray, np.ndarray]:
    """The index that turns axes [layer, head] into one, in the order of `head_names`."""
    return np.repeat(np.arange(n_layers), n_heads), np.tile(np.arange(n_heads), n_layers)


def map_panels(mean: np.ndarray, decimals: int) -> list[dict]:
    """Panels of a mean pattern [layer, head, query, key]."""
    heads = mean.shape[:2]
    return [
        {"title": name, "values": np.round(values, decimals)}
        for name, values in zip(head_names(*heads), mean[by_head(*heads)], strict=True)
    ]


def map_layout(n_leaves: int) -> dict:
    """What the maps of all figures share."""
    leaves = [str(leaf) for leaf in range(n_leaves)]
    return {
        "rows": leaves,
        "columns": leaves,
        "row_title": "query leaf",
        "column_title": "key leaf",
        "value_title": "mean attention",
        "range": [0, 1],
        "panel_columns": 2,
    }


def mass_layout(rows: list[str], n_levels: int) -> dict:
    """What the figures of attention mass by level share."""
    return {
        "rows": rows,
        "columns": ["itself", *(str(level) for level in range(1, n_levels))],
        "column_title": "levels up to the common ancestor",
        "value_title": "share of attention",
        "range": [0, 1],
        "cell_text": True,
    }
