"""Attention on the tree: how far up each head looks, and how near that is to a named theory.

A pattern that resembles a theory is no evidence that the model computes what the theory says; `pattern_ablation` asks that
question. Comparisons stand beside a permutation null (the same reference with its leaves relabelled), the uniform pattern, and
a model with random weights. Statistics are over leaves only: where other positions follow the leaves, their rows and columns are
dropped, rows are renormalised, and the mass sent there is reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int
from torch import Tensor

from mechbp.arguments import checked_choice
from mechbp.errors import InputError
from mechbp.figures.picture import Picture
from mechbp.hooks import HookedModel, require_control, require_hooked, to_tokens
from mechbp.methods.attention.comparison import AttentionMatch, Reference, compare_patterns
from mechbp.methods.attention.patterns import AttentionPatterns, Pattern, mean_pattern
from mechbp.methods.shown import Shown
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.methods.telling import examples, frame
from mechbp.randomness import checked_generator
from mechbp.randomness import rng as named_rng
from mechbp.theory.tree.leaves import lca_level, leaves_below_root

Theory = Literal["sibling-subtree", "uniform", "block-average"]


@dataclass(frozen=True, eq=False, repr=False)
class LevelMass(Shown):
    """Attention mass by level of the lowest common ancestor of query and key, mean over queries."""

    mass: Interval
    """[layer, head, level]; level 0 is the leaf itself, level h the leaves that meet it h levels up; sums to 1."""
    uniform: Float64[np.ndarray, " level"]
    """The same for uniform attention: the share of leaves at each level."""
    per_example: Float64[np.ndarray, "example layer head level"]

    @property
    def mean_level(self) -> Float64[np.ndarray, " layer"]:
        """Mean level at which a layer looks; of several heads that of the one that looks farthest up."""
        return (self.mass.mean * np.arange(self.mass.mean.shape[-1])).sum(axis=-1).max(axis=1)

    def picture(self) -> Picture:
        """Draw the mass of every layer and head by level, and that of uniform attention below them."""
        layers, heads, levels = self.mass.mean.shape
        rows = [f"layer {layer}, head {head}" for layer in range(layers) for head in range(heads)]
        values, low, high = (
            np.vstack([end.reshape(-1, levels), last])
            for end, last in (
                (self.mass.mean, self.uniform),
                (self.mass.low, np.full(levels, np.nan)),
                (self.mass.high, np.full(levels, np.nan)),
            )
        )
        return Picture(
            kind="heatmap",
            title="How far up the tree heads look",
            caption="Attention mass by level of the lowest common ancestor of query and key, mean over queries; level 0 is the "
            f"leaf itself. Mean over n = {self.mass.n:,} examples, {self.mass.level:.0%} bootstrap intervals in hover and table. "
            "Last row: uniform attention, the control.",
            alt=f"Heat map of attention mass: {len(rows)} heads and uniform attention down, {levels} levels across.",
            data={
                "rows": [*rows, "uniform"],
                "columns": [str(level) for level in range(levels)],
                "value_title": "attention mass",
                "column_title": "level of the lowest common ancestor",
                "range": [0, 1],
                "cell_text": True,
                "panels": [{"title": "", "values": values, "low": low, "high": high}],
            },
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per layer, head and level: the mass with its interval, and that of uniform attention."""
        layers, heads, levels = self.mass.mean.shape
        uniform = np.broadcast_to(self.uniform, self.mass.mean.shape)
        axes = {"layer": range(layers), "head": range(heads), "level": range(levels)}
        return frame(axes, {"mass": self.mass, "uniform": uniform}).assign(n=self.mass.n)

    def summary(self) -> str:
        """Return the mean level of every layer beside that of uniform attention, and n."""
        levels = ", ".join(f"layer {layer} {level:.3g}" for layer, level in enumerate(self.mean_level))
        uniform = float(self.uniform @ np.arange(len(self.uniform)))
        return f"mean level attended to: {levels}\nuniform attention, the control: {uniform:.3g}\n{examples(self.mass)}"


def mass_by_level(patterns: AttentionPatterns, rng: np.random.Generator) -> LevelMass:
    """Return the attention mass at each LCA level, with bootstrap intervals over examples."""
    n_leaves = patterns.within.shape[-1]
    levels = lca_level(n_leaves)
    of_level = (levels[..., None] == np.arange(levels.max() + 1)).astype(np.float64)
    per_example = np.einsum("elhqk,qkv->elhv", patterns.within, of_level, optimize=True) / n_leaves
    return LevelMass(bootstrap_mean(per_example, rng), of_level.mean(axis=(0, 1)), per_example)


