"""What is measured of many models at once: the contrast of their values and the classes of their attention."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mechbp.theory.topics.pairs import PairClasses


def class_means(pairs: PairClasses, table: Float[Tensor, "run word word"]) -> tuple[Tensor, Tensor, Tensor]:
    """Return means over a word with itself, with another word of its topic, and with a word of another topic."""
    masks = (pairs.own, pairs.same, pairs.different)
    total = [(table * torch.as_tensor(mask)).sum(dim=(1, 2)) / int(mask.sum()) for mask in masks]
    return total[0], total[1], total[2]


def measured(
    pairs: PairClasses, weight: Float[Tensor, "run query key"], values: Float[Tensor, "run key word"]
) -> dict[str, Tensor]:
    """Return "contrast" and the attention ratios "same", "mask" and "self", [run] each.

    Contrast: mean value over pairs of one topic, a word with itself included, less that over other pairs. Ratios: of attention to
    another word of the same topic, and to MASK, over that to a word of another; and of attention to the word shown over that to
    another of its topic. A query's weights count relative to their mean. NaN where a class is empty.
    """
    own, same, different = class_means(pairs, values[:, :-1])
    n_own = int(pairs.own.sum())
    n_same = int(pairs.same.sum())
    block = (n_own * own + n_same * same.nan_to_num()) / (n_own + n_same)
    if weight.shape[1] == 1:
        ratios = dict.fromkeys(("same", "mask", "self"), torch.ones_like(own))
        return {"contrast": block - different, **ratios}
    relative = (weight / weight.mean(dim=2, keepdim=True))[:, :-1]
    to_self, to_same, to_different = class_means(pairs, relative[..., :-1])
    to_mask = relative[..., -1].mean(dim=1)
    return {
        "contrast": block - different,
        "same": to_same / to_different,
        "mask": to_mask / to_different,
        "self": to_self / to_same,
    }
