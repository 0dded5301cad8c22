"""Attention by what query and key show: the same word, words of one topic, words of different topics, or a hidden word.

A query that hides its word has no topic to compare with: its keys are its own position, shown words and other hidden ones.
Attention is counted in units of uniform attention: times the number of keys, so that 1 is what uniform attention gives every key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from mechbp.brief import Brief
from mechbp.figures.picture import Picture
from mechbp.finite import check_rows
from mechbp.hooks import HookedModel, capture
from mechbp.methods.attention.patterns import pattern_hooks
from mechbp.methods.shown import Shown as Result
from mechbp.methods.statistics.intervals import Interval, bootstrap_ratio
from mechbp.methods.telling import examples, frame, panel, told
from mechbp.randomness import rng as named_rng
from mechbp.theory.topics.hidden_words import Shown
from mechbp.theory.topics.pairs import PairClasses

SELF, SAME, DIFF, HIDDEN, OWN, WORD, OTHER = range(7)
CLASSES = ("self", "same", "different", "hidden", "own position", "shown word", "other hidden")
"""The first four are of queries that show a word, the others of queries that hide theirs."""
NO_QUERY = len(CLASSES)
"""What stands in no document asks nothing."""
BATCH = 64
"""Documents whose patterns are held at once."""


@dataclass(frozen=True, eq=False, repr=False)
class KeyClasses(Brief):
    """The class of every pair of ids."""

    table: Int[np.ndarray, "id id"]
    """[query id, key id]; ids are the words, one that hides a word, and one that is no word at all."""
    n_words: int

    @classmethod
    def of(cls, pairs: PairClasses) -> KeyClasses:
        """Return the classes of ids whose words are paired like this."""
        n_words = len(pairs.own)
        table = np.full((n_words + 2, n_words + 2), NO_QUERY)
        table[:n_words, :n_words] = np.select([pairs.own, pairs.same], [SELF, SAME], DIFF)
        table[:n_words, n_words:] = HIDDEN
        table[n_words, :n_words] = WORD
        table[n_words, n_words:] = OTHER
        return cls(table, n_words)

    def matrix(self, shown: Shown) -> Int[np.ndarray, "n query key"]:
        """Return the class of every pair of positions."""
        ids = np.minimum(shown, self.n_words + 1)
        found = self.table[ids[:, :, None], ids[:, None, :]]
        diagonal = np.arange(shown.shape[1])
        found[:, diagonal, diagonal] = np.where(ids == self.n_words, OWN, found[:, diagonal, diagonal])
        return found


@dataclass(frozen=True, eq=False, repr=False)
class ClassAttention(Result):
    """Attention of every document by class, in units of uniform attention."""

    sums: Float64[np.ndarray, "n layer head class"]
    """Over pairs of positions."""
    counts: Float64[np.ndarray, "n class"]
    """Pairs of positions."""
    word_sums: Float64[np.ndarray, "word word"]
    """Over documents, [query word, key word], mean over layers and heads; a position's attention to itself is left out."""
    word_counts: Float64[np.ndarray, "word word"]

    @cached_property
    def mean(self) -> Float64[np.ndarray, "layer head class"]:
        """Mean over all pairs of positions; NaN for a class that never occurs."""
        total = self.counts.sum(axis=0)
        return np.divide(self.sums.sum(axis=0), total, out=np.full(self.sums.shape[1:], np.nan), where=total > 0)

    @property
    def by_word(self) -> Float64[np.ndarray, "word word"]:
        """Mean attention of query words to key words; 1, what uniform attention gives, for pairs that never meet."""
        return np.divide(self.word_sums, self.word_counts, out=np.ones_like(self.word_sums), where=self.word_counts > 0)

    def of_documents(self, members: tuple[int, ...]) -> Float64[np.ndarray, "n layer head"]:
        """Return the mean over the pairs of some classes, document by document; NaN where one has none."""
        chosen = list(members)
        total = self.counts[:, chosen].sum(axis=1)[:, None, None]
        summed = self.sums[..., chosen].sum(axis=-1)
        return np.divide(summed, total, out=np.full(summed.shape, np.nan), where=total > 0)

    def over_documents(self, rng: np.random.Generator) -> Interval:
        """Return `mean` [layer, head, class] with an interval over documents; NaN for a class that never occurs."""
        return bootstrap_ratio(self.sums, self.counts[:, None, None], rng)

    def picture(self, rng: np.random.Generator | None = None) -> Picture:
        """Draw the mean attention to a key of every class, by layer and head; 1 is what uniform attention gives."""
        found = self.over_documents(named_rng(0, "ClassAttention") if rng is None else rng)
        layers, heads, classes = found.mean.shape
        mean, low, high = (end.reshape(-1, classes) for end in (found.mean, found.low, found.high))
        flat = Interval(mean, low, high, found.n, found.level)
        return Picture(
            kind="heatmap",
            title="Attention by what query and key show",
            caption="In units of uniform attention, which is the control: 1 everywhere. Mean over pairs of positions, "
            f"{found.level:.0%} "
            f"bootstrap intervals over n = {found.n:,} documents in hover and table. Gaps: classes that never occur.",
            alt=f"Heat map of attention: {layers * heads} heads down, {classes} classes of keys across.",
            data={
                "rows": [f"layer {layer}, head {head}" for layer in range(layers) for head in range(heads)],
                "columns": list(CLASSES),
                "value_title": "attention over uniform attention",
                "cell_text": True,
                "panels": [panel("", flat)],
            },
        )

    def to_dataframe(self, rng: np.random.Generator | None = None) -> pd.DataFrame:
        """Return one row per layer, head and class: attention in units of uniform attention, with its interval."""
        found = self.over_documents(named_rng(0, "ClassAttention") if rng is None else rng)
        layers, heads, _ = found.mean.shape
        axes = {"layer": range(layers), "head": range(heads), "class": CLASSES}
        return frame(axes, {"attention": found, "uniform": 1.0}).assign(n=found.n)

    def summary(self, rng: np.random.Generator | None = None) -> str:
        """Return the attention to words of the same and of different topics, of up to four heads, and n."""
        found = self.over_documents(named_rng(0, "ClassAttention") if rng is None else rng)
        lines = [
            f"layer {layer}, head {head}: same topic {told(found[layer, head, SAME])}, different {told(found[layer, head, DIFF])}"
            for layer, head in np.ndindex(found.mean.shape[:2])
        ][:4]
        return "\n".join([*lines, "in units of uniform attention, the control: 1", examples(found, "documents")])


