"""What comes out of a model must be numbers: methods refuse NaN and infinity by name, for no statistic survives them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from mechbp.errors import InputError

SCORES = "hook_attn_scores"
"""Attention scores are -inf where a query may not see a key, and rightly so."""


class NotFinite(InputError):
    """An activation or an output of a model is NaN or infinite."""


def check_finite(where: str, name: str, value: Tensor, first: int = 0) -> Tensor:
    """Return an activation [example, ...] or logits, or raise NotFinite naming hook, layer, example and position.

    `first` is the number of the first example. One reduction where all is well: a sum is finite only if its terms are.
    """
    if not value.is_floating_point() or value.numel() == 0 or bool(value.detach().sum().isfinite()):
        return value
    wrong = ~value.detach().isfinite()
    if name.endswith(SCORES):
        wrong &= ~value.detach().isneginf()
    if not bool(wrong.any()):  # the sum overflowed, no term is wrong
        return value
    at = [int(i) for i in np.unravel_index(int(wrong.flatten().to(torch.uint8).argmax()), wrong.shape)]
    layer = name.split(".")[1] if name.startswith("blocks.") else None
    place = [f"layer {layer}" if layer is not None else "", f"example {at[0] + first}", _inside(name, at[1:])]
    raise NotFinite(
        f"{where}: {name} is {float(value.detach()[tuple(at)])} at {', '.join(filter(None, place))} "
        f"({int(wrong.sum()):,} of {wrong.numel():,} values are NaN or infinite).\n"
        f"Look for weights that are not finite, or for overflow in {str(value.dtype).removeprefix('torch.')}: model.float() or "
        f"model.double() has more room."
    )


def check_rows(where: str, name: str, pattern: Tensor) -> Tensor:
    """Return an attention pattern [example, head, query, key], or raise NotFinite for a row of zeros.

    TransformerLens writes 0 where a softmax of NaN gives none, so that the pattern of a broken model is finite and no pattern.
    """
    empty = pattern.detach().sum(dim=-1) == 0
    if not bool(empty.any()):
        return pattern
    example, head, query = (int(i) for i in empty.nonzero()[0])
    raise NotFinite(
        f"{where}: {name} is 0 for every key at layer {name.split('.')[1]}, example {example}, head {head}, query {query}.\n"
        f"Its scores are NaN, or hide every key; look at hook_attn_scores there, and for weights that are not finite."
    )


def check_parameters(where: str, model: object) -> None:
    """Raise NotFinite, naming the parameter and the entry, for weights that are NaN or infinite."""
    for name, weights in model.named_parameters() if isinstance(model, nn.Module) else ():
        values = weights.detach()
        if values.is_floating_point() and not bool(values.sum().isfinite()) and bool((wrong := ~values.isfinite()).any()):
            at = [int(i) for i in wrong.nonzero()[0]]
            raise NotFinite(
                f"{where}: the weight {name}{at} is {float(values[tuple(at)])} ({int(wrong.sum()):,} of {wrong.numel():,} are "
                f"not finite).\nTrain or load the model again; nothing can be said of its circuits."
            )


def _inside(name: str, at: list[int]) -> str:
    """Where in one example's activation: positions come first, but for patterns and scores, [head, query, key]."""
    if not at:
        return ""
    if name.endswith(("hook_pattern", SCORES)) and len(at) == 3:
        return f"head {at[0]}, query position {at[1]}, key position {at[2]}"
    return f"position {at[0]}" + (f", entry {at[1:]}" if len(at) > 1 else "")
