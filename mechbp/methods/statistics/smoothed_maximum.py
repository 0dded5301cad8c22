"""Where a noisy curve is largest, at several degrees of smoothing: a Gaussian process of fixed length scale on log x.

    y = m + f + noise,   f of covariance s^2 exp(-(log10 x - log10 x')^2 / (2 l^2)),   noise of variance s^2 eta

l is given, s^2 and eta are those of largest likelihood; eta is at least what the repetitions say of the noise of their mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64

from mechbp.errors import InputError
from mechbp.figures.picture import Picture
from mechbp.methods.shown import Shown
from mechbp.randomness import checked_generator

GRID = 401
"""Points, evenly spaced in log x, among which the maximum is looked for."""
NOISES = np.geomspace(1e-4, 10, 41)
"""eta."""
RESAMPLES = 500
LEVEL = 0.95


@dataclass(frozen=True, eq=False, repr=False)
class SmoothedMaximum(Shown):
    """The maximum of the smoothed curve."""

    length_scale: float
    """Of the smoothing, in decades of x."""
    where: float
    """x of the largest value."""
    low: float
    """Lower end of the bootstrap interval of `where`, over repetitions."""
    high: float
    interior: bool
    """Whether it lies between the first and the last x; what grows to the end has no maximum that says anything."""
    grid: Float64[np.ndarray, " point"]
    """x of `curve`."""
    curve: Float64[np.ndarray, " point"]
    noise: float
    """eta, the variance of what is smoothed away over that of the curve."""

    def picture(self) -> Picture:
        """Draw the smoothed curve, with its maximum and the interval of where that is."""
        inside = (self.grid >= self.low) & (self.grid <= self.high)
        beside = {"name": "interval of the maximum", "x": self.grid, "y": np.where(inside, self.curve, np.nan)}
        return Picture(
            kind="lines",
            title=f"Smoothed curve, largest at {self.where:.3g} [{self.low:.3g}, {self.high:.3g}]",
            caption=f"Gaussian process of length scale {self.length_scale:g} decades, noise {self.noise:.2g} of the curve's "
            "variance; "
            f"{LEVEL:.0%} bootstrap interval of the maximum over repetitions."
            + ("" if self.interior else " The maximum is at an end of the range, so that it says little."),
            alt="A smooth line over x, with the stretch in which its maximum may lie.",
            data={
                "x_title": "x",
                "y_title": "smoothed value",
                "x_log": True,
                "series": [
                    {"name": "smoothed", "x": self.grid, "y": self.curve, "markers": False},
                    {**beside, "markers": False, "dash": "dot"},
                ],
            },
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per point of the smoothed curve."""
        return pd.DataFrame({"x": self.grid, "smoothed": self.curve})

    def summary(self) -> str:
        """Return where the maximum is, with its interval, and how much was smoothed."""
        return (
            f"largest at {self.where:.4g} [{self.low:.4g}, {self.high:.4g}], "
            f"{'inside the range' if self.interior else 'at its end'}\n"
            f"length scale {self.length_scale:g} decades, noise {self.noise:.2g}; {LEVEL:.0%} interval over repetitions"
        )


def smoothed_maximum(
    x: Float64[np.ndarray, " step"],
    values: Float64[np.ndarray, "repetition step"],
    length_scale: float,
    rng: np.random.Generator,
    *,
    resamples: int = RESAMPLES,
) -> SmoothedMaximum:
    """Return where the mean over repetitions is largest once smoothed; eta stays that of the mean in every resample.

    length_scale: decades of x. Raises InputError unless x is positive and ascending, three points or more, and there are two
    finite repetitions or more, of values that are not all alike.
    """
    checked_generator(rng, "smoothed_maximum")
    _check(x, values, length_scale)
    at = np.log10(x)
    grid = np.linspace(at[0], at[-1], GRID)
    mean = values.mean(axis=0)
    least = (values.var(axis=0, ddof=1) / len(values)).mean() / mean.var()
    noise = _noise(at, mean, length_scale, least)
    weights = _weights(at, grid, length_scale, noise)
    curve = weights @ mean
    drawn = rng.integers(len(values), size=(resamples, len(values)))
    peaks = grid[(values[drawn].mean(axis=1) @ weights.T).argmax(axis=1)]
    peak = int(curve.argmax())
    low, high = np.quantile(peaks, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return SmoothedMaximum(
        length_scale=length_scale,
        where=float(10 ** grid[peak]),
        low=float(10**low),
        high=float(10**high),
        interior=0 < peak < GRID - 1,
        grid=10**grid,
        curve=curve,
        noise=noise,
    )


def _weights(at: np.ndarray, grid: np.ndarray, length_scale: float, noise: float) -> np.ndarray:
    """What each point counts in the smoothed curve [grid, point], whose rows sum to 1: the mean m is taken off and put back."""
    solved = np.linalg.solve(_covariance(at, at, length_scale) + noise * np.eye(len(at)), np.eye(len(at)))
    smooth = _covariance(grid, at, length_scale) @ solved
    mean = np.full((1, len(at)), 1 / len(at))
    return mean + smooth - smooth.sum(axis=1, keepdims=True) * mean


def _noise(at: np.ndarray, values: np.ndarray, length_scale: float, least: float) -> float:
    """eta of largest likelihood, s^2 being the best for each: n log s^2 + log |R + eta| is smallest."""
    centred = values - values.mean()
    covariance = _covariance(at, at, length_scale)

    def cost(noise: float) -> float:
        total = covariance + noise * np.eye(len(at))
        _, logarithm = np.linalg.slogdet(total)
        return len(at) * np.log(centred @ np.linalg.solve(total, centred)) + logarithm

    return float(min((noise for noise in np.append(NOISES[least < NOISES], max(least, NOISES[0]))), key=cost))


def _covariance(one: np.ndarray, other: np.ndarray, length_scale: float) -> np.ndarray:
    return np.exp(-((one[:, None] - other[None, :]) ** 2) / (2 * length_scale**2))


def _check(x: np.ndarray, values: np.ndarray, length_scale: float) -> None:
    fits = values.ndim == 2 and values.shape[1:] == x.shape and len(values) >= 2 and len(x) >= 3
    if not fits or not (x > 0).all() or not (np.diff(x) > 0).all() or not length_scale > 0:
        raise InputError(
            f"smoothed_maximum: need x [step] positive and ascending, three or more, values [repetition, step], two or more, and "
            f"length_scale > 0, got {list(x.shape)}, {list(values.shape)} and {length_scale!r}."
        )
    if not np.isfinite(values).all() or not values.mean(axis=0).std() > 0:
        raise InputError("smoothed_maximum: values must be finite and not all alike.")
