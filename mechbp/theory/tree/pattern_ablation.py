"""Attention ablation: replace what heads attend to, and measure what that does to the answer.

The causal companion of `attention`: if only the LCA level of a pair matters to a head, its pattern can be replaced by the
average over pairs of the same level at no cost; if a theory's pattern is what the model needs, the theory's will do as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from mechbp.brief import Brief
from mechbp.errors import InputError
from mechbp.figures.intervals import points
from mechbp.figures.picture import Picture
from mechbp.finite import check_rows
from mechbp.hooks import HookedModel, accepts, capture, edit, forward, layer_of, to_tokens
from mechbp.methods.attention.patterns import pattern_hooks
from mechbp.methods.patching.metric import Metric, score
from mechbp.methods.shown import Shown
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.methods.telling import dots, ends, examples, told
from mechbp.randomness import rng as named_rng
from mechbp.theory.tree.attention import block_average, named_pattern

REPLACEMENTS = ("block-average", "mean", "sibling-subtree", "uniform", "relabelled")
"""What stands in for a pattern. "relabelled" is the control: the sibling-subtree pattern with its leaves permuted."""

CONTROL = "relabelled"

BATCH = 512


@dataclass(frozen=True, eq=False, repr=False)
class PatternReplacement(Shown):
    """Effect of one replacement on the metric, per example."""

    baseline: Float64[np.ndarray, " example"]
    """Metric of the unedited model."""
    replaced: Float64[np.ndarray, " example"]
    """Metric with the patterns replaced."""

    @property
    def change(self) -> Float64[np.ndarray, " example"]:
        """replaced - baseline: above 0, the metric grew."""
        return self.replaced - self.baseline

    def interval(self, rng: np.random.Generator) -> Interval:
        """Return the mean change with its bootstrap interval."""
        return bootstrap_mean(self.change, rng)

    def picture(self, rng: np.random.Generator | None = None) -> Picture:
        """Draw the metric before and after the replacement, with intervals."""
        means = self._means(rng)
        return Picture(
            kind="dots",
            title="Attention patterns replaced",
            caption=f"Metric, mean over n = {len(self.baseline):,} examples with 95% bootstrap intervals; change: replaced "
            "minus unedited.",
            alt="Dots with intervals: the metric unedited and replaced, and the change.",
            data=dots("metric", means, references=[{"name": "no change", "x": 0}]),
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per example: the metric of the unedited and of the edited model."""
        return pd.DataFrame({"example": np.arange(len(self.baseline)), "baseline": self.baseline, "replaced": self.replaced})

    def summary(self, rng: np.random.Generator | None = None) -> str:
        """Return the metric unedited and replaced, the change with its interval, and n."""
        means = self._means(rng)
        return (
            f"metric unedited {told(means['unedited'])}, replaced {told(means['replaced'])}\n"
            f"change {told(means['change'])}; {examples(means['change'])}"
        )

    def _means(self, rng: np.random.Generator | None) -> dict[str, Interval]:
        draw = named_rng(0, "PatternReplacement") if rng is None else rng
        found = bootstrap_mean(np.stack([self.baseline, self.replaced, self.change], axis=1), draw)
        return {name: found[column] for column, name in enumerate(("unedited", "replaced", "change"))}


@dataclass(frozen=True, eq=False, repr=False)
class AblationRow(Brief):
    """One replacement at one place."""

    replacement: str
    layers: tuple[int, ...]
    head: int | None
    """None = all heads."""
    change: Interval
    """Mean change of the metric."""
    per_example: Float64[np.ndarray, " example"]

    @property
    def place(self) -> str:
        """Where it was made, in words."""
        layers = f"layer{'s' if len(self.layers) > 1 else ''} {', '.join(map(str, self.layers))}"
        return layers if self.head is None else f"{layers}, head {self.head}"

    def to_dict(self) -> dict[str, object]:
        """Return plain numbers for JSON, without per-example values."""
        return {"replacement": self.replacement, "layers": list(self.layers), "head": self.head, "change": self.change.to_dict()}


