"""Values that tell of themselves in one line: sizes in place of numbers. Tensors and modules are known by what they offer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

FEW = 4
"""Entries of a collection that are named."""
LONGEST = 60
"""Characters of one value."""


class Brief:
    """A dataclass whose `repr` is short, whatever it holds; declare it with `repr=False`."""

    def __repr__(self) -> str:
        told = (f"{field.name}={_brief(getattr(self, field.name))}" for field in fields(self) if field.repr)  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(told)})"


def _brief(value: Any) -> str:
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return f"{value.item():.4g}" if value.dtype.kind == "f" else str(value.item())
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if hasattr(value, "named_parameters") or (is_dataclass(value) and not isinstance(value, Brief)):
        return type(value).__name__
    if isinstance(value, Mapping):
        named = ", ".join(repr(name) if "," in str(name) else str(name) for name in list(value)[:FEW])
        return f"{{{named}{', …' if len(value) > FEW else ''}}}"[:LONGEST]
    if isinstance(value, Sequence | Set) and not isinstance(value, str | bytes):
        return f"[{len(value)}]" if len(value) > FEW else f"[{', '.join(map(_brief, value))}]"[:LONGEST]
    if callable(value) and hasattr(value, "__name__"):
        return str(value.__name__)
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
