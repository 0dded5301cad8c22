"""The tables that make up a one-block model: what each token embeds and what each head writes for it, position by position.

Before the first attention an activation depends on token and position alone, so a handful of forward passes lists all of them,
and the stream after attention is x_pre[d, z_d] + sum over heads and sources of A[d, s] v[s, z_s] + b_O.
(Source: Piotrowski et al. 2025, Eqs. 3-4.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from einops import einsum, rearrange
from jaxtyping import Float32, Float64, Int

from mechbp.brief import Brief
from mechbp.figures.picture import Picture
from mechbp.finite import check_rows
from mechbp.hooks import HookedModel, capture
from mechbp.methods.shown import Shown
from mechbp.methods.telling import frame, panel
from mechbp.processes.chain.words import Words
from mechbp.theory.chain.prefix_activations import prefix_activations
from mechbp.theory.chain.prefix_pass import can_continue, levels, prefix_pass

PATTERN = "blocks.0.attn.hook_pattern"
VALUES = "blocks.0.attn.hook_v"
BATCH = 2048


@dataclass(frozen=True, eq=False, repr=False)
class OneBlock(Brief):
    """Tables of the first block."""

    embedded: Float64[np.ndarray, "position token d"]
    """x_pre: token and position embedding."""
    written: Float64[np.ndarray, "head position token d"]
    """v: what a head writes where it attends to that token at that position, without the bias."""
    bias: Float64[np.ndarray, " d"]
    """b_O, added once."""

    def after_attention(
        self, tokens: Int[np.ndarray, "n length"], pattern: Float64[np.ndarray, "n head length length"]
    ) -> Float64[np.ndarray, "n length d"]:
        """Return the stream after attention that these tables give under a pattern."""
        place = np.arange(tokens.shape[1])
        values = self.written[:, place, tokens]  # [head, n, position, d]
        mixed = einsum(pattern, values, "n head destination source, head n source d -> n destination d")
        return self.embedded[place, tokens] + mixed + self.bias

    def after_prefixes(
        self, words: Words, pattern: Float64[np.ndarray, "head destination source"]
    ) -> Float64[np.ndarray, "prefix d"]:
        """Return the same at the last token of every prefix, under one pattern for all words."""
        parts = []
        seen = np.zeros((1, 0), np.int64)
        for place, level in enumerate(levels(words)):
            seen = np.hstack([seen[level.parents], level.tokens[:, None]])
            sources = np.arange(place + 1)
            written = einsum(
                pattern[:, place, sources], self.written[:, sources], "head source, head source token d -> source token d"
            )
            shown = rearrange(np.eye(written.shape[1])[seen], "n source token -> n (source token)")
            mixed = shown @ rearrange(written, "source token d -> (source token) d")
            parts.append(self.embedded[place, level.tokens] + mixed + self.bias)
        return np.concatenate(parts)


@dataclass(frozen=True, eq=False, repr=False)
class MeanPattern(Shown):
    """Attention averaged over words, each counted once."""

    mean: Float64[np.ndarray, "head destination source"]
    spread: Float64[np.ndarray, "head destination source"]
    """Standard deviation over words: how far a pattern depends on the tokens."""
    n: int

    def picture(self) -> Picture:
        """Draw the mean pattern of every head, destination down and source across."""
        heads, destinations, sources = self.mean.shape
        return Picture(
            kind="heatmap",
            title="Mean attention of the first block",
            caption=f"Mean over n = {self.n:,} words, each counted once; rows sum to 1. The largest standard deviation over "
            f"words is {self.spread.max():.3g}: near 0 a pattern does not depend on the tokens.",
            alt=f"Heat maps of attention, one per head ({heads}): destination down, source across.",
            data={
                "rows": [str(place) for place in range(destinations)],
                "columns": [str(place) for place in range(sources)],
                "value_title": "attention",
                "row_title": "destination",
                "column_title": "source",
                "panels": [panel(f"head {head}", self.mean[head]) for head in range(heads)],
            },
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per head, destination and source: mean attention, and its standard deviation over words."""
        heads, destinations, sources = self.mean.shape
        axes = {"head": range(heads), "destination": range(destinations), "source": range(sources)}
        return frame(axes, {"attention": self.mean, "standard_deviation": self.spread}).assign(n=self.n)

    def summary(self) -> str:
        """Return how far patterns depend on the tokens, and n."""
        spread = ", ".join(f"head {head} {value:.3g}" for head, value in enumerate(self.spread.max(axis=(1, 2))))
        return f"largest standard deviation of attention over words: {spread}\nn = {self.n:,} words"