@dataclass(frozen=True, eq=False, repr=False)
class AttentionAblation(Shown):
    """All replacements at all places, and the metric without any."""

    baseline: Interval
    rows: tuple[AblationRow, ...]

    def to_dict(self) -> dict[str, object]:
        """Return plain numbers for JSON."""
        return {"baseline": self.baseline.to_dict(), "rows": [row.to_dict() for row in self.rows]}

    def picture(self) -> Picture:
        """Draw the change of the metric by every replacement at every place; "relabelled" is the control."""
        places = list(dict.fromkeys(row.place for row in self.rows))
        by_name: dict[str, dict[str, Interval]] = {}
        for row in self.rows:
            by_name.setdefault(row.replacement, {})[row.place] = row.change
        nan = np.asarray(np.nan)
        gap = Interval(nan, nan, nan, self.baseline.n, self.baseline.level)
        series = []
        for index, (name, found) in enumerate(by_name.items()):
            values = points([found.get(place, gap) for place in places], "x")
            series.append({"name": name, **values, **({"control": True, "color": index} if name == CONTROL else {})})
        return Picture(
            kind="dots",
            title="Attention patterns replaced: change of the metric",
            caption=f"Replaced minus unedited metric, which is {told(self.baseline)}; {self.baseline.level:.0%} bootstrap "
            "intervals over "
            f"n = {self.baseline.n:,} examples. Hollow: the sibling-subtree pattern with its leaves relabelled, the control.",
            alt=f"Dots with intervals by place: change of the metric, {len(by_name)} replacements.",
            data={
                "x_title": "change of the metric",
                "categories": places,
                "series": series,
                "references": [{"name": "no change", "x": 0}],
            },
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per replacement and place: the mean change with its interval."""
        parts = [
            pd.DataFrame(
                {"replacement": [row.replacement], "place": [row.place], "head": [row.head]}
                | {name: [float(value)] for name, value in ends("change", row.change).items()}
            )
            for row in self.rows
        ]
        return pd.concat(parts, ignore_index=True).assign(n=self.baseline.n)

    def summary(self) -> str:
        """Return the metric unedited, what up to four replacements change with the most layers replaced, and n."""
        most = max(len(row.layers) for row in self.rows)
        lines = [
            f"{row.replacement}, {row.place}: change {told(row.change)}"
            for row in self.rows
            if len(row.layers) == most and row.head is None
        ]
        head = f"metric unedited {told(self.baseline)}; {examples(self.baseline)}; control: {CONTROL}"
        return "\n".join([head, *lines[:5]])


def replace_patterns(
    model: HookedModel,
    tokens: Int[np.ndarray, "n position"] | Int[Tensor, "n position"],
    patterns: Float[np.ndarray, "layer head query key"] | Float[np.ndarray, "n layer head query key"],
    layers: Iterable[int],
    metric: Metric,
    *,
    heads: Iterable[int] | None = None,
    baseline: Float64[np.ndarray, " n"] | None = None,
    residuals: Mapping[int, Float[Tensor, "n position d"]] | None = None,
) -> PatternReplacement:
    """Run the model with the attention patterns of `layers` (and `heads`, default all) replaced, and compare the metric.

    `metric` maps logits [n, position, q] of all examples, in order, to one number each. `baseline` skips the unedited run;
    for `patterns` and `residuals` see `logits_with_patterns`, whose errors are raised.
    """
    edited = logits_with_patterns(model, tokens, patterns, layers, heads=heads, residuals=residuals)
    before = score(metric, _logits(model, to_tokens(model, tokens), None), "replace_patterns") if baseline is None else baseline
    return PatternReplacement(before, score(metric, edited, "replace_patterns"))


def logits_with_patterns(
    model: HookedModel,
    tokens: Int[np.ndarray, "n position"] | Int[Tensor, "n position"],
    patterns: Float[np.ndarray, "layer head query key"] | Float[np.ndarray, "n layer head query key"] | None = None,
    layers: Iterable[int] | None = None,
    *,
    heads: Iterable[int] | None = None,
    residuals: Mapping[int, Float[Tensor, "n position d"]] | None = None,
) -> Float[Tensor, "n answer q"]:
    """Return the logits of all examples with the attention patterns of `layers` and `heads` (default: all) replaced.

    A model that answers once per sequence has one answer, any other one per position.
    `patterns` holds every layer of the model, one pattern for all examples or one each; None leaves the model as it is. Patterns
    over all positions but the last, a ROOT query, leave each leaf's mass on ROOT and ROOT's own row as they are, and redistribute
    the rest. `residuals`, what `residual_starts` found, skips the blocks before the first replaced one.
    Raises InputError for layers or heads the model lacks and patterns of another shape.
    """
    rows = to_tokens(model, tokens)
    if patterns is None:
        return _logits(model, rows, None)
    names = pattern_hooks(model)
    chosen = sorted(set(range(len(names)) if layers is None else layers))
    if not chosen or chosen[0] < 0 or chosen[-1] >= len(names):
        raise InputError(f"replace_patterns: layers must lie in 0..{len(names) - 1}, at least one, got {chosen}.")
    given = np.asarray(patterns)
    n_positions = rows.shape[1]
    sizes = {n_positions, n_positions - 1}
    square = given.ndim in (4, 5) and given.shape[-1] == given.shape[-2] and given.shape[-1] in sizes
    if not square or given.shape[-4] != len(names) or (given.ndim == 5 and len(given) != len(rows)):
        raise InputError(
            f"replace_patterns: patterns must be [layer, head, query, key], or that per example, with {len(names)} layers "
            f"and {' or '.join(map(str, sorted(sizes)))} positions, got {list(given.shape)}."
        )
    n_heads = given.shape[-3]
    selected = list(range(n_heads)) if heads is None else sorted(set(heads))
    if not selected or selected[0] < 0 or selected[-1] >= n_heads:
        raise InputError(f"replace_patterns: heads must lie in 0..{n_heads - 1}, at least one, got {selected}.")

    def edits(start: int) -> dict[str, Callable[[Tensor], Tensor]]:
        part = given[start : start + BATCH] if given.ndim == 5 else given[None]
        return {names[layer]: partial(_replace, torch.as_tensor(part[:, layer]), selected) for layer in chosen}

    return _logits(model, rows, edits, chosen[0], residuals)


def ablate_attention(
    model: HookedModel,
    tokens: Int[np.ndarray, "n position"] | Int[Tensor, "n position"],
    metric: Metric,
    *,
    rng: np.random.Generator,
    replacements: Sequence[str] = REPLACEMENTS,
    per_head: bool = False,
    n_leaves: int | None = None,
) -> AttentionAblation:
    """Replace patterns in each layer alone and in all layers together (and, with `per_head`, head by head) by each stand-in.

    The replacements are those of `stand_ins`, whose errors are raised.
    """
    patterns_of = stand_ins(model, tokens, rng=rng, replacements=replacements, n_leaves=n_leaves)
    n_layers, n_heads = next(iter(patterns_of.values())).shape[:2]
    places: list[tuple[tuple[int, ...], int | None]] = [((layer,), None) for layer in range(n_layers)]
    if n_layers > 1:
        places.append((tuple(range(n_layers)), None))
    if per_head and n_heads > 1:
        places += [((layer,), head) for layer in range(n_layers) for head in range(n_heads)]
    baseline = score(metric, _logits(model, to_tokens(model, tokens), None), "ablate_attention")
    residuals = residual_starts(model, tokens)
    rows = []
    for name, patterns in patterns_of.items():
        for layers, head in places:
            chosen = None if head is None else [head]
            found = replace_patterns(
                model, tokens, patterns, layers, metric, heads=chosen, baseline=baseline, residuals=residuals
            )
            rows.append(AblationRow(name, layers, head, found.interval(rng), found.change))
    return AttentionAblation(bootstrap_mean(baseline, rng), tuple(rows))


def stand_ins(
    model: HookedModel,
    tokens: Int[np.ndarray, "n position"] | Int[Tensor, "n position"],
    *,
    rng: np.random.Generator,
    replacements: Sequence[str] = REPLACEMENTS,
    n_leaves: int | None = None,
) -> dict[str, Float64[np.ndarray, "layer head query key"]]:
    """Return the static patterns, by name, that can stand in for a model's own.

    "mean" is the model's mean pattern over the examples, "block-average" that averaged over pairs of the same LCA level,
    ROOT's row and column included for root-task models; the others are patterns over the leaves.
    The first `n_leaves` positions are leaves (default: all), a ROOT query may follow.
    Raises InputError for an unknown replacement, or a theory the model has too many layers for.
    """
    unknown = [name for name in replacements if name not in REPLACEMENTS]
    if unknown:
        raise InputError(f"ablate_attention: unknown replacement {unknown[0]!r}; there are {', '.join(REPLACEMENTS)}.")
    names = pattern_hooks(model)
    captured = {name: check_rows("ablate_attention", name, value) for name, value in capture(model, tokens, names).items()}
    mean = np.stack([captured[name].mean(dim=0, dtype=torch.float64).cpu().numpy() for name in names])
    n_layers, n_heads, n_positions, _ = mean.shape
    leaves = n_positions if n_leaves is None else n_leaves
    relabel = rng.permutation(leaves)

    def stand_in(name: str) -> Float64[np.ndarray, "layer head query key"]:
        if name == "mean":
            return mean
        if name == "block-average":
            return block_average(mean, n_leaves=leaves)
        if name == "relabelled":
            return named_pattern("sibling-subtree", n_layers, n_heads, leaves)[..., relabel[:, None], relabel]
        return named_pattern(name, n_layers, n_heads, leaves)  # type: ignore[arg-type]

    return {name: stand_in(name) for name in replacements}


def _replace(pattern: Tensor, heads: list[int], activation: Tensor) -> Tensor:
    """Put `pattern` [1 or batch, head, query, key] in place of the chosen heads of a private copy of the activation."""
    if pattern.shape[1] != activation.shape[1]:
        raise InputError(f"replace_patterns: the patterns have {pattern.shape[1]} heads, the model has {activation.shape[1]}.")
    new = pattern.to(activation)
    n = new.shape[-1]
    if n < activation.shape[-1]:  # leaves only: what each leaf sends to ROOT stays, the rest is redistributed
        new = new[:, heads] * (1 - activation[:, heads, :n, n:].sum(dim=-1, keepdim=True))
        activation[:, heads, :n, :n] = new
    else:
        activation[:, heads] = new[:, heads].expand(len(activation), -1, -1, -1)
    return activation


def residual_starts(
    model: HookedModel, tokens: Int[np.ndarray, "n position"] | Int[Tensor, "n position"]
) -> dict[int, Float[Tensor, "n position d"]]:
    """Return the unedited input of every block from which the model can be restarted; none where it cannot."""
    names = [name for name in model.hook_dict if name.endswith(".hook_resid_pre") and layer_of(name) is not None]
    if not names or not accepts(model, "start_at_layer"):
        return {}
    return {layer_of(name) or 0: value for name, value in capture(model, tokens, names, BATCH).items()}


@torch.no_grad()
def _logits(
    model: HookedModel,
    rows: Int[Tensor, "n position"],
    edits: Callable[[int], dict[str, Callable[[Tensor], Tensor]]] | None,
    first: int = 0,
    residuals: Mapping[int, Float[Tensor, "n position d"]] | None = None,
) -> Float[Tensor, "n answer q"]:
    """Logits of all examples, batch by batch, with the edits made for the batch that starts at a given row.

    Nothing before block `first` is edited, so runs start there where its input is known.
    """
    restart = first > 0 and residuals is not None and first in residuals
    inputs = residuals[first] if restart and residuals is not None else rows
    where = {"start_at_layer": first} if restart else {}
    logits = []
    for start in range(0, len(rows), BATCH):
        batch = inputs[start : start + BATCH]
        if edits is None:
            logits.append(forward(model, batch, **where))
        else:
            with edit(model, edits(start)):
                logits.append(forward(model, batch, **where))
    return torch.cat(logits)
