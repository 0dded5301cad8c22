"""A network with layer norms whose residual stream is larger or smaller, and which computes the same.

Everything that is written to the stream is multiplied by c: embeddings and the outputs of heads and MLPs. Every layer norm then
reads c x, of variance c^2 var; with its epsilon times c^2 it returns what it returned. The epsilon is no detail: where weight
decay has shrunk the stream, it is a good part of what the norm divides by, and left alone it would change the outputs.
"""

from __future__ import annotations

import copy
from typing import Any

import torch

from mechbp.errors import InputError

WRITERS = ("W_E", "W_pos", "W_O", "b_O", "W_out", "b_out")
"""Parameters that are added to the stream, by the last part of their name."""


def with_scaled_stream(model: Any, factor: float) -> Any:
    """Return a copy of the model whose residual stream is `factor` times as large, with the same outputs.

    Powers of two change no bit of them. Raises InputError unless the factor is positive and every reader of the stream, and so
    the model's cfg, has a layer norm.
    """
    if not 0 < factor < float("inf"):
        raise InputError(f"with_scaled_stream: factor must be positive and finite, got {factor!r}.")
    if model.cfg.normalization_type not in ("LN", "LNPre"):
        raise InputError(
            f"with_scaled_stream: without layer norms a larger stream is another function; normalization_type is "
            f"{model.cfg.normalization_type!r}."
        )
    scaled = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in scaled.named_parameters():
            if name.rpartition(".")[2] in WRITERS:
                parameter.mul_(factor)
    for module in scaled.modules():
        if isinstance(getattr(module, "eps", None), float):
            module.eps *= factor**2
    return scaled
