"""Whether a model is as often right as it says: confidence, its largest probability, against the share of right choices.

The expected calibration error is the mean over bins of |confidence - accuracy|, weighed by choices. It is above 0 for a perfectly
calibrated model too, as bins are finite: `floor` is what it would be then, with the same confidences and right choices drawn from
them. Resampling adds noise in the same way, so that intervals of an error near its floor lie above it; a difference between two
errors of the same lists shares most of that. (Source of the error: Guo et al. 2017.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64

from mechbp.errors import InputError
from mechbp.figures.intervals import points
from mechbp.figures.picture import Picture
from mechbp.methods.shown import Shown
from mechbp.methods.statistics.intervals import Interval, bootstrap_ratio
from mechbp.methods.telling import examples, frame, told
from mechbp.randomness import checked_generator

BINS = 15
"""Of equal width."""
RESAMPLES = 1000
FLOOR_DRAWS = 200

PerChoice = Float64[np.ndarray, "n choice"]
Marks = Bool[np.ndarray, "n choice"]


@dataclass(frozen=True, eq=False, repr=False)
class Reliability(Shown):
    """Confidence and accuracy bin by bin; intervals are over lists, rows of choices that come together."""

    confidence: Float64[np.ndarray, " bin"]
    """Mean confidence; NaN where a bin is empty."""
    accuracy: Interval
    """Share of right choices, per bin."""
    filled: Float64[np.ndarray, " bin"]
    """Choices in each bin."""
    error: Interval
    """Expected calibration error."""
    floor: float
    """Mean of the error if every choice were right with the probability that the model states."""
    excess: Interval
    """Mean confidence minus accuracy: above 0 the model is too sure, below 0 not sure enough."""

    def picture(self) -> Picture:
        """Draw the share of right choices against confidence, bin by bin."""
        filled = self.filled > 0
        accuracy = self.accuracy[filled]
        return Picture(
            kind="scatter",
            title=f"Reliability: calibration error {told(self.error)}",
            caption=f"Share of right choices where the model is so sure, in {len(self.filled)} bins; areas count choices. "
            f"{accuracy.level:.0%} bootstrap intervals over n = {accuracy.n:,} rows. A calibrated model with these "
            f"confidences has an error of {self.floor:.3g} on average.",
            alt="Accuracy against confidence, with the diagonal.",
            data={
                "x_title": "confidence",
                "y_title": "share of right choices",
                "identity": True,
                "x_range": [0, 1],
                "y_range": [0, 1],
                "series": [{"name": "bin", "x": self.confidence[filled], **points(accuracy, "y"), "count": self.filled[filled]}],
            },
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per bin: confidence, accuracy with its interval, and the choices in it."""
        columns = {"confidence": self.confidence, "accuracy": self.accuracy, "choices": self.filled}
        return frame({"bin": range(len(self.filled))}, columns).assign(n=self.accuracy.n)

    def summary(self) -> str:
        """Return the calibration error beside that of a calibrated model, the excess of confidence, and n."""
        return (
            f"calibration error {told(self.error)}; a calibrated model's {self.floor:.3g}\n"
            f"confidence minus accuracy {told(self.excess)}\n{examples(self.error, 'rows of choices')}"
        )


def reliability(
    confidence: PerChoice, right: Marks, rng: np.random.Generator, *, counted: Marks | None = None, bins: int = BINS
) -> Reliability:
    """Bin choices by confidence. counted: which choices to look at, all by default.

    Raises InputError for confidences outside 0..1, other shapes, no counted choice, or bins < 1.
    """
    generator = checked_generator(rng, "reliability")
    mask = _checked(confidence, right, counted, bins)
    in_bin = _members(confidence, mask, bins)
    sums = np.einsum("ncb,nck->nbk", in_bin, np.stack([np.ones(right.shape), confidence, right], axis=-1))
    filled, stated, _ = sums.sum(axis=0).T
    total = filled.sum()
    drawn = generator.random((FLOOR_DRAWS, *right.shape)) < confidence
    by_floor = np.einsum("dnc,ncb->db", drawn, in_bin, optimize=True)
    counts = mask.sum(axis=1).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_confidence = stated / filled
    return Reliability(
        confidence=mean_confidence,
        accuracy=bootstrap_ratio(sums[:, :, 2], sums[:, :, 0], generator, resamples=RESAMPLES),
        filled=filled,
        error=_errors((sums[:, :, 1] - sums[:, :, 2])[None], counts, generator)[0],
        floor=float(np.abs(stated - by_floor).sum(axis=1).mean() / total),
        excess=bootstrap_ratio(((confidence - right) * mask).sum(axis=1), counts, generator, resamples=RESAMPLES),
    )