def one_block(model: HookedModel, n_tokens: int, length: int) -> OneBlock:
    """Return the tables of the first block for tokens 0..n_tokens-1 at positions 0..length-1."""
    constant = np.repeat(np.arange(n_tokens)[:, None], length, axis=1)
    found = capture(model, constant, ["blocks.0.hook_resid_pre", VALUES])
    parts: Any = model
    attention = parts.blocks[0].attn
    with torch.no_grad():
        written = torch.einsum("zphe,hed->hpzd", found[VALUES].double(), attention.W_O.double())
        bias = attention.b_O.double()
    embedded = found["blocks.0.hook_resid_pre"].double().transpose(0, 1)
    return OneBlock(*(part.cpu().numpy() for part in (embedded, written, bias)))


def mean_pattern_over(model: HookedModel, words: Words) -> MeanPattern:
    """Return the first block's attention, averaged over all words."""
    return pattern_and_activations(model, words, ())[0]


def pattern_and_activations(
    model: HookedModel, words: Words, hooks: Sequence[str]
) -> tuple[MeanPattern, dict[str, Float32[np.ndarray, "prefix d"]]]:
    """Return the first block's attention, averaged over all words, and activations [n, position, d] after every prefix.

    One pass gives both where the model can be run prefix by prefix.
    """
    if can_continue(model):
        total, squares, found = _summed_by_prefix(model, words, hooks)
    else:
        total, squares = _summed_by_word(model, words)
        found = prefix_activations(model, words, hooks) if hooks else {}
    n = len(words.tokens)
    mean = np.asarray(total / n)
    return MeanPattern(mean, np.sqrt(np.maximum(squares / n - np.square(mean), 0.0)), n), found


def _summed_by_prefix(
    model: HookedModel, words: Words, hooks: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Sums of the pattern and of its square over words, which share rows of it where they share a prefix; activations."""
    length = words.tokens.shape[1]
    counts = np.bincount(words.prefix.ravel()).astype(np.float64)
    total, squares = np.zeros((2, int(model.cfg.n_heads), length, length))
    found: dict[str, np.ndarray] = {}
    for rows, seen, _ in prefix_pass(model, words, [PATTERN, *hooks], answers=False):
        row = seen[PATTERN][:, :, 0].double().cpu().numpy()
        last = row.shape[-1]
        total[:, last - 1, :last] += einsum(counts[rows], row, "n, n head source -> head source")
        squares[:, last - 1, :last] += einsum(counts[rows], np.square(row), "n, n head source -> head source")
        for name in hooks:
            values = seen[name][:, 0].float().cpu().numpy()
            found.setdefault(name, np.empty((words.n_prefixes, values.shape[1]), np.float32))[rows] = values
    return total, squares, found


def _summed_by_word(model: HookedModel, words: Words) -> tuple[np.ndarray, np.ndarray]:
    total = np.zeros(())
    squares = np.zeros(())
    for start in range(0, len(words.tokens), BATCH):
        found = capture(model, words.tokens[start : start + BATCH], PATTERN)[PATTERN]
        pattern = check_rows("first_block", PATTERN, found).double().cpu().numpy()
        total = total + pattern.sum(axis=0)
        squares = squares + np.square(pattern).sum(axis=0)
    return total, squares
