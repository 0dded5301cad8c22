"""Attention put in place of a model's own where it is asked: what the model loses says how far the idea stands in for it.

With all attention on the answer, a model that sorts by copying must still sort; with all on another larger value it must name
that one. "class averages" gives every key the mean attention of its class, head by head and position by position: what the model
loses is what the classes leave out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float64, Int, Integer
from torch import Tensor

from mechbp.divergence import FLOOR
from mechbp.errors import InputError
from mechbp.figures.intervals import points
from mechbp.figures.picture import Picture
from mechbp.hooks import HookedModel, capture, edit, forward, to_array, to_tokens
from mechbp.methods.shown import Shown
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.methods.telling import examples, frame, told
from mechbp.processes.sorting.sorted_lists import SortedLists
from mechbp.randomness import rng as named_rng
from mechbp.theory.sorting.asked import AskedLists, asked_lists
from mechbp.theory.sorting.attention_classes import NO_KEY, ClassAttention, asked_rows, class_attention, key_classes
from mechbp.theory.sorting.idealised import IDEALS, idealised_pattern

OWN_PATTERN, BY_CLASS = "own", "class averages"
REPLACEMENTS = (OWN_PATTERN, BY_CLASS, *IDEALS)
BATCH = 512

AskedPattern = Float64[np.ndarray, "n head asked key"] | Float64[np.ndarray, "n 1 asked key"]


@dataclass(frozen=True, eq=False, repr=False)
class ReplacedLosses(Shown):
    """How well the model sorts under each pattern, question by question."""

    names: tuple[str, ...]
    cross_entropy_nats: Float64[np.ndarray, "name n asked"]
    """-ln P(answer)."""
    hits: Bool[np.ndarray, "name n asked"]
    """Whether the answer is named."""
    attended: Bool[np.ndarray, "name n asked"]
    """Whether the value is named that the pattern, mean over heads, has most weight on; the smallest one if tied."""

    def of(self, name: str) -> int:
        """Return the row of a pattern. Raises InputError where it was not tried."""
        if name not in self.names:
            raise InputError(f"ReplacedLosses: no pattern {name!r:.40} here; there are {', '.join(self.names)}.")
        return self.names.index(name)

    def means(self, rng: np.random.Generator) -> dict[str, Interval]:
        """Return mean cross-entropy in nats, accuracy, whole lists right and `attended`, one per pattern, over one resampling."""
        parts = {
            "cross_entropy_nats": self.cross_entropy_nats.mean(axis=2),
            "accuracy": self.hits.mean(axis=2),
            "whole_lists": self.hits.all(axis=2).astype(np.float64),
            "attended": self.attended.mean(axis=2),
        }
        found = bootstrap_mean(np.stack(list(parts.values())).transpose(2, 0, 1), rng)
        return {name: found[row] for row, name in enumerate(parts)}

    def picture(self, rng: np.random.Generator | None = None) -> Picture:
        """Draw accuracy, whole lists right and `attended` under every pattern; the model's own pattern is the control."""
        means = self.means(named_rng(0, "ReplacedLosses") if rng is None else rng)
        found = means["accuracy"]
        return Picture(
            kind="dots",
            title="Sorting under other attention patterns",
            caption=f"Share of answers named, of lists named whole, and of answers that are what the pattern attends to most; "
            f"{found.level:.0%} bootstrap intervals over n = {found.n:,} lists. Control: {OWN_PATTERN!r}, the model's own "
            "pattern.",
            alt=f"Dots with intervals by pattern ({len(self.names)}): accuracy, whole lists and attended.",
            data={
                "x_title": "share",
                "x_range": [-0.02, 1.02],
                "categories": list(self.names),
                "series": [
                    {"name": name.replace("_", " "), **points(means[name], "x")}
                    for name in ("accuracy", "whole_lists", "attended")
                ],
            },
        )

    def to_dataframe(self, rng: np.random.Generator | None = None) -> pd.DataFrame:
        """Return one row per pattern: every mean with its interval."""
        means = self.means(named_rng(0, "ReplacedLosses") if rng is None else rng)
        return frame({"pattern": self.names}, means).assign(n=self.hits.shape[1])

    def summary(self, rng: np.random.Generator | None = None) -> str:
        """Return loss and accuracy under up to five patterns, and n."""
        means = self.means(named_rng(0, "ReplacedLosses") if rng is None else rng)
        lines = [
            f"{name}: cross-entropy {told(means['cross_entropy_nats'][row])} nats, accuracy {told(means['accuracy'][row])}"
            for row, name in enumerate(self.names)
        ][:5]
        return "\n".join([*lines, examples(means["accuracy"], "lists")])


