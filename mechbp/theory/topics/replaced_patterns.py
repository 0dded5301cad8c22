"""Attention put in place of a model's own, class of key by class of key: what the model loses says what it needs.

That attention differs between classes of keys is no evidence that the model needs the difference: with the mean of each class in
place of all single patterns, and the means of two classes made one, the loss decides.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from mechbp.errors import InputError
from mechbp.hooks import HookedModel, edit, forward, to_tokens
from mechbp.methods.attention.patterns import pattern_hooks
from mechbp.theory.topics.hidden_words import Shown
from mechbp.theory.topics.key_classes import (
    BATCH,
    CLASSES,
    DIFF,
    SAME,
    SELF,
    WORD,
    ClassAttention,
    KeyClasses,
    class_weights,
    pattern_of_weights,
)

BY_CLASS = "class averages"
MERGED = "same and different alike"
SHOWN_WORDS = "all shown words alike"
UNIFORM = "uniform"
REPLACEMENTS = (BY_CLASS, MERGED, SHOWN_WORDS, UNIFORM)
"""What stands in for patterns. "all shown words alike" makes the histogram that exact inference reads."""

Weights = Float64[np.ndarray, "layer head class"]


def replacement_weights(name: str, found: ClassAttention) -> Weights:
    """Return the weight that a stand-in gives to a key of each class. Raises InputError for another name."""
    shape = found.mean.shape
    if name == BY_CLASS:
        return class_weights(found)
    if name == MERGED:
        return class_weights(found, merged=((SAME, DIFF),))
    if name == SHOWN_WORDS:
        shown = [member in (SELF, SAME, DIFF, WORD) for member in range(len(CLASSES))]
        return np.broadcast_to(np.array(shown, np.float64), shape).copy()
    if name == UNIFORM:
        return np.ones(shape)
    raise InputError(f"replacement_weights: unknown stand-in {name!r:.40}; there are {', '.join(REPLACEMENTS)}.")


@torch.no_grad()
def replaced_answers(
    model: HookedModel, shown: Shown, classes: KeyClasses, weights: Weights, layers: tuple[int, ...] | None = None
) -> Float64[np.ndarray, "n position word"]:
    """Return what a model answers with patterns of class weights in some blocks, by default all; softmax in float64.

    No layers: the unedited answers. A pattern gives every key the weight of its class, divided by the row's total.
    Raises InputError for layers that the model lacks.
    """
    names = pattern_hooks(model)
    chosen = range(len(names)) if layers is None else layers
    if not set(chosen) <= set(range(len(names))) or len(weights) != len(names):
        raise InputError(
            f"replaced_answers: need weights of {len(names)} layers, and layers among them, got {len(weights)}, {layers}."
        )
    answers = []
    for start in range(0, len(shown), BATCH):
        batch = to_tokens(model, shown[start : start + BATCH])
        of_pair = torch.from_numpy(classes.matrix(shown[start : start + BATCH]))
        edits = {names[layer]: partial(_instead, of_pair, weights[layer]) for layer in chosen}
        if edits:
            with edit(model, edits):
                logits = forward(model, batch)
        else:
            logits = forward(model, batch)
        answers.append(logits.double().softmax(dim=-1).cpu().numpy())
    return np.concatenate(answers)


def _instead(of_pair: Tensor, weights: Float64[np.ndarray, "head class"], activation: Tensor) -> Tensor:
    return pattern_of_weights(of_pair, weights).to(activation)
