"""Start a model from the weights of another run: pre-training on one task, fine-tuning on the next."""

from __future__ import annotations

from pathlib import Path

import torch

from mechbp.errors import CheckpointError, InputError
from mechbp.models.architectures import HookedTransformer
from mechbp.models.checkpoint import load_checkpoint
from mechbp.models.run_folder import step_file, stored_steps

FRESH = "unembed."
"""Parameters that stay as they were drawn: the new task asks another question."""


def start_from(model: HookedTransformer, folder: Path, sha256: str) -> None:
    """Copy the last stored step of the run in `folder` into `model`, but for the unembedding.

    A position embedding may have more or fewer positions than the source; what both have is taken over.
    Raises InputError where there is no stored step or the architectures differ, CheckpointError where its digest is another.
    """
    steps = stored_steps(folder)
    if not steps:
        raise InputError(f"start.run: {folder} holds no stored step. Train that run first, or change start.run.")
    path = step_file(folder, steps[-1])
    checkpoint = load_checkpoint(path)
    if checkpoint.digest != sha256:
        raise CheckpointError(
            f"start.sha256: {path} has digest {checkpoint.digest[:16]}…, the recipe names {sha256[:16]!r}….\n"
            f"Restore that file, or change start.sha256."
        )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            source = checkpoint.tensors.get(f"model/{name}")
            if name.startswith(FRESH):
                continue
            rows = 0 if source is None else min(len(source), len(parameter))
            if source is None or source.shape[1:] != parameter.shape[1:] or (name != "pos_embed.W_pos" and rows < len(parameter)):
                found = "is missing" if source is None else f"has shape {list(source.shape)}"
                raise InputError(f"start.run: {name} {found} in {path}, expected {list(parameter.shape)}.")
            parameter[:rows].copy_(source[:rows])
