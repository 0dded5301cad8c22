"""The device that a model computes on: checked when it is named, and told wherever the model was moved."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from mechbp.arguments import told
from mechbp.errors import InputError

CPU = torch.device("cpu")


def checked_device(name: str | torch.device) -> torch.device:
    """Return the device of that name. Raises InputError for one that PyTorch does not know or have, or that lacks float64."""
    if not isinstance(name, str | torch.device):
        raise InputError(f"device: {told(name)} is no device of PyTorch. Name 'cpu', 'cuda' or 'cuda:1', say.")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise InputError(f"device: {str(name)!r:.40} is no device of PyTorch. Name 'cpu', 'cuda' or 'cuda:1', say.") from error
    if device.type in ("mps", "meta"):
        raise InputError(f"device: {device.type} computes no float64, in which answers are compared. Name 'cpu' or 'cuda'.")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"device: PyTorch finds no {str(device)!r} here. Name 'cpu', or one that is there.") from error
    return device


def moved(model: Any, device: torch.device) -> Any:
    """Return the model on the device, parameters and buffers, its cfg telling where it is."""
    nn.Module.to(model, device)
    model.cfg.device = str(device)
    return model


def device_of(model: Any) -> torch.device:
    """Return the device of the model's first parameter or buffer, the CPU if it has none."""
    held = next(model.parameters(), None)
    held = next(model.buffers(), None) if held is None else held
    return CPU if held is None else held.device
