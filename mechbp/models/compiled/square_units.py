"""Products as hidden units: x y = ((x + y)² - x² - y²) / 2, each square one unit of an MLP that is gated by flags.

With act_fn = "relu2", relu(z)², a square of z >= 0 is one unit and exact. With act_fn = "relu" it is a sum of units: the
piecewise-linear interpolation of z² between knots. A gate is a flag of the residual stream, exactly 0 or 1, with a weight
so negative that the unit is silent wherever the flag is 1. Where it is 0 the gate adds 0 times its weight, so gates of any
size cost no precision; a gate of ±1 with a bias to cancel it would round every argument to its own size.
(Source: Garnier-Brun et al. 2025, App. F, Eq. 23, for products by squares.)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

Read = tuple[tuple[int, float], ...]
"""A linear form on the residual stream: (dimension, coefficient) pairs."""
Gates = tuple[int, ...]
"""Dimensions of flags; the unit is silent where any of them is 1."""


@dataclass(frozen=True, eq=False)
class MlpWeights:
    """The weights of one MLP in TransformerLens's orientation; there is no output bias."""

    w_in: Float64[np.ndarray, "d_model units"]
    b_in: Float64[np.ndarray, " units"]
    w_out: Float64[np.ndarray, "units d_model"]


class SquareUnits:
    """Collects the products that one block has to compute; equal squares share a unit."""

    def __init__(self, d_model: int) -> None:
        self._d_model = d_model
        self._outputs: dict[tuple[Read, Gates], np.ndarray] = {}

    def add_product(self, x: Read, y: Read, gates: Gates, output: Float64[np.ndarray, " d_model"]) -> None:
        """Add x y `output` to the residual stream where all gates are open; nothing where `output` is 0."""
        if not output.any():
            return
        for argument, sign in ((_sum(x, y), 0.5), (x, -0.5), (y, -0.5)):
            key = (argument, gates)
            if key not in self._outputs:
                self._outputs[key] = np.zeros(self._d_model)
            self._outputs[key] += sign * output

    def __len__(self) -> int:
        return len(self._outputs)

    def weights(self, gate: float, nodes: Float64[np.ndarray, " nodes"] | None = None) -> MlpWeights:
        """Return the weights, with gates of -`gate`: one relu2 unit per square, or relu units between the nodes given."""
        w_in = np.zeros((self._d_model, len(self)))
        w_out = np.zeros((len(self), self._d_model))
        for unit, ((argument, gates), output) in enumerate(self._outputs.items()):
            for dimension, coefficient in argument:
                w_in[dimension, unit] += coefficient
            w_in[list(gates), unit] = -gate
            w_out[unit] = output
        if nodes is None:
            return MlpWeights(w_in, np.zeros(len(self)), w_out)
        knots, slopes = interpolation(nodes)
        b_in = np.tile(-knots, len(self))
        return MlpWeights(np.repeat(w_in, len(knots), axis=1), b_in, np.kron(w_out, slopes[:, None]))


def interpolation(
    nodes: Float64[np.ndarray, " nodes"],
) -> tuple[Float64[np.ndarray, " units"], Float64[np.ndarray, " units"]]:
    """Return knots t and slopes c such that sum_k c_k relu(z - t_k) is z² at every node, linear between and beyond, 0 below 0.

    `nodes` rise from 0. Between nodes a < b the sum is (a + b) z - a b, which exceeds z² by (z - a)(b - z) <= (b - a)²/4.
    """
    secants = nodes[:-1] + nodes[1:]
    return nodes[:-1], np.diff(secants, prepend=0.0)


def _sum(*reads: Iterable[tuple[int, float]]) -> Read:
    return tuple(pair for read in reads for pair in read)
