"""How far draws of several chains may be trusted: effective sample size, and whether chains agree.

Draws of one chain are correlated, so that n of them tell as much of the mean as n / tau independent ones, with tau one plus twice
the sum of the autocorrelations. The sum is cut where the estimated autocorrelations turn to noise: sums of neighbouring pairs of
a reversible chain are positive and decrease (Geyer 1992).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from mechbp.errors import InputError

LEAST_DRAWS = 4
"""Fewer draws than this have no autocorrelation to speak of."""


def effective_sample_size(draws: Float64[np.ndarray, "draw chain"]) -> Float64[np.ndarray, " chain"]:
    """Return the effective number of draws of each chain by itself, for its mean; NaN for a chain that never moves.

    Negative autocorrelation makes it larger than the number of draws, at most n log10(n), as Vehtari et al. 2021 bound it.
    Raises InputError below four draws.
    """
    n = _checked(draws)
    deviations = draws - draws.mean(axis=0)
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.fft.rfft(deviations, size, axis=0)
    covariance = np.fft.irfft(spectrum * spectrum.conj(), size, axis=0)[:n] / n
    sizes = np.full(draws.shape[1], np.nan)
    for chain in np.flatnonzero(covariance[0] > 0):
        correlation = covariance[:, chain] / covariance[0, chain]
        pairs = correlation[: n - n % 2].reshape(-1, 2).sum(axis=1)
        negative = np.flatnonzero(pairs <= 0)
        kept = np.minimum.accumulate(pairs[: negative[0] if len(negative) else len(pairs)])
        tau = max(2 * kept.sum() - 1, 1 / np.log10(n))
        sizes[chain] = n / tau
    return sizes


def split_rhat(draws: Float64[np.ndarray, "draw chain"]) -> float:
    """Return how much wider all draws spread than those of one half chain, 1 where every half agrees (Gelman et al. 2013).

    Each chain is cut in two, so that a chain that drifts disagrees with itself. NaN where no chain moves. Raises InputError
    below four draws.
    """
    half = _checked(draws) // 2
    halves = np.concatenate([draws[:half], draws[-half:]], axis=1)
    within = halves.var(axis=0, ddof=1).mean()
    between = half * halves.mean(axis=0).var(ddof=1)
    return float(np.sqrt((half - 1) / half + between / (half * within))) if within > 0 else float("nan")


def _checked(draws: np.ndarray) -> int:
    if draws.ndim != 2 or len(draws) < LEAST_DRAWS or not np.isfinite(draws).all():
        raise InputError(f"diagnostics: need finite draws [draw, chain], at least {LEAST_DRAWS}, got {list(draws.shape)}.")
    return len(draws)