def class_attention(
    model: HookedModel, shown: Shown, classes: KeyClasses, unseen: Bool[np.ndarray, "n key"] | None = None
) -> ClassAttention:
    """Return the model's attention by class on documents that are its inputs as they are.

    unseen: positions that are no keys, whose pairs are left out; uniform attention is over the others.
    """
    hidden = np.zeros(shown.shape, bool) if unseen is None else unseen
    n_words = classes.n_words
    sums = []
    counts = []
    word_sums = torch.zeros(n_words**2, dtype=torch.float64)
    word_counts = torch.zeros(n_words**2, dtype=torch.float64)
    for batch, keys, of_pair, patterns in _batches(model, shown, classes, ~hidden):
        n, layers, heads, positions, _ = patterns.shape
        flat = of_pair.reshape(n, 1, 1, -1).expand(n, layers, heads, -1)
        zeros = torch.zeros(n, layers, heads, NO_QUERY + 1, dtype=torch.float64)
        sums.append(zeros.scatter_add(3, flat, patterns.reshape(n, layers, heads, -1))[..., :NO_QUERY])
        ones = torch.ones(n, positions**2, dtype=torch.float64)
        zeros = torch.zeros(n, NO_QUERY + 1, dtype=torch.float64)
        counts.append(zeros.scatter_add(1, of_pair.reshape(n, -1), ones)[:, :NO_QUERY])
        ids = torch.from_numpy(batch)
        apart = ~torch.eye(positions, dtype=torch.bool)
        words = (ids < n_words)[:, :, None] & ((ids < n_words) & keys)[:, None, :] & apart
        pair = (ids[:, :, None] * n_words + ids[:, None, :])[words]
        word_sums.index_add_(0, pair, patterns.mean(dim=(1, 2))[words])
        word_counts.index_add_(0, pair, torch.ones(len(pair), dtype=torch.float64))
    return ClassAttention(
        torch.cat(sums).cpu().numpy(),
        torch.cat(counts).cpu().numpy(),
        word_sums.cpu().numpy().reshape(n_words, n_words),
        word_counts.cpu().numpy().reshape(n_words, n_words),
    )


def pattern_of_weights(
    classes: Int[Tensor, "n query key"],
    weights: Float64[np.ndarray, "head class"],
    unseen: Bool[np.ndarray, "n key"] | None = None,
) -> Float64[Tensor, "n head query key"]:
    """Return the pattern that gives every key the weight of its class, rows summing to 1; nothing to positions that are no keys.

    Rows without weight, and those of positions that ask nothing, are uniform.
    """
    seen = torch.ones(len(classes), classes.shape[-1]) if unseen is None else torch.from_numpy(~unseen)
    keys = rearrange(seen.double(), "n key -> n 1 1 key")
    table = torch.from_numpy(np.pad(weights, ((0, 0), (0, 1)), constant_values=1.0))
    given = rearrange(table[:, classes], "head n query key -> n head query key") * keys
    total = given.sum(dim=-1, keepdim=True)
    return torch.where(total > 0, given / total, keys / keys.sum(dim=-1, keepdim=True))


def class_weights(
    found: ClassAttention, merged: tuple[tuple[int, ...], ...] = ()
) -> Float64[np.ndarray, "layer head class"]:  # fmt: skip
    """Return every class's mean attention as its weight; classes in one tuple of `merged` share the mean of all their pairs."""
    weights = np.nan_to_num(found.mean, nan=0.0)
    total = found.counts.sum(axis=0)
    for members in merged:
        chosen = list(members)
        share = total[chosen] / max(total[chosen].sum(), 1)
        weights[..., chosen] = (weights[..., chosen] @ share)[..., None]
    return weights


def _batches(
    model: HookedModel, shown: Shown, classes: KeyClasses, keys: Bool[np.ndarray, "n key"]
) -> Iterator[tuple[Shown, Bool[Tensor, "n key"], Int[Tensor, "n query key"], Float[Tensor, "n layer head query key"]]]:
    """Yield ids, keys, classes of pairs and patterns, in units of uniform attention, a few documents at a time."""
    names = pattern_hooks(model)
    for start in range(0, len(shown), BATCH):
        batch = shown[start : start + BATCH]
        seen = keys[start : start + BATCH]
        captured: Mapping[str, Tensor] = capture(model, batch, names)
        for name in names:
            check_rows("key_classes", name, captured[name])
        units = torch.from_numpy(seen.sum(axis=1).astype(np.float64))
        patterns = torch.stack([captured[name] for name in names], dim=1).double().cpu()
        of_pair = np.where(seen[:, None, :], classes.matrix(batch), NO_QUERY)
        yield batch, torch.from_numpy(seen), torch.from_numpy(of_pair), patterns * rearrange(units, "n -> n 1 1 1 1")
