"""Losses whose local learning coefficient is known, and what it is.

Quadratics and normal crossings have exact values at every temperature, localisation and, for quadratics, step size: a sampler is
compared with those. Matrix products have the value that the estimate tends to as n beta grows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from jaxtyping import Float64

from mechbp.errors import InputError

GRID = 720
"""Points of the quadrature along each axis."""


def quadratic_llc(
    curvatures: Float64[np.ndarray, " d"],
    *,
    n_beta: float,
    localization: float,
    step_size: float = 0.0,
    gradient_noise: float | Float64[np.ndarray, " d"] = 0.0,
) -> float:
    """Return the stationary n beta E L of L(w) = 1/2 sum_i h_i w_i^2 under SGLD; step 0 is continuous time, the exact posterior.

    `gradient_noise` is the standard deviation s_i of each component of a batch's gradient, independent of w and from step to
    step. Deviations follow w' = (1 - eps A / 2) w + noise of variance eps + (eps n beta s / 2)^2, with A = n beta h + gamma, so
    that var w = (1 + eps n beta^2 s^2 / 4) / (A (1 - eps A / 4)). Raises InputError where eps A >= 4, or A <= 0.
    """
    precision = _precision(curvatures, n_beta, localization, step_size)
    inflation = 1 + step_size * np.square(n_beta * np.asarray(gradient_noise)) / 4
    variance = inflation / (precision * (1 - step_size * precision / 4))
    return float(n_beta / 2 * (curvatures * variance).sum())


def quadratic_trace(
    curvatures: Float64[np.ndarray, " d"], steps: int, *, n_beta: float, localization: float, step_size: float
) -> Float64[np.ndarray, " step"]:
    """Return n beta E L(w_t) of SGLD on a quadratic, t = 0 .. steps - 1, from w*: var w_t = var (1 - (1 - eps A / 2)^(2t))."""
    precision = _precision(curvatures, n_beta, localization, step_size)
    variance = 1 / (precision * (1 - step_size * precision / 4))
    decay = (1 - step_size * precision / 2) ** (2 * np.arange(steps)[:, None])
    return n_beta / 2 * (curvatures * variance * (1 - decay)).sum(axis=1)


def normal_crossing_llc(powers: tuple[int, int], *, energy: float, localization: float) -> float:
    """Return E[energy f^2] for f = w1^k1 w2^k2 under p(w) proportional to exp(-energy f^2 - gamma/2 |w|^2), by quadrature.

    With a loss E[(x f)^2] = E[x^2] f^2 the energy is n beta E[x^2]. All four quadrants are alike; in log w both integrands are
    smooth and fall off at either end. As the energy grows the value tends to 1 / (2 max k), with corrections of order
    1 / log(energy) where k1 = k2. Raises InputError unless the powers are >= 0, one of them positive, and both numbers positive.
    """
    first, second = powers
    if min(powers) < 0 or max(powers) < 1 or not energy > 0 or not localization > 0:
        raise InputError(
            f"normal_crossing_llc: need powers >= 0, not both 0, energy > 0 and localization > 0, "
            f"got {powers}, {energy} and {localization}."
        )
    # exp(-gamma w^2 / 2) ends the grid above at 12 standard deviations; below, the density of log w is proportional to w.
    top = np.log(12 / np.sqrt(localization))
    logs = np.linspace(top - 36, top, GRID)
    pull = localization / 2 * np.exp(2 * logs)
    weight = logs - pull
    energies = energy * np.exp(2 * first * logs[:, None] + 2 * second * logs[None, :])
    log_density = weight[:, None] + weight[None, :] - energies
    density = np.exp(log_density - log_density.max())
    return float((energies * density).sum() / density.sum())


def reduced_rank_llc(inputs: int, hidden: int, outputs: int, rank: int) -> float:
    """Return the learning coefficient of y = B A x at a true product of the given rank (Aoyagi and Watanabe 2005).

    `inputs` and `outputs` are the dimensions of x and y, `hidden` that between A and B. Raises InputError unless
    0 <= rank <= the smallest of the three.
    """
    _check_rank((inputs, hidden, outputs), rank)
    m, h, n, r = inputs, hidden, outputs, rank
    if m + h < n + r:
        return (h * m - h * r + n * r) / 2
    if n + h < m + r:
        return (h * n - h * r + m * r) / 2
    if m + n < h + r:
        return m * n / 2
    odd = (m + n + h + r) % 2
    return (-((h + r) ** 2) - m**2 - n**2 + 2 * (h + r) * (m + n) + 2 * m * n + odd) / 8


def deep_linear_llc(widths: Sequence[int], rank: int) -> float:
    """Return the learning coefficient of a product of matrices between layers of these widths, at a true rank (Aoyagi 2024).

    Of the excess widths M_s = H_s - r those count that would bottleneck the product: the set of the l + 1 smallest whose largest
    is below all others, with l max <= sum, and sum < l times the smallest of the others. Raises InputError unless there are two
    widths or more and 0 <= rank <= the smallest.
    """
    _check_rank(widths, rank)
    excess = sorted(width - rank for width in widths)
    for size in range(2, len(excess) + 1):
        inside, outside = excess[:size], excess[size:]
        layers, total = size - 1, sum(excess[:size])
        fits = total >= layers * inside[-1]
        if fits and (not outside or (inside[-1] < outside[0] and total < layers * outside[0])):
            break
    else:
        raise AssertionError(f"no bottleneck among excess widths {excess}")
    part = total - (-(-total // layers) - 1) * layers
    pairs = sum(a * b for a, b in combinations(inside, 2))
    regular = (-(rank**2) + rank * (widths[0] + widths[-1])) / 2
    return regular + part * (layers - part) / (4 * layers) - layers * (layers - 1) / 4 * (total / layers) ** 2 + pairs / 2


def _precision(curvatures: np.ndarray, n_beta: float, localization: float, step_size: float) -> np.ndarray:
    precision = n_beta * np.asarray(curvatures, dtype=float) + localization
    if not (precision > 0).all() or not (step_size * precision < 4).all():
        raise InputError(
            f"quadratic_llc: need 0 < A = n_beta h + localization and step_size A < 4 in every direction, "
            f"got A from {precision.min():.4g} to {precision.max():.4g} and step_size {step_size:g}."
        )
    return precision


def _check_rank(widths: Sequence[int], rank: int) -> None:
    if len(widths) < 2 or not 0 <= rank <= min(widths) or min(widths) < 1:
        raise InputError(f"learning coefficient: need two widths or more, and 0 <= rank <= the smallest, got {widths}, {rank}.")
