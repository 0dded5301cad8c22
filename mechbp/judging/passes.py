"""How many passes a method uses, counted where it cannot be got round: at the blocks of the model.

One pass is one sequence through all blocks. Part of a pass counts as part, a gradient through a block as two blocks. Counted at
the blocks, a method may run the model whichever way it likes; and mechbp's shortcuts, which compute from the weights alone, step
aside for a model that is watched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor

from mechbp.models.architectures import HookedTransformer

BACKWARD = 2
"""Passes that the backward pass of one sequence counts as."""


class BudgetSpent(Exception):
    """The next block would exceed the budget; `judge` catches it, and says so in the result."""


class Meter:
    """Counts the passes of one method on one question, and stops what exceeds the budget."""

    def __init__(self, budget: int | None) -> None:
        self.budget = budget
        self.spent = 0.0
        self.exceeded = False

    @property
    def reason(self) -> str:
        """Why the method was stopped; empty if it was not."""
        return f"asked for more than {self.budget:,} passes, after {self.spent:,.0f}" if self.exceeded else ""

    def add(self, passes: float) -> None:
        """Count passes about to be made. Raises BudgetSpent instead where they exceed the budget, and from then on always."""
        if self.exceeded or (self.budget is not None and self.spent + passes > self.budget * (1 + 1e-9)):
            self.exceeded = True
            raise BudgetSpent(self.reason)
        self.spent += passes


@contextmanager
def metered(model: HookedTransformer, budget: int | None) -> Iterator[Meter]:
    """Count what runs through the model's blocks inside the `with` block.

    The counting stands in place of each block's forward pass, so that a method which clears all hooks clears none of it.
    """
    meter = Meter(budget)
    blocks: Any = model.blocks
    for block in blocks:
        setattr(block, "forward", partial(_counted, meter, 1 / len(blocks), block.forward))  # noqa: B010
    try:
        yield meter
    finally:
        for block in blocks:
            delattr(block, "forward")  # the class's own shows again


def _counted(meter: Meter, share: float, forward: Callable[..., Tensor], stream: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Run one block on the residual stream [n, position, d], and count its rows, there and on the way back."""
    rows = len(stream)
    meter.add(share * rows)
    output = forward(stream, *args, **kwargs)
    if output.requires_grad:
        output.register_hook(lambda gradient: meter.add(BACKWARD * share * rows))
    return output
