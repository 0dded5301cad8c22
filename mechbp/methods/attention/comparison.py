"""How near attention is to a reference pattern, beside a permutation null, uniform attention and a control model.

A pattern that resembles a reference is no evidence that the model computes what the reference stands for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from mechbp.arguments import check_memory, checked_count, checked_reals
from mechbp.divergence import js_nats
from mechbp.errors import InputError
from mechbp.figures.intervals import points
from mechbp.figures.picture import Picture
from mechbp.hooks import to_array
from mechbp.methods.attention.patterns import AttentionPatterns, Pattern
from mechbp.methods.shown import Shown
from mechbp.methods.statistics.intervals import Interval
from mechbp.methods.telling import examples, frame, told
from mechbp.randomness import checked_generator

Rows = Float64[np.ndarray, "*cells query key"]
TIE = 1e-12
"""A relabelled reference this close to the observed distance counts as a tie, that is, as at least as near."""


Reference = Float[np.ndarray, "*#cells query key"] | Float[Tensor, "*#cells query key"]
"""[query, key] for all heads, [layer, query, key] or [head, query, key], or [layer, head, query, key]."""
Measure = Literal["js_nats", "cosine"]


@dataclass(frozen=True, eq=False, repr=False)
class AttentionMatch(Shown):
    """How near the mean pattern is to a reference, per layer and head, means over query rows."""

    reference: Pattern
    js_nats: Interval
    """Jensen-Shannon divergence, 0 .. log 2, with an interval over examples."""
    cosine: Interval
    p_js: Float64[np.ndarray, "layer head"]
    """Share of relabelled references that are at least as near, (1 + count) / (1 + permutations)."""
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

    def picture(self, measure: Measure = "js_nats") -> Picture:
        """Draw every head's distance to the reference ("js_nats") or cosine with it ("cosine") beside the controls.

        Raises InputError for another measure.
        """
        if measure not in get_args(Measure):
            raise InputError(f"AttentionMatch: measure must be one of {', '.join(get_args(Measure))}, got {measure!r:.40}.")
        match, control, uniform, name = (
            (self.js_nats, self.control_js_nats, self.uniform_js_nats, "Jensen-Shannon divergence (nats)")
            if measure == "js_nats"
            else (self.cosine, self.control_cosine, self.uniform_cosine, "cosine")
        )
        series = [{"name": "model", **points(_flat(match), "x")}]
        series += (
            [] if control is None else [{"name": "control model", "control": True, "color": 1, **points(_flat(control), "x")}]
        )
        series.append({"name": "uniform attention", "control": True, "color": 2, "x": uniform.ravel()})
        if measure == "js_nats":
            low, middle, high = np.quantile(self.null_js_nats, [0.05, 0.5, 0.95], axis=0)
            null = {"x": middle.ravel(), "low": low.ravel(), "high": high.ravel()}
            series.append({"name": "reference, positions relabelled", "control": True, "color": 3, **null})
        return Picture(
            kind="dots",
            title=f"Attention against the reference: {name}",
            caption=f"Mean over query rows of the mean pattern, {match.level:.0%} bootstrap intervals over n = {match.n:,} "
            "examples. "
            f"Hollow: controls; of {len(self.null_js_nats)} relabelled references the median and the central 90 %.",
            alt=f"Dots by layer and head: {name} between attention and the reference, beside its controls.",
            data={"x_title": name, "categories": self._heads, "series": series},
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per layer and head: both measures with intervals, p, and the controls."""
        layers, heads = self.p_js.shape
        columns = {"js_nats": self.js_nats, "p_js": self.p_js, "cosine": self.cosine, "p_cosine": self.p_cosine}
        columns |= {"uniform_js_nats": self.uniform_js_nats, "uniform_cosine": self.uniform_cosine}
        if self.control_js_nats is not None and self.control_cosine is not None:
            columns |= {"control_js_nats": self.control_js_nats.mean, "control_cosine": self.control_cosine.mean}
        return frame({"layer": range(layers), "head": range(heads)}, columns)

    def summary(self) -> str:
        """Return the nearest head of every layer with its interval, p and controls, up to four layers, and n."""
        lines = []
        nearest = self.js_nats.mean.argmin(axis=1)
        for layer, head in list(enumerate(nearest))[:4]:
            control = self.control_js_nats
            beside = "" if control is None else f", control model {control.mean[layer, head]:.3g}"
            lines.append(
                f"layer {layer}, nearest head {head}: JS {told(self.js_nats[layer, head])} nats, p = "
                f"{self.p_nearest_js[layer]:.2g}; "
                f"uniform {self.uniform_js_nats[layer, head]:.3g}{beside}"
            )
        if len(nearest) > 4:
            lines.append(f"and {len(nearest) - 4} more layers")
        return "\n".join([*lines, f"{examples(self.js_nats)}; {len(self.null_js_nats)} relabelled references"])

    @property
    def _heads(self) -> list[str]:
        layers, heads = self.p_js.shape
        return [f"layer {layer}, head {head}" for layer in range(layers) for head in range(heads)]


