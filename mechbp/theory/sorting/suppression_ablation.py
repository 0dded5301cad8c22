"""Keep of a head only what copy suppression is, and see whether its effect stays.

Suppression takes down the logits of tokens named before. Of head h at position p there is kept

    sum_s A[p, s] min(0, x_s . u_s) / |u_s|^2 u_s,    x_s = v_s W_O,    u_s = the unembedding of the token at s

over sources s that hold a value named so far: attention to all else goes, and so does all that is not written against the token
attended to. What goes is replaced by nothing or by its own mean over reference sequences. u is taken as the last layer norm lets
it through: scaled by the norm's weights, centred over outputs (a change of all logits is none) and over d_model (which the norm
takes off). If the answers with this much left are those of the whole head, the head suppresses; if they are those without it,
it does something else. (After the idea of ablations that preserve copy suppression in language models; plain derivation.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from einops import einsum
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechbp.errors import InputError
from mechbp.hooks import HookedModel, capture, edit, forward, to_tokens
from mechbp.methods.patching.ablate import Mean
from mechbp.processes.sorting.sorted_lists import SortedLists
from mechbp.theory.sorting.answer_scores import AnswerScores
from mechbp.theory.sorting.head_ablation import Z, checked_heads, scores_of
from mechbp.theory.sorting.rollout import BATCH, Forward

V_HOOK, PATTERN, OUT = "blocks.0.attn.hook_v", "blocks.0.attn.hook_pattern", "blocks.0.hook_attn_out"

Sources = Literal["answer", "anywhere"]


def suppression_scores(
    model: HookedModel,
    process: SortedLists,
    tokens: Int[np.ndarray, "n _positions"],
    heads: Sequence[int],
    stand_in: Literal["zero"] | Mean,
    *,
    rng: np.random.Generator,
    sources: Sources = "answer",
    roll_out: bool = True,
    batch_size: int = BATCH,
) -> AnswerScores:
    """Return how the model sorts with only the suppression of some heads of the first block left of them.

    stand_in: what replaces the rest, "zero" or Mean(whole reference sequences). sources: "answer" keeps attention to the values
    behind SEP, "anywhere" also to the same values in the list.
    Raises InputError for heads that the model lacks, other arguments, or sequences that do not fit.
    """
    run = suppression_forward(model, process, heads, stand_in, sources=sources, batch_size=batch_size)
    return scores_of(run, model, process, tokens, rng=rng, roll_out=roll_out, batch_size=batch_size)


@torch.no_grad()
def suppression_forward(
    model: HookedModel,
    process: SortedLists,
    heads: Sequence[int],
    stand_in: Literal["zero"] | Mean,
    *,
    sources: Sources = "answer",
    batch_size: int = BATCH,
) -> Forward:
    """Return the forward pass of the model with only the suppression of some heads left of them."""
    where = "suppression_scores"
    chosen = checked_heads(model, heads, where)
    if sources not in get_args(Sources):
        raise InputError(f"{where}: sources must be 'answer' or 'anywhere', got {sources!r:.40}.")
    directions = unembedding_directions(model)[: process.vocab_size]
    output: Any = model.blocks[0].attn.W_O  # type: ignore[attr-defined]

    def removed(rows: Tensor, v: Tensor, pattern: Tensor, z: Tensor) -> Tensor:
        """What is not kept of the chosen heads, [batch, position, d]."""
        whole = einsum(z[:, :, chosen], output[chosen], "batch q head c, head c d -> batch q d")
        written = einsum(v[:, :, chosen], output[chosen], "batch k head c, head c d -> batch k head d")
        kept = named_sources(rows, process, sources)
        along = directions[rows.clamp(max=process.vocab_size - 1)]
        against = einsum(written, along, "batch k head d, batch k d -> batch head k").clamp(max=0)
        against = against / along.square().sum(dim=-1)[:, None]
        weight = (pattern[:, chosen] * against[:, :, None] * kept[:, None]).sum(dim=1)
        return whole - einsum(weight, along, "batch q k, batch k d -> batch q d")

    mean: Tensor | float = 0.0
    if isinstance(stand_in, Mean):
        reference = to_tokens(model, np.asarray(stand_in.reference_tokens)[:, :-1])
        parts = []
        for rows in reference.split(batch_size):
            found = capture(model, rows, [V_HOOK, PATTERN, Z])
            parts.append(removed(rows, found[V_HOOK], found[PATTERN], found[Z]))
        mean = torch.cat(parts).mean(dim=0, dtype=torch.float64).to(parts[0])
    elif stand_in != "zero":
        raise InputError(f"{where}: stand_in must be 'zero' or Mean(reference_tokens), got {stand_in!r:.60}.")

    def run(rows: Tensor) -> Tensor:
        seen: dict[str, Tensor] = {}

        def keep(name: str, value: Tensor) -> Tensor:
            seen[name] = value
            return value

        def rewrite(out: Tensor) -> Tensor:
            instead = mean[: out.shape[1]] if isinstance(mean, Tensor) else mean
            return out - removed(rows, seen[V_HOOK], seen[PATTERN], seen[Z]) + instead

        watched = {name: (lambda value, name=name: keep(name, value)) for name in (V_HOOK, PATTERN, Z)}
        with edit(model, {**watched, OUT: rewrite}):
            return forward(model, rows)

    return run


def unembedding_directions(model: HookedModel) -> Float[Tensor, "output d"]:
    """Return, per output, the direction in which the stream, as the last layer norm sees it, raises its logit over the mean."""
    parts: Any = model
    weight = parts.unembed.W_U
    scale = getattr(getattr(parts, "ln_final", None), "w", None)
    if scale is not None:
        weight = weight * scale[:, None]
    weight = weight - weight.mean(dim=1, keepdim=True)
    if model.cfg.normalization_type in ("LN", "LNPre"):
        weight = weight - weight.mean(dim=0, keepdim=True)
    return weight.T


def named_sources(rows: Int[Tensor, "batch position"], process: SortedLists, sources: Sources) -> Bool[Tensor, "batch query key"]:
    """Return which keys hold a value that stands between SEP and the query, the query included."""
    positions = torch.arange(rows.shape[1], device=rows.device)
    is_value = (rows < process.vocab_size)[:, None]
    in_answer = (positions > process.length) & (positions <= positions[:, None])
    if sources == "answer":
        return in_answer & is_value
    same = rows[:, :, None] == rows[:, None]
    named = (in_answer[None, :, :, None] & same[:, None]).any(dim=2)
    return named & is_value & (positions <= positions[:, None])
