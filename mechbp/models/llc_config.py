"""The tables [llc] of a recipe: at which stored steps the local learning coefficient is measured, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mechbp.errors import InputError
from mechbp.models.recipe_tables import in_range, shown
from mechbp.storage import NAME


@dataclass(frozen=True)
class LLCConfig:
    """One way to measure a run. Values of two steps, or of two runs, compare at equal settings only."""

    name: str
    """What the setting is called in llc.jsonl and by analyses."""
    n_beta: float
    """Inverse temperature times number of examples, n beta."""
    localization: float
    """gamma, the precision of the Gaussian about the weights."""
    steps: Literal["all", "last"] | tuple[int, ...] = "all"
    """Which stored steps."""
    step_size: Literal["auto"] | float = "auto"
    """eps; "auto" takes what the largest curvature at any of the steps allows, one for all of them."""
    burn_in: Literal["auto"] | int = "auto"
    """Steps from the weights that are dropped; "auto" waits until flat directions have forgotten them, 2 / (eps gamma)."""
    draws: int = 700
    """Steps that are kept."""
    chains: int = 8
    batch_size: int = 512
    """Sequences per batch."""
    n_batches: int = 32
    """Batches that are drawn once, and used in a new order every epoch."""
    sampler: Literal["sgld", "averaged noise", "mala"] = "sgld"
    coordinates: Literal["absolute", "units"] = "absolute"
    """Of what localization is the precision: of changes of the weights, or of changes relative to the size of each tensor at the
    step measured. A layer norm makes the loss blind to the size of some tensors, and only the second kind is blind to it too."""
    centre_gradients: bool = False
    """Whether the batch noise of the gradient at the weights is removed from every gradient."""
    l2: float = 0.0
    """Weight of the sum of squared weights in the loss: training.l2 makes it the loss that was trained."""
    seed: int = 0
    """Names the batches and the noise: equal seeds make two measurements share them."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not NAME.fullmatch(self.name):
            raise InputError(f"llc.name must be up to 64 of a-z, 0-9, '.', '_' and '-', got {shown(self.name)}.")
        where = f"llc.{self.name}"
        in_range(
            where, self, n_beta=(1e-6, 1e9), localization=(0, 1e9), draws=(4, 10**7), chains=(2, 256), batch_size=(1, 10**6),
            n_batches=(1, 4096), l2=(0, 10), seed=(0, 2**63 - 1),
        )  # fmt: skip
        if self.step_size != "auto":
            in_range(where, self, step_size=(1e-12, 1))
        if self.burn_in != "auto":
            in_range(where, self, burn_in=(1, 10**7))
        elif not self.localization:
            raise InputError(f"{where}: without localization no burn-in is long enough. Set burn_in, or localization above 0.")
        if self.sampler == "mala" and self.n_batches > 1:
            raise InputError(f"{where}: sampler 'mala' accepts by the loss of all data. Set n_batches = 1, not {self.n_batches}.")
        if isinstance(self.steps, tuple) and (not self.steps or list(self.steps) != sorted({*self.steps})):
            raise InputError(f"{where}.steps must be 'all', 'last' or ascending stored steps, got {shown(list(self.steps))}.")