def compare_patterns(
    patterns: AttentionPatterns,
    reference: Reference,
    *,
    rng: np.random.Generator,
    control: AttentionPatterns | None = None,
    permutations: int = 999,
    resamples: int = 400,
) -> AttentionMatch:
    """Compare the mean pattern with a reference [layer, head, query, key] whose rows sum to 1, per layer and head.

    The null relabels the reference's positions at random, reference[pi(i), pi(j)], with one relabelling for all heads. A small
    p says that the head follows the order of the positions as the reference does. A uniform reference is its own relabelling:
    p = 1. Raises InputError for a reference of another shape, or whose rows do not sum to 1.
    """
    where = "compare_attention"
    checked_generator(rng, where)
    permutations, resamples = (
        checked_count(permutations, where, "permutations"),
        checked_count(resamples, where, "resamples", least=2),
    )
    heads = float(np.prod(patterns.within.shape[1:3]))
    check_memory(16 * permutations * heads, where, f"{permutations:,} relabelled references", "Take fewer permutations.")
    drawn = resamples * (20.0 * heads * patterns.within.shape[-1] ** 2 + 8 * len(patterns.within))
    check_memory(drawn, where, f"{resamples:,} resamples", "Take fewer resamples.")
    target = _checked(reference, patterns)
    observed = patterns.mean
    js = row_js_nats(observed, target)
    cosine = row_cosine(observed, target)
    null_js, null_cosine = np.empty((2, permutations, *js.shape))
    for draw in range(permutations):
        relabel = rng.permutation(target.shape[-1])
        relabelled = target[..., relabel[:, None], relabel]
        null_js[draw] = row_js_nats(observed, relabelled)
        null_cosine[draw] = row_cosine(observed, relabelled)
    uniform = np.full(target.shape, 1 / target.shape[-1])
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
    n = len(patterns.within)
    counts = rng.multinomial(n, np.full(n, 1 / n), size=resamples)
    means = (counts.astype(np.float32) @ patterns.within.reshape(n, -1).astype(np.float32)).astype(np.float64) / n
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


def _flat(interval: Interval) -> Interval:
    return Interval(interval.mean.ravel(), interval.low.ravel(), interval.high.ravel(), interval.n, interval.level)


def _checked(reference: Reference, patterns: AttentionPatterns) -> Pattern:
    if not isinstance(reference, np.ndarray | Tensor):
        raise InputError(
            f"compare_attention: the reference must be an array [query, key] or [layer, head, query, key], got "
            f"{type(reference).__name__}."
        )
    expected_form = "probabilities [query, key] or [layer, head, query, key]"
    target = checked_reals(to_array(reference), "compare_attention", "the reference", expected_form).astype(np.float64)
    layers, heads, queries, keys = expected = patterns.within.shape[1:]
    if target.ndim == 3 and layers == heads > 1 and len(target) == layers:
        raise InputError(
            f"compare_attention: the reference's first axis, {layers}, may be layers or heads.\n"
            "Pass reference[:, None] for one pattern per layer, reference[None] for one per head."
        )
    if target.ndim == 3 and len(target) == layers != heads:
        target = target[:, None]
    try:
        target = np.broadcast_to(target, expected).copy()
    except ValueError:
        raise InputError(
            f"compare_attention: the reference must be [query, key] = [{queries}, {keys}], or that per layer or head, or "
            f"[layer, head, query, key] = {list(expected)}, got {list(np.shape(reference))}."
        ) from None
    if not np.isfinite(target).all() or (target < 0).any() or np.abs(target.sum(axis=-1) - 1).max() > _tolerance(reference):
        raise InputError(
            "compare_attention: every row of the reference must be a distribution over keys (>= 0, sum 1).\n"
            "Of a captured pattern pass its mean over examples; of scores, their softmax."
        )
    exact = reference.dtype in (torch.float64, np.dtype(np.float64))
    return target if exact else target / target.sum(axis=-1, keepdims=True)


def _tolerance(reference: Reference) -> float:
    """By how much rows may miss 1: rounding of the precision they come in."""
    half = reference.dtype in (torch.float16, torch.bfloat16, np.dtype(np.float16))
    return 2e-2 if half else 1e-5 if reference.dtype in (torch.float32, np.dtype(np.float32)) else 1e-6
