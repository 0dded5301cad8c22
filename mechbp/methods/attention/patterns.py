"""Attention patterns of a model: every example's, and their mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float64, Int
from scipy.special import xlogy
from torch import Tensor

from mechbp.errors import InputError
from mechbp.figures.picture import Picture
from mechbp.finite import check_rows
from mechbp.hooks import HookedModel, capture, layer_of, matching_hooks, require_hooked, to_array
from mechbp.methods.shown import Shown
from mechbp.methods.telling import frame, panel

Pattern = Float64[np.ndarray, "layer head query key"]
PATTERN_HOOKS = "blocks.*.attn.hook_pattern"


@dataclass(frozen=True, eq=False, repr=False)
class AttentionPatterns(Shown):
    """Attention of every example among the first positions, and what goes to and comes from the rest, if there is one."""

    layers: tuple[int, ...]
    within: Float[np.ndarray, "example layer head query key"]
    """Rows sum to 1."""
    to_rest: Float[np.ndarray, "example layer head query"] | None
    """Mass each query sends to the positions left out, before the row is renormalised."""
    from_rest: Float[np.ndarray, "example layer head rest key"] | None
    """The rows of the positions left out over those kept, not renormalised."""

    @property
    def mean(self) -> Pattern:
        """Mean pattern over examples."""
        return self.within.mean(axis=0, dtype=np.float64)

    def picture(self) -> Picture:
        """Draw the mean pattern of every layer and head, query down and key across."""
        n_heads, queries, keys = self.within.shape[2:]
        mean = self.mean
        return Picture(
            kind="heatmap",
            title="Mean attention patterns",
            caption=f"Mean over n = {len(self.within):,} examples; rows are queries and sum to 1."
            + ("" if self.to_rest is None else " Positions left out have no row or column; rows are renormalised without them."),
            alt=f"Heat maps of attention, one per layer and head ({len(self.layers)} x {n_heads}): query down, key across.",
            data={
                "rows": [str(query) for query in range(queries)],
                "columns": [str(key) for key in range(keys)],
                "value_title": "attention",
                "row_title": "query",
                "column_title": "key",
                "panels": [
                    panel(f"layer {layer}, head {head}", mean[row, head])
                    for row, layer in enumerate(self.layers)
                    for head in range(n_heads)
                ],
            },
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per layer, head, query and key: the mean attention and its standard deviation over examples."""
        n_heads, queries, keys = self.within.shape[2:]
        axes = {"layer": self.layers, "head": range(n_heads), "query": range(queries), "key": range(keys)}
        spread = self.within.std(axis=0, dtype=np.float64)
        return frame(axes, {"attention": self.mean, "standard_deviation": spread})

    def summary(self) -> str:
        """Return n, how spread out every layer's attention is beside uniform attention, and what goes to positions left out."""
        entropy = -xlogy(self.mean, self.mean).sum(axis=-1).mean(axis=(1, 2))
        keys = self.within.shape[-1]
        lines = [
            f"attention of {len(self.layers)} layers x {self.within.shape[2]} heads over {keys} positions; n = "
            f"{len(self.within):,} examples",
            "entropy of the mean pattern's rows (nats): "
            + ", ".join(f"layer {layer} {value:.3g}" for layer, value in zip(self.layers, entropy, strict=True))
            + f"; uniform {np.log(keys):.3g}",
        ]
        if self.to_rest is not None:
            lines.append(f"mass sent to positions left out: {float(self.to_rest.mean()):.3g} on average")
        return "\n".join(lines)


def mean_pattern(
    model: HookedModel,
    tokens: Int[np.ndarray, "n position"] | Int[Tensor, "n position"],
    n_kept: int | None = None,
) -> AttentionPatterns:
    """Capture every layer's attention patterns; `.mean` is the mean pattern, per-example patterns are kept for intervals.

    With `n_kept` only the first so many positions are queries and keys, and rows are renormalised over them.
    Raises InputError for more positions than there are, and for a kept query that attends to none of the kept keys.
    """
    names = pattern_hooks(model)
    captured = capture(model, tokens, names)
    for name in names:
        check_rows("mean_pattern", name, captured[name])
    whole = np.stack([to_array(captured[name]) for name in names], axis=1)
    if captured[names[0]].dtype != torch.float32 and whole.dtype == np.float32:  # half precision: rows miss 1 by up to 1 %
        whole /= whole.sum(axis=-1, keepdims=True)
    layers = tuple(layer_of(name) or 0 for name in names)
    kept = whole.shape[-1] if n_kept is None else n_kept
    if not 1 <= kept <= whole.shape[-1]:
        raise InputError(f"mean_pattern: {kept} positions were to be kept, the patterns have {whole.shape[-1]}.")
    if kept == whole.shape[-1]:
        return AttentionPatterns(layers, whole, None, None)
    within = whole[..., :kept, :kept]
    mass = within.sum(axis=-1, keepdims=True)
    if (mass == 0).any():
        example, layer, head, query = (int(i) for i in np.argwhere(mass[..., 0] == 0)[0])
        raise InputError(
            f"mean_pattern: in layer {layers[layer]}, head {head}, query {query} of example {example} attends to none of the "
            f"first {kept} positions; its row is undefined.\n"
            f"Look at the pattern itself: mechbp.capture(model, tokens, {PATTERN_HOOKS!r})."
        )
    return AttentionPatterns(layers, within / mass, whole[..., :kept, kept:].sum(axis=-1), whole[..., kept:, :kept])


def pattern_hooks(model: HookedModel) -> list[str]:
    """Return the pattern hooks in order of layers."""
    require_hooked(model)
    return sorted(matching_hooks(model, PATTERN_HOOKS), key=lambda name: layer_of(name) or 0)
