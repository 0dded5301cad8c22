"""Ask a model to sort: with the true values before every answer, or with its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from mechbp.errors import InputError
from mechbp.hooks import HookedModel, forward, require_hooked, to_tokens
from mechbp.processes.sorting.sorted_lists import SortedLists

BATCH = 512

Forward = Callable[[Int[Tensor, "batch position"]], Float[Tensor, "batch position output"]]
"""Logits of token sequences of any length: a model, edited or not."""


def rollout(
    model: HookedModel, process: SortedLists, lists: Int[np.ndarray, "n length"], *, batch_size: int = BATCH
) -> Int[np.ndarray, "n length"]:
    """Return what the model answers, one token after another, each the likeliest (the first one if tied) given those before it.

    Tokens that are no values are fed back like all others. Raises InputError for lists that are none of the process's length.
    """
    require_hooked(model)
    return emitted_tokens(partial(forward, model), model, process, lists, batch_size=batch_size)


@torch.no_grad()
def emitted_tokens(
    run: Forward, model: HookedModel, process: SortedLists, lists: Int[np.ndarray, "n length"], *, batch_size: int = BATCH
) -> Int[np.ndarray, "n length"]:
    """Return what `rollout` does, for a forward pass of one's own over `model`'s tokens."""
    if lists.ndim != 2 or lists.shape[1] != process.length or batch_size < 1:
        raise InputError(
            f"rollout: need lists [n, {process.length}] and a batch_size >= 1, got {list(lists.shape)} and {batch_size}."
        )
    prompts = to_tokens(model, np.hstack([lists, np.full((len(lists), 1), process.separator)]))
    found = []
    for shown in prompts.split(batch_size):
        for _ in range(process.length):
            chosen = run(shown)[:, -1].argmax(dim=-1, keepdim=True)
            shown = torch.cat([shown, chosen], dim=1)
        found.append(shown[:, process.length + 1 :].cpu().numpy())
    return np.concatenate(found)


@torch.no_grad()
def asked_logits(
    run: Forward, model: HookedModel, process: SortedLists, tokens: Int[np.ndarray, "n _positions"], *, batch_size: int = BATCH
) -> Float64[np.ndarray, "n length output"]:
    """Return logits after SEP, b_1, .. b_{n-1} of whole sequences, teacher forced; the last token, never asked, is not shown.

    Raises InputError for sequences that are not [n, 2 length + 1].
    """
    if tokens.ndim != 2 or tokens.shape[1] != process.n_tokens or batch_size < 1:
        raise InputError(
            f"asked_logits: need sequences [n, {process.n_tokens}] and a batch_size >= 1, got {list(tokens.shape)} and "
            f"{batch_size}."
        )
    shown = to_tokens(model, tokens[:, :-1])
    return torch.cat([run(part)[:, process.length :].double().cpu() for part in shown.split(batch_size)]).cpu().numpy()
