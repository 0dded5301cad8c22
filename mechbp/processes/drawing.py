"""Draw outcomes from tables of laws, vectorised: the only place where processes turn random numbers into symbols."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64


def draw(laws: Float64[np.ndarray, "law outcome"], which: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw one outcome from laws[which] for every entry of `which`, by inverse CDF on one shared sorted table.

    Law i occupies (i, i + 1]. An outcome of probability 0 repeats its predecessor's boundary, so "right" never returns it;
    the ceiling keeps i + u below i + 1 where the sum would round up.
    """
    cdf = np.cumsum(laws, axis=1)
    table = (cdf / cdf[:, -1:] + np.arange(len(laws))[:, None]).ravel()
    point = np.minimum(which + rng.random(which.shape), np.nextafter(which + 1.0, 0.0))
    return np.searchsorted(table, point, side="right") - which * laws.shape[1]