def replaced_losses(
    model: HookedModel,
    process: SortedLists,
    tokens: Integer[np.ndarray, "n _positions"],
    *,
    names: Sequence[str] = REPLACEMENTS,
    heads: tuple[int, ...] | None = None,
    layer: int = 0,
    rng: np.random.Generator | None = None,
) -> ReplacedLosses:
    """Put each pattern in place of the model's own in some heads, by default all, and see how well it sorts.

    Only rows of positions asked at are replaced. rng: draws the pattern "another larger", which every head then shares.
    "class averages" are those of the sequences given. Raises InputError for another name or heads that there are none of.
    """
    lists = asked_lists(process, tokens)
    draw = named_rng(0, "another larger") if rng is None else rng
    if unknown := [name for name in names if name not in REPLACEMENTS]:
        raise InputError(f"replaced_losses: unknown pattern {unknown[0]!r:.40}; there are {', '.join(REPLACEMENTS)}.")
    losses = []
    hits = []
    attended = []
    for name in names:
        pattern = _pattern(model, process, tokens, lists, name, layer, draw)
        log_answers = answers_under(model, lists, tokens, pattern, heads=heads, layer=layer)
        losses.append(-np.take_along_axis(log_answers, lists.answer[..., None], axis=2)[..., 0])
        named = log_answers.argmax(axis=2)
        hits.append(named == lists.answer)
        attended.append(named == _most_attended(pattern, lists))
    return ReplacedLosses(tuple(names), np.stack(losses), np.stack(hits), np.stack(attended))


@torch.no_grad()
def answers_under(
    model: HookedModel,
    lists: AskedLists,
    tokens: Integer[np.ndarray, "n _positions"],
    pattern: AskedPattern,
    *,
    heads: tuple[int, ...] | None = None,
    layer: int = 0,
) -> Float64[np.ndarray, "n asked token"]:
    """Return ln P(next token) at every question with a pattern [n, head or 1, asked, key] in some heads, by default all.

    Probabilities below the floor of divergences are raised to it. Raises InputError for heads that there are none of.
    """
    n_heads = int(model.cfg.n_heads)
    chosen = range(n_heads) if heads is None else heads
    if any(not 0 <= head < n_heads for head in chosen):
        raise InputError(f"answers_under: the model has heads 0..{n_heads - 1}, got {heads}.")
    length = lists.length
    rows = slice(length, 2 * length)
    found = []
    for start in range(0, len(tokens), BATCH):
        part = slice(start, start + BATCH)
        inputs = to_tokens(model, np.asarray(tokens)[part, :-1])
        given = torch.from_numpy(np.broadcast_to(pattern[part], (len(inputs), n_heads, *pattern.shape[2:])).copy())

        def replaced(activation: Tensor, given: Tensor = given) -> Tensor:
            for head in chosen:
                activation[:, head, rows] = given[:, head].to(activation)
            return activation

        with edit(model, {f"blocks.{layer}.attn.hook_pattern": replaced}):
            logits = forward(model, inputs)
        found.append(logits[:, rows].double().log_softmax(dim=-1).cpu().numpy())
    return np.maximum(np.concatenate(found), np.log(FLOOR))


def class_average_pattern(found: ClassAttention, lists: AskedLists) -> Float64[np.ndarray, "n head asked key"]:
    """Return the pattern that gives every key the mean attention of its class, per head and position; rows sum to 1."""
    classes = key_classes(lists)
    per_key = np.nan_to_num(found.per_key, nan=0.0)
    table = np.concatenate([per_key, np.zeros((*per_key.shape[:2], NO_KEY + 1 - per_key.shape[2]))], axis=2)
    asked = np.arange(lists.length)[:, None]
    pattern = np.moveaxis(table[:, asked, classes], 0, 1)
    return pattern / pattern.sum(axis=3, keepdims=True)


def _pattern(
    model: HookedModel,
    process: SortedLists,
    tokens: Integer[np.ndarray, "n _positions"],
    lists: AskedLists,
    name: str,
    layer: int,
    rng: np.random.Generator,
) -> AskedPattern:
    if name in (OWN_PATTERN, BY_CLASS):
        hook = f"blocks.{layer}.attn.hook_pattern"
        own = to_array(capture(model, np.asarray(tokens)[:, :-1], hook)[hook])
        if name == OWN_PATTERN:
            return asked_rows(own, lists)
        return class_average_pattern(class_attention(own, tokens, process), lists)
    return idealised_pattern(lists, name, rng)[:, None]  # type: ignore[arg-type]


def _most_attended(pattern: AskedPattern, lists: AskedLists) -> Int[np.ndarray, "n asked"]:
    """The value of the list with most weight, mean over heads; the smallest value of those tied."""
    weight = np.take_along_axis(pattern.mean(axis=1)[..., : lists.length], lists.place_of_rank[:, None], axis=2)
    return np.take_along_axis(np.sort(lists.values, axis=1), weight.argmax(axis=2), axis=1)
