"""Attention patterns: where each head looks on the tree, and how near that is to a named theory.

A pattern that resembles a theory is no evidence that the model computes what the theory says; `ablation` asks that question.
Comparisons here stand beside a permutation null (the same reference with its leaves relabelled), the uniform pattern, and a
model with random weights. Statistics are over leaves only: for root-task models the ROOT row and column are dropped, rows are
renormalised, and the mass sent to ROOT is reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from mechbp.divergence import js_nats
from mechbp.errors import InputError
from mechbp.hooks import HookedModel, capture, layer_of, matching_hooks, to_array
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.randomness import rng as named_rng
from mechbp.theory.tree.leaves import lca_level, leaf_count

Theory = Literal["sibling-subtree", "uniform", "block-average"]
Pattern = Float64[np.ndarray, "layer head query key"]
Rows = Float64[np.ndarray, "*cells query key"]

PATTERN_HOOKS = "blocks.*.attn.hook_pattern"
TIE = 1e-12
"""A relabelled reference this close to the observed distance counts as a tie, that is, as at least as near."""


@dataclass(frozen=True, eq=False)
class AttentionPatterns:
    """Leaf-to-leaf attention of every example, and what goes to and comes from the ROOT query, if there is one."""

    layers: tuple[int, ...]
    leaves: Float[np.ndarray, "example layer head query key"]
    """Rows sum to 1."""
    to_root: Float[np.ndarray, "example layer head query"] | None
    """Mass each leaf sends to ROOT, before the row is renormalised."""
    from_root: Float[np.ndarray, "example layer head key"] | None
    """ROOT's own row over the leaves, not renormalised."""

    @property
    def mean(self) -> Pattern:
        """Mean leaf-to-leaf pattern over examples."""
        return self.leaves.mean(axis=0, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class LevelMass:
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


@dataclass(frozen=True, eq=False)
class AttentionMatch:
    """How near the mean pattern is to a reference, per layer and head, means over query rows."""

    reference: Pattern
    js_nats: Interval
    """Jensen-Shannon divergence, 0 .. log 2, with an interval over examples."""
    cosine: Interval
    p_js: Float64[np.ndarray, "layer head"]
    """Share of leaf relabellings of the reference that are at least as near, (1 + count) / (1 + permutations)."""
    p_cosine: Float64[np.ndarray, "layer head"]
    null_js_nats: Float64[np.ndarray, "permutation layer head"]
    """Distances to the relabelled references."""
    uniform_js_nats: Float64[np.ndarray, "layer head"]
    """The same distance for a model that attends uniformly: what a diffuse head scores."""
    uniform_cosine: Float64[np.ndarray, "layer head"]
    control_js_nats: Interval | None
    """The same for the control model, random weights."""
    control_cosine: Interval | None

    @property
    def null_nearest_js_nats(self) -> Float64[np.ndarray, "permutation layer"]:
        """Distance of each layer's nearest head to the relabelled references: each relabelling may choose a head of its own."""
        return self.null_js_nats.min(axis=2)

    @property
    def p_nearest_js(self) -> Float64[np.ndarray, " layer"]:
        """p of each layer's nearest head, corrected for its choice among the heads; equal to `p_js` where there is one head."""
        nearest = self.js_nats.mean.min(axis=1)
        return (1 + (self.null_nearest_js_nats <= nearest + TIE).sum(axis=0)) / (1 + len(self.null_js_nats))

    def to_dict(self) -> dict[str, object]:
        """Return plain numbers for JSON; of the null, its 5 %, 50 % and 95 % points."""
        intervals = {name: getattr(self, name) for name in ("js_nats", "cosine", "control_js_nats", "control_cosine")}
        arrays = {name: getattr(self, name).tolist() for name in ("p_js", "p_cosine", "uniform_js_nats", "uniform_cosine")}
        return {
            **{name: None if interval is None else interval.to_dict() for name, interval in intervals.items()},
            **arrays,
            "p_nearest_js": self.p_nearest_js.tolist(),
            "null_js_nats_quantiles": np.quantile(self.null_js_nats, [0.05, 0.5, 0.95], axis=0).tolist(),
            "permutations": len(self.null_js_nats),
        }


def mean_pattern(model: HookedModel, tokens: Int[np.ndarray, "n position"] | Int[Tensor, "n position"]) -> AttentionPatterns:
    """Capture every layer's attention patterns; `.mean` is the mean pattern, per-example patterns are kept for intervals.

    Raises InputError for sequences that are neither 2^depth leaves nor these and ROOT, and for a leaf that attends to ROOT only.
    """
    names = sorted(matching_hooks(model, PATTERN_HOOKS), key=lambda name: layer_of(name) or 0)
    captured = capture(model, tokens, names)
    whole = np.stack([to_array(captured[name]) for name in names], axis=1)
    if captured[names[0]].dtype != torch.float32 and whole.dtype == np.float32:  # half precision: rows miss 1 by up to 1 %
        whole /= whole.sum(axis=-1, keepdims=True)
    layers = tuple(layer_of(name) or 0 for name in names)
    n_leaves = leaf_count(whole.shape[-1], "mean_pattern")
    if n_leaves == whole.shape[-1]:
        return AttentionPatterns(layers, whole, None, None)
    leaves = whole[..., :n_leaves, :n_leaves]
    mass = leaves.sum(axis=-1, keepdims=True)
    if (mass == 0).any():
        example, layer, head, query = (int(i) for i in np.argwhere(mass[..., 0] == 0)[0])
        raise InputError(
            f"mean_pattern: in layer {layers[layer]}, head {head}, leaf {query} of example {example} attends to ROOT only; "
            f"its leaf-to-leaf row is undefined.\nLook at the pattern itself: mechbp.capture(model, tokens, {PATTERN_HOOKS!r})."
        )
    return AttentionPatterns(layers, leaves / mass, whole[..., :n_leaves, n_leaves], whole[..., n_leaves, :n_leaves])


def mass_by_level(patterns: AttentionPatterns, rng: np.random.Generator) -> LevelMass:
    """Return the attention mass at each LCA level, with bootstrap intervals over examples."""
    n_leaves = patterns.leaves.shape[-1]
    levels = lca_level(n_leaves)
    of_level = (levels[..., None] == np.arange(levels.max() + 1)).astype(np.float64)
    per_example = np.einsum("elhqk,qkv->elhv", patterns.leaves, of_level, optimize=True) / n_leaves
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


def block_average(pattern: Pattern, distinct_levels: int | None = None) -> Pattern:
    """Return the pattern averaged over all (query, key) pairs with the same LCA level; row sums of 1 stay 1.

    With `distinct_levels` = t only levels 0..t are told apart and all pairs beyond share one average: t = -1 is uniform
    attention, the default tells every level apart. With a ROOT query in last place, leaf-to-ROOT, ROOT-to-leaf and
    ROOT-to-ROOT are averaged as levels of their own. Raises InputError for t < -1.
    """
    n_positions = pattern.shape[-1]
    n_leaves = leaf_count(n_positions, "block_average")
    levels = lca_level(n_leaves)
    if distinct_levels is not None and distinct_levels < -1:
        raise InputError(f"block_average: distinct_levels must be >= -1, got {distinct_levels}.")
    kept = levels.max() if distinct_levels is None else distinct_levels
    kinds = np.full((n_positions, n_positions), levels.max() + 3)
    kinds[:n_leaves, :n_leaves] = np.minimum(levels, kept + 1)
    if n_positions > n_leaves:
        kinds[:n_leaves, n_leaves], kinds[n_leaves, :n_leaves] = levels.max() + 1, levels.max() + 2
    averaged = np.empty(pattern.shape)
    for kind in np.unique(kinds):
        averaged[..., kinds == kind] = pattern[..., kinds == kind].mean(axis=-1, keepdims=True)
    return averaged


def compare_attention(
    model: HookedModel,
    tokens: Int[np.ndarray, "n position"] | Int[Tensor, "n position"],
    reference: Theory | Pattern = "sibling-subtree",
    *,
    rng: np.random.Generator | None = None,
    control_model: HookedModel | None = None,
    permutations: int = 999,
    resamples: int = 400,
) -> AttentionMatch:
    """Compare the mean leaf-to-leaf pattern with a reference pattern or named theory, per layer and head.

    The null relabels the reference's leaves at random, reference[pi(i), pi(j)], with one relabelling for all heads. A small
    p says that the head follows the order of the leaves as the reference does, not that it computes what the reference
    would. Uniform references are their own relabellings: p = 1. "block-average" compares the model with itself, averaged
    over pairs at the same LCA level. Raises InputError for a reference of another shape, or whose rows do not sum to 1.
    """
    if permutations < 1 or resamples < 2:
        raise InputError(f"compare_attention: need permutations >= 1 and resamples >= 2, got {permutations} and {resamples}.")
    rng = named_rng(0, "compare_attention") if rng is None else rng
    patterns = mean_pattern(model, tokens)
    target = _resolve(reference, patterns)
    observed = patterns.mean
    js, cosine = row_js_nats(observed, target), row_cosine(observed, target)
    null_js, null_cosine = np.empty((2, permutations, *js.shape))
    for draw in range(permutations):
        relabel = rng.permutation(target.shape[-1])
        relabelled = target[..., relabel[:, None], relabel]
        null_js[draw], null_cosine[draw] = row_js_nats(observed, relabelled), row_cosine(observed, relabelled)
    uniform = np.full(target.shape, 1 / target.shape[-1])
    control = None if control_model is None else mean_pattern(control_model, tokens)
    control_match = (None, None) if control is None else _match(control, target, rng, resamples)
    js_interval, cosine_interval = _match(patterns, target, rng, resamples)
    return AttentionMatch(
        reference=target,
        js_nats=js_interval,
        cosine=cosine_interval,
        p_js=(1 + (null_js <= js + TIE).sum(axis=0)) / (1 + permutations),
        p_cosine=(1 + (null_cosine >= cosine - TIE).sum(axis=0)) / (1 + permutations),
        null_js_nats=null_js,
        uniform_js_nats=row_js_nats(uniform, target),
        uniform_cosine=row_cosine(uniform, target),
        control_js_nats=control_match[0],
        control_cosine=control_match[1],
    )


def row_js_nats(pattern: Rows, reference: Rows) -> np.ndarray:
    """Return the Jensen-Shannon divergence of corresponding rows, mean over queries."""
    return js_nats(pattern, reference).mean(axis=-1)


def row_cosine(pattern: Rows, reference: Rows) -> np.ndarray:
    """Return the cosine of corresponding rows, mean over queries."""
    norms = np.linalg.norm(pattern, axis=-1) * np.linalg.norm(reference, axis=-1)
    return ((pattern * reference).sum(axis=-1) / norms).mean(axis=-1)


def _match(patterns: AttentionPatterns, target: Pattern, rng: np.random.Generator, resamples: int) -> tuple[Interval, Interval]:
    """Distance and cosine of the mean pattern; each resample averages resampled examples first, as the estimate does."""
    n = len(patterns.leaves)
    counts = rng.multinomial(n, np.full(n, 1 / n), size=resamples)
    means = (counts.astype(np.float32) @ patterns.leaves.reshape(n, -1).astype(np.float32)).astype(np.float64) / n
    resampled = means.reshape(resamples, *target.shape)
    intervals = []
    for measure in (row_js_nats, row_cosine):
        estimate, spread = measure(patterns.mean, target), measure(resampled, np.broadcast_to(target, resampled.shape))
        # Averaging fewer distinct examples always adds distance, a convex function: the spread is kept, that bias removed.
        low, high = np.quantile(spread - spread.mean(axis=0) + estimate, [0.025, 0.975], axis=0)
        if n == 1:  # every resample is the same: nothing is known about the spread
            low, high = np.full((2, *estimate.shape), np.nan)
        intervals.append(Interval(estimate, np.maximum(low, 0), np.maximum(high, 0), n))
    return intervals[0], intervals[1]


def _resolve(reference: Theory | Pattern, patterns: AttentionPatterns) -> Pattern:
    _, n_layers, n_heads, n_leaves, _ = patterns.leaves.shape
    if isinstance(reference, str):
        if reference == "block-average":
            return block_average(patterns.mean)
        return named_pattern(reference, n_layers, n_heads, n_leaves)
    target = np.asarray(reference, np.float64)
    expected = (n_layers, n_heads, n_leaves, n_leaves)
    if target.shape != expected:
        raise InputError(
            f"compare_attention: the reference must be [layer, head, query, key] = {list(expected)}, got {list(target.shape)}."
        )
    if not np.isfinite(target).all() or (target < 0).any() or np.abs(target.sum(axis=-1) - 1).max() > 1e-6:
        raise InputError("compare_attention: every row of the reference must be a distribution over keys (>= 0, sum 1).")
    return target
