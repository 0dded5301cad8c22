"""For tests on sorters: sequences of every list of a small design, an untrained model, token-level circuits from the weights."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import torch

from mechbp.models.architectures import HookedTransformer, build_model
from mechbp.models.config import ModelConfig
from mechbp.processes.sorting.sorted_lists import SortedLists


def every_list(vocab_size: int, length: int, *, orders: bool = False) -> tuple[SortedLists, np.ndarray]:
    """The design without window or gap, and whole sequences: of every set once, in a random order each, or in every order."""
    lists = SortedLists(vocab_size, length)
    if orders:
        drawn = np.array(list(permutations(range(vocab_size), length)))
    else:
        drawn = np.random.default_rng(0).permuted(np.array(list(combinations(range(vocab_size), length))), axis=1)
    separators = np.full((len(drawn), 1), lists.separator)
    return lists, np.hstack([drawn, separators, np.sort(drawn, axis=1)])


def weight_circuits(model) -> tuple[np.ndarray, np.ndarray]:
    """W_E W_V W_O W_U and (W_E W_Q + b_Q) (W_E W_K)^T of every head of the first block, over the values and SEP as a query."""
    attention = model.blocks[0].attn
    embedded, unembed = (weight.detach().double().numpy() for weight in (model.embed.W_E, model.unembed.W_U))
    q, k, v, o = (getattr(attention, f"W_{letter}").detach().double().numpy() for letter in "QKVO")
    values = len(embedded) - 1
    ov = np.stack([embedded @ value @ output @ unembed for value, output in zip(v, o, strict=True)])
    qk = np.stack([embedded @ query @ (embedded @ key).T for query, key in zip(q, k, strict=True)])
    return ov[:, :values, :values], qk[:, :, :values]


def untrained_sorter(seed: int = 0) -> HookedTransformer:
    """Two heads with random weights for 3 of 8 values, in float64; no bias is 0 and no scale of a norm 1."""
    config = ModelConfig(1, 2, 16, 0, "gelu", "LN", "causal", d_head=8)
    model = build_model(config, d_vocab=9, d_vocab_out=9, n_ctx=7, seed=seed).to(torch.float64)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.rpartition(".")[2].startswith(("b", "w")):
                parameter += 0.3 * torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
    return model
