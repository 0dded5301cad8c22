"""Numbers that models give on any line of TransformerLens: recorded with release 3.9, compared on every other.

To record them anew, with that release installed: PYTHONPATH=. python tests/support/line_numbers.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from mechbp.hooks import capture, firing_hooks
from mechbp.methods.patching.patch import patch
from mechbp.methods.patching.sites import SITES
from mechbp.models.architectures import hooked_transformer

RECORD = Path(__file__).resolve().parents[1] / "models" / "transformer_lens_3_9.json"
SIZES = {"n_layers": 2, "n_heads": 2, "d_model": 8, "d_head": 3, "n_ctx": 4, "d_vocab": 5, "d_vocab_out": 3}
MODELS: dict[str, dict[str, Any]] = {
    "causal, relu": {"d_mlp": 6, "act_fn": "relu"},
    "bidirectional, gelu": {"d_mlp": 6, "act_fn": "gelu", "attention_dir": "bidirectional"},
    "no norms, squared relu, one wide head": {
        "d_mlp": 6,
        "act_fn": "relu2",
        "normalization_type": None,
        "n_heads": 1,
        "d_head": 8,
    },
    "attention alone": {"attn_only": True, "act_fn": None, "attention_dir": "bidirectional"},
    "folded norms": {"d_mlp": 6, "act_fn": "gelu", "normalization_type": "LNPre"},
    "root-mean-square norms": {"d_mlp": 6, "act_fn": "relu", "normalization_type": "RMS"},
}


def model_of(settings: dict[str, Any]) -> Any:
    """A float64 model whose weights are written without a generator: its parameters in order, each a stretch of one sine."""
    model = hooked_transformer(**{**SIZES, "normalization_type": "LN", "dtype": torch.float64, **settings})
    start = 0
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            wave = (1.7 * torch.arange(start, start + parameter.numel(), dtype=torch.float64)).sin().view(parameter.shape)
            parameter.copy_(1 + 0.3 * wave if name.endswith(".w") else 0.6 * wave)
            start += parameter.numel()
    return model.eval()


def tokens(seed: int) -> torch.Tensor:
    return torch.tensor([[0, 1, 2, 3], [4, 3, 0, 1], [2, 2, 4, 0]]).roll(seed, 1)


def numbers(settings: dict[str, Any]) -> dict[str, Any]:
    """Parameters, hooks, logits, activations summed against a sine, and the mean effect of every patch."""
    model = model_of(settings)
    acts = capture(model, tokens(0), firing_hooks(model, ["*"], tokens(0)))
    names = [name for name in acts if name.rpartition(".")[2] in SITES]
    effects = patch(model, tokens(0), tokens(1), lambda logits: logits[:, -1, 1] - logits[:, -1, 0], names)
    with torch.no_grad():
        logits = model(tokens(0))
    return {
        "parameters": {name: list(parameter.shape) for name, parameter in model.named_parameters()},
        "hooks": list(model.hook_dict),
        "logits": logits.flatten().tolist(),
        "activations": {name: _summed(value) for name, value in acts.items()},
        "patches": {"/".join(map(str, cell)): value for cell, value in zip(effects.cells, effects.effect.mean, strict=True)},
    }


def _summed(value: torch.Tensor) -> float:
    finite = value.nan_to_num(neginf=0.0).flatten().double()
    return float(finite @ torch.arange(1.0, 1 + len(finite), dtype=torch.float64).sin())


if __name__ == "__main__":
    RECORD.write_text(json.dumps({name: numbers(settings) for name, settings in MODELS.items()}, indent=1) + "\n")
