"""Every hook of a model, with its shape and whether an edit there can change the output: what there is to capture and edit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from mechbp.errors import HookError
from mechbp.finite import check_finite
from mechbp.hooks import HookedModel, forward, listening, require_hooked, to_tokens, why_silent


@dataclass(frozen=True)
class HookRow:
    """One hook of a model."""

    name: str
    shape: tuple[str | int, ...] | None
    """Shape of the activation, "batch" standing for the batch axis; None if the hook does not fire."""
    writable: bool
    """Whether an edit there can change the model's output."""
    note: str
    """Why the hook is not writable, and what would make it so; empty otherwise."""


@dataclass(frozen=True, repr=False)
class HookTable:
    """Every hook of a model in the model's own order; prints as aligned text."""

    rows: tuple[HookRow, ...]

    def __iter__(self) -> Iterator[HookRow]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"HookTable({len(self)} hooks, {sum(row.writable for row in self.rows)} writable; print it for the table)"

    def __str__(self) -> str:
        shapes = ["-" if row.shape is None else f"[{', '.join(map(str, row.shape))}]" for row in self.rows]
        name_width = max(map(len, ["name", *(row.name for row in self.rows)]))
        shape_width = max(map(len, ["shape", *shapes]))
        lines = [f"{'name':{name_width}}  {'shape':{shape_width}}  writable"]
        for row, shape in zip(self.rows, shapes, strict=True):
            answer = "yes" if row.writable else f"no: {row.note}"
            lines.append(f"{row.name:{name_width}}  {shape:{shape_width}}  {answer}")
        return "\n".join(lines)


@torch.no_grad()
def hook_table(model: HookedModel, tokens: Int[Tensor, "n position"] | None = None) -> HookTable:
    """Return name, shape and writability of every hook, found by running the model.

    A hook counts as writable if NaN in its place changes the output: one short forward pass per hook.
    `tokens` is the batch to run; without it, two sequences of token 0 of length cfg.n_ctx.

    >>> import mechbp
    >>> table = mechbp.hook_table(mechbp.load("tree-mlm-k0").model)
    >>> [(row.name, row.shape, row.writable) for row in table][0]
    ('hook_embed', ('batch', 16, 64), True)
    """
    require_hooked(model)
    if tokens is None:
        if not hasattr(model.cfg, "n_ctx"):
            raise HookError("hook_table: the model's cfg has no n_ctx to tell the sequence length. Pass tokens=[n, position].")
        tokens = torch.zeros((2, model.cfg.n_ctx), dtype=torch.int64)
    batch = to_tokens(model, tokens)
    shapes: dict[str, tuple[str | int, ...]] = {}
    with listening(model, dict.fromkeys(model.hook_dict, lambda name, value: shapes.update({name: tuple(value.shape)}))):
        output = check_finite("hook_table", "logits", forward(model, batch))
    shapes = {name: ("batch", *shape[1:]) if shape[:1] == (len(batch),) else shape for name, shape in shapes.items()}
    rows = []
    for name in model.hook_dict:
        note = ""
        if name not in shapes:
            note = why_silent(name)
        else:
            with listening(model, {name: _spoil}):
                if torch.equal(forward(model, batch), output):
                    note = "Its value does not reach the output."
        rows.append(HookRow(name, shapes.get(name), writable=not note, note=note))
    return HookTable(tuple(rows))


def _spoil(_: str, value: Tensor) -> Tensor:
    if value.is_floating_point():
        return torch.full_like(value, torch.nan)
    return torch.where(value == 0, 1, 0).to(value.dtype)  # other tokens, and such as every vocabulary has