def named_pattern(name: Theory, n_layers: int, n_heads: int, n_leaves: int) -> Pattern:
    """Return a theory's attention pattern, the same for every head.

    "sibling-subtree": block m (from 0) is uniform on the 2^m leaves whose lowest common ancestor with the query is m + 1
    levels up; the belief-propagation construction of Garnier-Brun et al. 2025 (App. F), which has log2(n_leaves) blocks.
    "uniform": all leaves alike. Raises InputError for another name, or more layers than the construction has.
    """
    levels = lca_level(n_leaves)
    if name == "uniform":
        return np.full((n_layers, n_heads, n_leaves, n_leaves), 1 / n_leaves)
    if name != "sibling-subtree":
        known = ", ".join(get_args(Theory))
        raise InputError(f"attention: {name!r} is no named theory here; there are {known} (the last depends on a model).")
    if n_layers > levels.max():
        raise InputError(
            f"attention: the sibling-subtree theory has {levels.max()} blocks on {n_leaves} leaves, the model has {n_layers}.\n"
            f"Pass an array [layer, head, query, key] as the reference instead."
        )
    blocks = np.stack([(levels == layer + 1) / 2**layer for layer in range(n_layers)])
    return np.repeat(blocks[:, None], n_heads, axis=1)


def block_average(pattern: Pattern, distinct_levels: int | None = None, n_leaves: int | None = None) -> Pattern:
    """Return the pattern averaged over all (query, key) pairs with the same LCA level; row sums of 1 stay 1.

    With `distinct_levels` = t only levels 0..t are told apart and all pairs beyond share one average: t = -1 is uniform
    attention, the default tells every level apart. Only the first `n_leaves` positions are leaves (default: all); with a ROOT
    query after them, leaf-to-ROOT, ROOT-to-leaf and ROOT-to-ROOT are averaged as levels of their own.
    Raises InputError for t < -1, and unless the leaves are a power of two.
    """
    n_positions = pattern.shape[-1]
    leaves = n_positions if n_leaves is None else n_leaves
    levels = lca_level(leaves)
    if distinct_levels is not None and distinct_levels < -1:
        raise InputError(f"block_average: distinct_levels must be >= -1, got {distinct_levels}.")
    kept = levels.max() if distinct_levels is None else distinct_levels
    kinds = np.full((n_positions, n_positions), levels.max() + 3)
    kinds[:leaves, :leaves] = np.minimum(levels, kept + 1)
    if n_positions > leaves:
        kinds[:leaves, leaves:] = levels.max() + 1
        kinds[leaves:, :leaves] = levels.max() + 2
    averaged = np.empty(pattern.shape)
    for kind in np.unique(kinds):
        averaged[..., kinds == kind] = pattern[..., kinds == kind].mean(axis=-1, keepdims=True)
    return averaged


def compare_attention(
    model: HookedModel,
    tokens: Int[np.ndarray, "n position"] | Int[Tensor, "n position"],
    reference: Theory | Reference = "sibling-subtree",
    *,
    rng: np.random.Generator | None = None,
    control_model: HookedModel | None = None,
    permutations: int = 999,
    resamples: int = 400,
) -> AttentionMatch:
    """Compare the mean pattern with a reference pattern or a named theory of the tree, per layer and head.

    A reference [query, key], which stands for all heads, [layer, query, key], [head, query, key] or [layer, head, query, key] is
    compared over as many first positions as it has. The theories are those of
    `named_pattern`, over the leaves of a tree and perhaps a ROOT query after them; "block-average" compares the model with
    itself, averaged over pairs at the same LCA level. Nulls and intervals are those of `compare_patterns`.
    Raises InputError for a reference of another shape, or whose rows do not sum to 1, patterns that are NaN, and a control model
    of another architecture.

    >>> import mechbp, numpy as np
    >>> run = mechbp.load("tree-mlm-k0")
    >>> tokens = run.process.sample(64, mechbp.rng(0, "attention")).tokens
    >>> match = mechbp.compare_attention(run.model, tokens, np.full((4, 1, 16, 16), 1 / 16), rng=mechbp.rng(0, "resample"))
    >>> match.js_nats.mean.shape
    (4, 1)
    """
    where = "compare_attention"
    rng = named_rng(0, where) if rng is None else checked_generator(rng, where)
    require_hooked(model)
    if control_model is not None:
        require_control(where, model, control_model)
    rows = to_tokens(model, tokens)
    named = isinstance(reference, str)
    if named:
        checked_choice(reference, where, "reference", get_args(Theory), "an array or one of")
    n_kept = leaves_below_root(rows.shape[1], where) if named else _size(reference, rows.shape[1])
    patterns = mean_pattern(model, rows, n_kept)
    control = None if control_model is None else mean_pattern(control_model, rows, n_kept)
    target = theory_pattern(reference, patterns) if named else reference
    return compare_patterns(patterns, target, rng=rng, control=control, permutations=permutations, resamples=resamples)  # type: ignore[arg-type]


def theory_pattern(name: Theory, patterns: AttentionPatterns) -> Pattern:
    """Return a theory's pattern in the shape of the given patterns, whose positions are the leaves of a tree."""
    if name == "block-average":
        return block_average(patterns.mean)
    _, n_layers, n_heads, n_leaves, _ = patterns.within.shape
    return named_pattern(name, n_layers, n_heads, n_leaves)


def _size(reference: Reference, n_positions: int) -> int:
    """Positions that a reference speaks of; all, for an error that names the shapes, where it is no pattern of them."""
    size = reference.shape[-1] if getattr(reference, "ndim", 0) in (2, 3, 4) else n_positions
    return size if 1 <= size <= n_positions else n_positions
