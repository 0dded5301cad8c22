"""Activations and answers of a causal model on every word of a process, each distinct prefix once."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int

from mechbp.errors import InputError
from mechbp.hooks import HookedModel, capture, to_tokens
from mechbp.methods.interchange.continuation import Continuation
from mechbp.processes.chain.words import Words

BATCH = 1024


def prefix_activations(
    model: HookedModel, words: Words, hooks: str | Iterable[str]
) -> dict[str, Float32[np.ndarray, "prefix d"]]:
    """Return {hook name: activation at the last token of every prefix}, trailing axes flattened.

    Raises InputError where the model is not causal: it would see more of a word than the prefix.
    """
    _check_causal(model)
    first, length = words.first_of_prefix, words.tokens.shape[1]
    found: dict[str, np.ndarray] = {}
    for start in range(0, len(words.tokens), BATCH):
        inside = np.flatnonzero((first >= start * length) & (first < (start + BATCH) * length))
        for name, activation in capture(model, words.tokens[start : start + BATCH], hooks).items():
            flat = activation.reshape(-1, int(np.prod(activation.shape[2:]))).float().cpu().numpy()
            rows = found.setdefault(name, np.empty((words.n_prefixes, flat.shape[1]), np.float32))
            rows[inside] = flat[first[inside] - start * length]
    return found


@torch.no_grad()
def prefix_answers(model: HookedModel, words: Words) -> Float64[np.ndarray, "prefix token"]:
    """Return the model's probabilities of the next token after every prefix, softmax taken in float64."""
    _check_causal(model)
    run: object = model
    parts = [
        run(to_tokens(model, words.tokens[start : start + BATCH])).double().softmax(dim=-1).cpu().numpy()  # type: ignore[operator]
        for start in range(0, len(words.tokens), BATCH)
    ]
    return words.of_prefixes(np.concatenate(parts))


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
    place, parts = Continuation.at(model, hook), []
    for start in range(0, len(words.tokens), BATCH):
        tokens = words.tokens[start : start + BATCH]
        like = place.activation(tokens)
        logits = place.logits(tokens, torch.from_numpy(np.ascontiguousarray(stream(tokens))).to(like))
        parts.append(logits.double().softmax(dim=-1).cpu().numpy())
    return words.of_prefixes(np.concatenate(parts))


def _check_causal(model: HookedModel) -> None:
    if getattr(model.cfg, "attention_dir", "causal") != "causal":
        raise InputError(
            "prefix activations: the model looks ahead, so an activation is not that of a prefix. Pass a causal model."
        )
