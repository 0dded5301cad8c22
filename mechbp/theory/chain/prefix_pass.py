"""Run a causal model once per distinct prefix of a process's words, not once per position of every word.

Words are a tree of prefixes: the activation after a prefix is that of its parent's continuation by one token. A model that keeps
keys and values (`past_kv_cache`) is run level by level on the newest tokens alone; any other model is run on whole words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechbp.brief import Brief
from mechbp.hooks import HookedModel, accepts, capture, layer_of, to_tokens
from mechbp.processes.chain.words import Words

BATCH = 4096
"""Prefixes at a time."""


@dataclass(frozen=True, eq=False, repr=False)
class Level(Brief):
    """Prefixes of one length, in their order."""

    first: int
    """Number of the first of them."""
    tokens: Int[np.ndarray, " n"]
    """Their last tokens."""
    parents: Int[np.ndarray, " n"]
    """Which prefix of the level before they continue."""


def levels(words: Words) -> list[Level]:
    """Return the prefixes by length, the shortest first."""
    found = []
    before = 0
    word, position = np.divmod(words.first_of_prefix, words.tokens.shape[1])
    for place in range(words.tokens.shape[1]):
        ids = np.flatnonzero(position == place)
        owner = word[ids]
        parents = words.prefix[owner, place - 1] - before if place else np.zeros(len(ids), np.int64)
        found.append(Level(int(ids[0]), words.tokens[owner, place], parents))
        before = int(ids[0])
    return found


def can_continue(model: HookedModel) -> bool:
    """Return whether a model can be run on newest tokens alone: it keeps keys and values, and no edit waits for whole words."""
    edited = any(point._forward_hooks or point._forward_pre_hooks for point in model.hook_dict.values())  # type: ignore[attr-defined]
    return accepts(model, "past_kv_cache", "attention_mask") and not edited


def prefix_pass(
    model: HookedModel, words: Words, hooks: Sequence[str], *, answers: bool = True
) -> Iterator[tuple[slice, dict[str, Float[Tensor, "n 1 *rest"]], Float[Tensor, "n 1 q"]]]:
    """Yield batches of prefixes of one length: their numbers, the activations at their last tokens, and logits.

    Without `answers` the model runs only as deep as the hooks, and what it returns in place of logits is of no use.
    Keys of an attention pattern are all tokens of the prefix. Needs a model that `can_continue`.
    """
    runner: Any = model
    depth = _depth(hooks) if not answers else {}
    above: list[tuple[Tensor, Tensor]] = []
    every = levels(words)
    for level in every:
        last = level is every[-1]
        kept = []
        for start in range(0, len(level.tokens), BATCH):
            rows = slice(start, start + BATCH)
            parents = torch.from_numpy(level.parents[rows])
            tokens = to_tokens(model, level.tokens[rows, None])
            cache = _Cache.after(model, above, parents)
            found: dict[str, Tensor] = {}
            watch = [(name, lambda value, hook, found=found: found.update({hook.name: value.clone()})) for name in hooks]
            with torch.no_grad():
                logits = runner.run_with_hooks(
                    tokens, fwd_hooks=watch, past_kv_cache=cache, attention_mask=torch.ones_like(tokens), **depth
                )
            yield slice(level.first + start, level.first + start + len(tokens)), found, logits
            if not last:
                kept.append([(entry.past_keys, entry.past_values) for entry in cache.entries])
        if not last:
            above = [tuple(torch.cat(part) for part in zip(*layer, strict=True)) for layer in zip(*kept, strict=True)]  # type: ignore[misc]


def hook_names(model: HookedModel, words: Words, hooks: str | Sequence[str]) -> list[str]:
    """Return the hooks that patterns match, checked as `capture` checks them on one word."""
    return list(capture(model, words.tokens[:1], hooks))


def _depth(hooks: Sequence[str]) -> dict[str, int]:
    layers = [layer_of(name) for name in hooks]
    known = [layer for layer in layers if layer is not None]
    return {"stop_at_layer": max(known) + 1} if len(known) == len(layers) else {}


@dataclass(eq=False)
class _Entry:
    """Keys and values of one layer, as TransformerLens asks for them."""

    past_keys: Float[Tensor, "n position head d_head"]
    past_values: Float[Tensor, "n position head d_head"]

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add the newest token's and return all."""
        self.past_keys = torch.cat([self.past_keys, keys], dim=1)
        self.past_values = torch.cat([self.past_values, values], dim=1)
        return self.past_keys, self.past_values


@dataclass(eq=False)
class _Cache:
    """What the tokens before have left in every layer."""

    entries: list[_Entry] = field(default_factory=list)

    @classmethod
    def after(cls, model: HookedModel, above: list[tuple[Tensor, Tensor]], parents: Int[Tensor, " n"]) -> _Cache:
        """Return the keys and values of the prefixes continued, none before the first token."""
        if above:
            return cls([_Entry(keys[parents], values[parents]) for keys, values in above])
        cfg = model.cfg
        heads = getattr(cfg, "n_key_value_heads", None) or cfg.n_heads
        parameter = next(iter(model.parameters()))  # type: ignore[attr-defined]
        empty = parameter.new_empty((len(parents), 0, heads, cfg.d_head))
        return cls([_Entry(empty, empty) for _ in range(cfg.n_layers)])

    def __getitem__(self, layer: int) -> _Entry:
        return self.entries[layer]

    def append_attention_mask(self, newest: Tensor) -> Tensor:
        """Return a mask that hides nothing."""
        return newest.new_ones((len(newest), self.entries[0].past_keys.shape[1] + 1))
