"""How far a score rises to its peak along training and falls from it, without the luck of choosing the peak."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64

from mechbp.errors import InputError
from mechbp.figures.picture import Picture
from mechbp.methods.shown import Shown
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.methods.telling import dots, examples, frame, told
from mechbp.randomness import rng as named_rng


@dataclass(frozen=True, eq=False, repr=False)
class PeakFall(Shown):
    """Per example: the score at the peak less that at the first step (rise) and less that at the last (fall)."""

    rise: Float64[np.ndarray, " n"]
    fall: Float64[np.ndarray, " n"]
    peaks: tuple[int, int]
    """The step of highest mean among the examples of even and of odd number."""

    def picture(self, rng: np.random.Generator | None = None) -> Picture:
        """Draw mean rise and fall with their intervals."""
        found = self._means(rng)
        return Picture(
            kind="dots",
            title="Rise to the peak and fall from it",
            caption=f"Mean over n = {len(self.rise):,} examples, each at the peak that the other half chose "
            f"(steps {self.peaks[0]} and {self.peaks[1]}); 95% bootstrap intervals.",
            alt="Two dots with intervals: rise and fall.",
            data=dots("difference of scores", found, references=[{"name": "none", "x": 0}]),
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per example: its rise and its fall."""
        return frame({"example": range(len(self.rise))}, {"rise": self.rise, "fall": self.fall})

    def summary(self, rng: np.random.Generator | None = None) -> str:
        """Return mean rise and fall with intervals, the peaks and n."""
        found = self._means(rng)
        return (
            f"rise {told(found['rise'])}, fall {told(found['fall'])}\n"
            f"peaks chosen by the other half: steps {self.peaks[0]} and {self.peaks[1]}; {examples(found['rise'])}"
        )

    def _means(self, rng: np.random.Generator | None) -> dict[str, Interval]:
        draw = named_rng(0, "PeakFall") if rng is None else rng
        both = bootstrap_mean(np.stack([self.rise, self.fall], axis=1), draw)
        return {"rise": both[0], "fall": both[1]}


def peak_fall(scores: Float64[np.ndarray, "n step"]) -> PeakFall:
    """Return rise and fall of every example, each measured at the peak that the other half of the examples chose.

    The highest of many noisy means stands too high, so that a curve which never falls seems to fall from it. A peak chosen by
    other examples does not: of scores without any peak, the fall measured here is 0 on average.
    Raises InputError for fewer than two examples or two steps.
    """
    if scores.ndim != 2 or min(scores.shape) < 2:
        raise InputError(f"peak_fall: need scores [n >= 2, step >= 2], got {list(scores.shape)}.")
    even, odd = (int(scores[half::2].mean(axis=0).argmax()) for half in (0, 1))
    peak = np.where(np.arange(len(scores)) % 2 == 0, odd, even)
    top = scores[np.arange(len(scores)), peak]
    return PeakFall(top - scores[:, 0], top - scores[:, -1], (even, odd))