def calibration_error(confidence: PerChoice, right: Marks, rng: np.random.Generator, *, resamples: int = RESAMPLES) -> Interval:
    """Return the expected calibration error alone. Raises InputError as `reliability` does."""
    generator = checked_generator(rng, "calibration_error")
    mask = _checked(confidence, right, None, BINS)
    excess = np.einsum("nc,ncb->nb", confidence - right, _members(confidence, mask, BINS))
    return _errors(excess[None], mask.sum(axis=1).astype(np.float64), generator, resamples)[0]


def calibration_gain(
    confidence: PerChoice,
    right: Marks,
    edited_confidence: PerChoice,
    edited_right: Marks,
    rng: np.random.Generator,
    *,
    counted: Marks | None = None,
    bins: int = BINS,
) -> Interval:
    """Return the calibration error of an edited model less that of the model, both of the same lists, resampled together."""
    generator = checked_generator(rng, "calibration_gain")
    mask = _checked(confidence, right, counted, bins)
    _checked(edited_confidence, edited_right, mask, bins)
    excess = [
        np.einsum("nc,ncb->nb", stated - correct, _members(stated, mask, bins))
        for stated, correct in ((confidence, right), (edited_confidence, edited_right))
    ]
    return _errors(np.stack(excess), mask.sum(axis=1).astype(np.float64), generator)[1]


def _errors(
    excess: Float64[np.ndarray, "model n bin"],
    counts: Float64[np.ndarray, " n"],
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> tuple[Interval, Interval]:
    """The error of the first model, and that of the last less it; all resampled alike."""
    n = excess.shape[1]
    error = np.abs(excess.sum(axis=1)).sum(axis=-1) / counts.sum()
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)
    resampled = np.abs(drawn @ excess).sum(axis=-1) / np.maximum(drawn @ counts, 1)
    found = []
    for value, spread in ((error[0], resampled[0]), (error[-1] - error[0], resampled[-1] - resampled[0])):
        low, high = np.quantile(spread, [0.025, 0.975]) if n > 1 else (np.nan, np.nan)
        found.append(Interval(np.asarray(value), np.asarray(low), np.asarray(high), n))
    return found[0], found[1]


def _members(confidence: np.ndarray, mask: np.ndarray, bins: int) -> Float64[np.ndarray, "n choice bin"]:
    """1 for the bin of every counted choice; a confidence of 1 is in the last bin."""
    which = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    return ((which[..., None] == np.arange(bins)) & mask[..., None]).astype(np.float64)


def _checked(confidence: np.ndarray, right: np.ndarray, counted: np.ndarray | None, bins: int) -> np.ndarray:
    mask = np.ones(right.shape, dtype=bool) if counted is None else counted
    if confidence.shape != right.shape or mask.shape != right.shape or not mask.any() or bins < 1:
        raise InputError(
            f"reliability: need confidence, right and counted of one shape [n, choice], some counted, and bins >= 1, got "
            f"{list(confidence.shape)}, {list(right.shape)}, {int(mask.sum())} counted and {bins} bins."
        )
    if not ((confidence >= 0) & (confidence <= 1 + 1e-9)).all():
        raise InputError(f"reliability: confidences are probabilities, got {confidence.min():.4g}..{confidence.max():.4g}.")
    return mask
