"""A model with planted attention: patterns are given, everything else is a small linear network with TransformerLens's hooks."""

from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn

SYMBOLS = 6


class PatternModel(nn.Module):
    """Attends as told: `patterns` [layer, head, query, key]; `wobble` mixes in a share of token-dependent attention."""

    def __init__(self, patterns: np.ndarray, wobble: float = 0.0, seed: int = 0) -> None:
        super().__init__()
        layers, heads, positions, _ = patterns.shape
        draw = np.random.default_rng(seed)
        self.patterns, self.wobble = torch.tensor(patterns, dtype=torch.float32), wobble
        self.mixing = torch.tensor(draw.normal(size=(layers, heads, SYMBOLS, SYMBOLS)), dtype=torch.float32)
        self.keys = torch.tensor(draw.normal(size=(SYMBOLS,)), dtype=torch.float32)
        self.hook_dict = {}
        for layer in range(layers):
            self.hook_dict[f"blocks.{layer}.attn.hook_pattern"] = nn.Identity()
            self.hook_dict[f"blocks.{layer}.hook_resid_post"] = nn.Identity()
        self.points = nn.ModuleList(self.hook_dict.values())
        self.cfg = SimpleNamespace(n_layers=layers, n_heads=heads, n_ctx=positions)
        self.eval()

    def forward(self, tokens: Tensor) -> Tensor:
        stream = nn.functional.one_hot(tokens, SYMBOLS).float()
        attention = torch.softmax(self.keys[tokens], dim=-1)[:, None, None, :]
        for layer, pattern in enumerate(self.patterns):
            mixed = (1 - self.wobble) * pattern + self.wobble * attention
            seen = self.hook_dict[f"blocks.{layer}.attn.hook_pattern"](mixed.expand(len(tokens), *pattern.shape).clone())
            moved = torch.einsum("bhqk,bkd,hde->bqe", seen, stream, self.mixing[layer])
            stream = self.hook_dict[f"blocks.{layer}.hook_resid_post"](torch.tanh(stream + moved))
        return stream[..., :4]

    def run_with_hooks(self, tokens: Tensor, fwd_hooks: list) -> Tensor:
        assert not fwd_hooks
        return self(tokens)

    def run_with_cache(self, tokens: Tensor) -> tuple[Tensor, dict]:
        raise NotImplementedError
