"""Does the encoder need to know which words share a topic? Attention from words to words, averaged in some heads.

Within a band of distance before or after a word, its attention to other words is spread evenly over them. How much goes to each
band stays, and so does all attention that is not from a word to another. "Over classes": over same-topic and different-topic
words alike. "Within classes": over each of the two by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from analyses.topic_text.attention import BATCH, DISTANCES, AttentionResults, band_of
from analyses.topic_text.corpus import NO_WORD, Passages
from analyses.topic_text.material import Material
from analyses.topic_text.topics import TopicFit, share_topic
from mechbp.hooks import HookedModel, edit, forward, to_tokens
from mechbp.study import Study

PER_BLOCK = 2
"""Heads of each block that are edited."""
RANDOM_SETS = 3
THRESHOLD = 0.3
"""Of the topics that make the classes: nearly every word has one."""
NOT_EDITED = -1

TOPICAL = "most topical heads, over classes"
WITHIN = "most topical heads, within classes"
WITHIN_SHUFFLED = "most topical heads, within shuffled classes"
LEAST = "least topical heads, over classes"
RANDOM = "other heads at random, over classes"
EDITS = (TOPICAL, WITHIN, WITHIN_SHUFFLED, LEAST, RANDOM)
MEASURES = ("sentence embedding", "words' outputs")

Groups = Int[np.ndarray, "passage query key"]
"""Keys of equal number are averaged for a query; NOT_EDITED is left alone."""


@dataclass(frozen=True, eq=False)
class EditResults:
    """Change that each edit makes, one per passage: 1 - cosine between outputs with and without it."""

    n_passages: int
    fit: str
    """The fit whose topics make the classes."""
    heads: dict[str, list[list[int]]]
    """Set of heads -> heads of each block."""
    changes: dict[str, Float64[np.ndarray, "passage measure"]]


def study_edits(study: Study, material: Material, attention: AttentionResults) -> EditResults:
    """Edit heads chosen on the even passages in the odd ones."""
    study.stage("edits")
    passages = attention.chosen[np.arange(1, len(attention.chosen), 2)]
    passages = passages[np.arange(min(study.size(24, 3), len(passages)))]
    draw = study.rng("edits")
    most, least, random_sets = head_sets(attention.topical, draw)
    fit, control = material.fits[0], material.shuffled[0]
    over = groups_of(passages, fit, within=False)
    sets = {
        TOPICAL: [(most, over)],
        WITHIN: [(most, groups_of(passages, fit, within=True))],
        WITHIN_SHUFFLED: [(most, groups_of(passages, control, within=True))],
        LEAST: [(least, over)],
        RANDOM: [(heads, over) for heads in random_sets],
    }
    model = material.encoder.model
    base = outputs(model, passages)
    changes = {
        name: np.mean([change(base, outputs(model, passages, heads, groups), passages) for heads, groups in cases], axis=0)
        for name, cases in sets.items()
    }
    return EditResults(len(passages), fit.name, {TOPICAL: most, LEAST: least}, changes)


def head_sets(
    topical: Float64[np.ndarray, "layer head"], rng: np.random.Generator
) -> tuple[list[list[int]], list[list[int]], list[list[list[int]]]]:
    """Return the most and the least topical heads of each block, and sets of as many others drawn at random."""
    order = np.argsort(-topical, axis=1)
    most, least = order[:, :PER_BLOCK], order[:, -PER_BLOCK:]
    others = order[:, PER_BLOCK:]
    drawn = [[rng.choice(row, PER_BLOCK, replace=False).tolist() for row in others] for _ in range(RANDOM_SETS)]
    return most.tolist(), least.tolist(), drawn


def groups_of(passages: Passages, fit: TopicFit, *, within: bool) -> Groups:
    """Return which keys are averaged for each query: other words with topics, by band of distance, by class too if `within`."""
    topics = fit.topics_of(THRESHOLD)
    has_topic = np.asarray(topics.any(axis=-1))
    known = (passages.words != NO_WORD) & has_topic[passages.words]
    length = passages.words.shape[1]
    signed = np.arange(length)[None, :] - np.arange(length)[:, None]
    band = 2 * band_of(np.maximum(np.abs(signed), 1)) + (signed > 0)
    same = share_topic(topics, passages.words[:, :, None], passages.words[:, None, :])
    groups = 2 * np.broadcast_to(band, same.shape) + (same if within else 0)
    edited = known[:, :, None] & known[:, None, :] & (passages.words[:, :, None] != passages.words[:, None, :])
    return np.where(edited, groups, NOT_EDITED)


def averaged(pattern: Float[Tensor, "batch head query key"], groups: Int[Tensor, "batch query key"]) -> Tensor:
    """Return the pattern with each entry of a group replaced by the group's mean for that query; each row keeps its sum."""
    n_groups = 4 * len(DISTANCES)
    slot = torch.where(groups == NOT_EDITED, n_groups, groups)[:, None].expand(pattern.shape)
    sums = pattern.new_zeros(*pattern.shape[:-1], n_groups + 1).scatter_add_(-1, slot, pattern)
    counts = torch.zeros_like(sums).scatter_add_(-1, slot, torch.ones_like(pattern))
    return torch.where(slot == n_groups, pattern, (sums / counts.clamp(min=1)).gather(-1, slot))


@torch.no_grad()
def outputs(
    model: HookedModel, passages: Passages, heads: Sequence[Sequence[int]] | None = None, groups: Groups | None = None
) -> Float64[np.ndarray, "passage position d_model"]:
    """Return the encoder's output, with the attention of the `heads` of each block averaged within `groups`, if given."""
    rows = to_tokens(model, passages.tokens)
    found = []
    for start in range(0, len(rows), BATCH):
        part = slice(start, start + BATCH)
        if heads is None or groups is None:
            found.append(forward(model, rows[part]))
            continue
        here = torch.from_numpy(groups[part])
        edits = {f"blocks.{layer}.attn.hook_pattern": partial(_edited, list(own), here) for layer, own in enumerate(heads)}
        with edit(model, edits):
            found.append(forward(model, rows[part]))
    return torch.cat(found).double().cpu().numpy()


def change(
    base: Float64[np.ndarray, "passage position d_model"],
    edited: Float64[np.ndarray, "passage position d_model"],
    passages: Passages,
) -> Float64[np.ndarray, "passage measure"]:
    """Return 1 - cosine of the mean output, which is what the encoder was tuned for, and its mean over the outputs of words."""
    sentence = 1 - _cosine(base.mean(axis=1), edited.mean(axis=1))
    is_word = passages.words != NO_WORD
    per_word = np.where(is_word, 1 - _cosine(base, edited), 0).sum(axis=1) / is_word.sum(axis=1)
    return np.stack([sentence, per_word], axis=1)


def _edited(heads: list[int], groups: Tensor, pattern: Tensor) -> Tensor:
    pattern[:, heads] = averaged(pattern[:, heads], groups)
    return pattern


def _cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    dot = (first * second).sum(axis=-1)
    return dot / np.sqrt((first**2).sum(axis=-1) * (second**2).sum(axis=-1))
