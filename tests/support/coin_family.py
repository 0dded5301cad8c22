"""A family from outside the package: recipes for the coin, and models asked for its next flip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from coin import BiasedCoin

from mechbp.models.tasks.task import Family, Task


@dataclass(frozen=True)
class CoinRecipe:
    length: int
    kind: Literal["coin"] = "coin"
    ones: float = 1.0
    zeros: float = 1.0

    @property
    def n_tokens(self) -> int:
        return self.length

    @property
    def name(self) -> str:
        return f"coin, Beta({self.ones:g}, {self.zeros:g}), length {self.length}"

    def provenance(self) -> dict[str, str | int]:
        return {"process": self.name}

    def build(self) -> BiasedCoin:
        return BiasedCoin(self.ones, self.zeros, self.length)


class NextFlip(Task):
    def n_positions(self, process):
        return process.length

    def draw(self, process, n, rng):
        return replace(process, length=process.length + 1).sample(n, rng)

    def exact(self, process, tokens):
        return process.beliefs(tokens)[:, 1:]

    def oracles(self, process) -> Mapping[str, BiasedCoin]:
        return {"laplace": process, "certain": replace(process, ones=1000.0, zeros=1000.0)}


COIN = Family("coin", (CoinRecipe,), {"next-token": NextFlip()})
