"""Activations and answers of a causal model on every word of a process, each distinct prefix once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int

from mechbp.errors import InputError
from mechbp.hooks import HookedModel, capture, to_tokens
from mechbp.methods.interchange.continuation import Continuation
from mechbp.processes.chain.words import Words
from mechbp.theory.chain.prefix_pass import can_continue, hook_names, prefix_pass

BATCH = 1024


def prefix_activations(
    model: HookedModel, words: Words, hooks: str | Iterable[str]
) -> dict[str, Float32[np.ndarray, "prefix d"]]:
    """Return {hook name: activation at the last token of every prefix}, trailing axes flattened.

    Raises InputError where the model is not causal: it would see more of a word than the prefix.
    """
    return _run(model, words, hooks, answers=False)[0]


def prefix_answers(model: HookedModel, words: Words) -> Float64[np.ndarray, "prefix token"]:
    """Return the model's probabilities of the next token after every prefix, softmax taken in float64."""
    return _run(model, words, (), answers=True)[1]


def activations_and_answers(
    model: HookedModel, words: Words, hooks: str | Iterable[str]
) -> tuple[dict[str, Float32[np.ndarray, "prefix _d"]], Float64[np.ndarray, "prefix token"]]:
    """Return what `prefix_activations` and `prefix_answers` return, of one pass."""
    return _run(model, words, hooks, answers=True)


@torch.no_grad()
def _run(
    model: HookedModel, words: Words, hooks: str | Iterable[str], *, answers: bool
) -> tuple[dict[str, Float32[np.ndarray, "prefix _d"]], Float64[np.ndarray, "_answer token"]]:
    """Activations and, where wanted, answers: prefix by prefix where the model can, else word by word."""
    _check_causal(model)
    names = hook_names(model, words, hooks if isinstance(hooks, str) else list(hooks)) if hooks else []
    found: dict[str, np.ndarray] = {}
    said = np.empty((0, 0))

    def keep(table: np.ndarray | None, rows: slice | np.ndarray, values: np.ndarray) -> np.ndarray:
        table = np.empty((words.n_prefixes, values.shape[1]), values.dtype) if table is None else table
        table[rows] = values
        return table

    if can_continue(model):
        for rows, values, logits in prefix_pass(model, words, names, answers=answers):
            for name in names:
                found[name] = keep(found.get(name), rows, values[name].float().flatten(1).cpu().numpy())
            if answers:
                said = keep(said if said.size else None, rows, logits[:, -1].double().softmax(dim=-1).cpu().numpy())
        return found, said
    first = words.first_of_prefix
    length = words.tokens.shape[1]
    whole: Any = model
    for start in range(0, len(words.tokens), BATCH):
        tokens = words.tokens[start : start + BATCH]
        inside = np.flatnonzero((first >= start * length) & (first < (start + BATCH) * length))
        at = first[inside] - start * length
        for name, activation in (capture(model, tokens, names) if names else {}).items():
            found[name] = keep(found.get(name), inside, activation.flatten(0, 1).flatten(1).float().cpu().numpy()[at])
        if answers:
            probabilities = whole(to_tokens(model, tokens)).double().softmax(dim=-1).flatten(0, 1).cpu().numpy()
            said = keep(said if said.size else None, inside, probabilities[at])
    return found, said


@torch.no_grad()
def rewritten_answers(
    model: HookedModel,
    words: Words,
    hook: str,
    stream: Callable[[Int[np.ndarray, "word length"]], Float[np.ndarray, "word length d"]],
) -> Float64[np.ndarray, "prefix token"]:
    """Return the probabilities after every prefix in runs that hold `stream(tokens)` at a hook instead of their own activation.

    Raises HookError for a hook that is not [n, position, d].
    """
    _check_causal(model)
    place = Continuation.at(model, hook)
    parts = []
    for start in range(0, len(words.tokens), BATCH):
        tokens = words.tokens[start : start + BATCH]
        like = place.activation(tokens)
        logits = place.logits(tokens, torch.from_numpy(np.ascontiguousarray(stream(tokens))).to(like))
        parts.append(logits.double().softmax(dim=-1).cpu().numpy())
    return words.of_prefixes(np.concatenate(parts))


@torch.no_grad()
def finished_answers(
    model: HookedModel, hook: str, stream: Float64[np.ndarray, "prefix d"]
) -> Float64[np.ndarray, "prefix token"]:
    """Return the probabilities that follow from rows of a stream after which no attention is left: one position at a time."""
    place = Continuation.at(model, hook)
    parts = []
    like = place.activation(np.zeros((1, 1), np.int64))
    for start in range(0, len(stream), BATCH):
        rows = torch.from_numpy(stream[start : start + BATCH, None]).to(like)
        logits = place.logits(np.zeros((len(rows), 1), np.int64), rows)
        parts.append(logits[:, 0].double().softmax(dim=-1).cpu().numpy())
    return np.concatenate(parts)


def _check_causal(model: HookedModel) -> None:
    if getattr(model.cfg, "attention_dir", "causal") != "causal":
        raise InputError(
            "prefix activations: the model looks ahead, so an activation is not that of a prefix. Pass a causal model."
        )
