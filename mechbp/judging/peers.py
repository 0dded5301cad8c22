"""Other libraries' methods as `judge` asks them, each through its own functions: TransformerLens's patching and pyvene's DAS."""

from __future__ import annotations

import contextlib
import io
import warnings
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from mechbp.errors import InputError
from mechbp.hooks import layer_of
from mechbp.judging.question import Candidate, Question
from mechbp.judging.writing import ROTATION_STEPS
from mechbp.methods.interchange.answer_heads import kl_to_reading
from mechbp.models.architectures import HookedTransformer

LEARNING_RATE = 0.1


@torch.no_grad()
def transformer_lens_patching(question: Question) -> np.ndarray:
    """`transformer_lens.patching.generic_activation_patch`, denoising: the mean metric of every patched run; no threshold."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformer_lens import ActivationCache
        from transformer_lens import patching as peer
    corrupted = torch.from_numpy(question.corrupted)
    _, cache = question.model.run_with_cache(torch.from_numpy(question.clean))
    base = float(question.metric(question.model(corrupted)).mean())
    assert isinstance(cache, ActivationCache)
    found: dict[Candidate, float] = {}
    for site in dict.fromkeys(hook.rpartition("hook_")[2] for hook in question.hooks()):
        asked = [candidate for candidate in question.candidates if candidate.hook.endswith(f".hook_{site}")]
        # It makes a name of "layer" and site: that a layer be a number it does not ask.
        layers = [candidate.hook.removeprefix("blocks.").removesuffix(f".hook_{site}") for candidate in asked]
        table = pd.DataFrame({"layer": layers, "pos": [candidate.positions for candidate in asked]})
        with mock.patch.object(peer, "tqdm", list):  # its progress bar
            values = peer.generic_activation_patch(
                question.model,
                corrupted,
                cache,
                lambda logits: question.metric(logits).mean(),
                _write_positions,
                site,
                index_df=table,
            )
        found |= dict(zip(asked, (values.double() - base).abs().tolist(), strict=True))
    return question.in_order(found)


@torch.random.fork_rng(devices=[])
def pyvene_rotation(question: Question) -> np.ndarray:
    """pyvene's `LowRankRotatedSpaceIntervention`, trained as its DAS tutorials do; scored on pairs it was not trained on.

    As many dimensions as the message has, for each position; the score is the share explained. Raises InputError where pyvene is
    not installed.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pyvene
    except ImportError:
        raise InputError("pyvene is not installed, whose DAS is asked for. pip install 'pyvene>=0.1.8,<0.2'") from None
    # Its rotations start from torch's global state, which is given back at the end: whoever moved it before changes no score.
    torch.set_rng_state(torch.Generator().manual_seed(0).get_state())
    base, source = (torch.from_numpy(rows) for rows in (question.corrupted, question.clean))
    exact = torch.from_numpy(question.exact_clean)
    odd = torch.arange(len(base)) % 2 == 1

    def distance(logits: Tensor, rows: Tensor) -> Tensor:
        return kl_to_reading(exact[rows], question.reading(logits[:, question.query])).mean()

    with torch.no_grad():
        unedited = float(distance(question.model(base[odd]), odd))
    scores = []
    for candidate in question.candidates:
        model = _intervenable(pyvene, question, candidate)
        adam = torch.optim.Adam(model.get_trainable_parameters(), lr=LEARNING_RATE)

        def answered(rows: Tensor, model: Any = model, candidate: Candidate = candidate) -> Tensor:
            at = [[list(candidate.positions)] * int(rows.sum())]
            where = {"sources->base": (at, at)}
            return model({"tokens": base[rows]}, [{"tokens": source[rows]}], where)[1]

        with torch.enable_grad():
            for _ in range(ROTATION_STEPS):
                adam.zero_grad()
                distance(answered(~odd), ~odd).backward()
                adam.step()
        with torch.no_grad():
            scores.append(1 - float(distance(answered(odd), odd)) / unedited)
        model._cleanup_states()
    return np.array(scores)


class _Called(nn.Module):
    """A HookedTransformer with the two attributes that pyvene asks of a model."""

    def __init__(self, model: HookedTransformer) -> None:
        super().__init__()
        self.inner = model
        self.config = SimpleNamespace(hidden_size=model.cfg.d_model)
        self.device = torch.device("cpu")

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits."""
        return self.inner(tokens)


def _intervenable(pyvene: Any, question: Question, candidate: Candidate) -> Any:
    """Return pyvene's model with one trainable rotation at a candidate; joint positions are one long vector to it."""
    layer = layer_of(candidate.hook)
    within = candidate.hook.removeprefix(f"blocks.{layer}.")
    n = len(candidate.positions)
    symbols = question.message.shape[1]
    width = _width(question, candidate.hook)
    part = pyvene.LowRankRotatedSpaceIntervention(embed_dim=n * width, low_rank_dimension=n * min(symbols, width)).double()
    place = {"component": f"inner.blocks[{layer}].{within}.output", "intervention": part, "max_number_of_units": n}
    model = pyvene.IntervenableModel(pyvene.IntervenableConfig([place]), _Called(question.model))
    model.disable_model_gradients()
    return model


def _width(question: Question, hook: str) -> int:
    """Dimensions of the activation at a hook."""
    _, cache = question.model.run_with_cache(torch.from_numpy(question.clean[:1]), names_filter=hook)
    return cache[hook].shape[-1]


def _write_positions(corrupted: Any, index: Any, clean: Any) -> Any:
    """Write the clean activation at the positions of one candidate, a row of the table."""
    positions = list(index[1])
    corrupted[:, positions] = clean[:, positions]
    return corrupted
