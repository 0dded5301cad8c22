"""How sure the label of a mode is: the noise that it bears, and its scores where heads have nothing to do with one another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from jaxtyping import Float64

from mechbp.errors import InputError
from mechbp.figures.picture import Picture
from mechbp.methods.circuits.modes import OV, QK, modes, scores_above
from mechbp.methods.circuits.pair_modes import Label
from mechbp.methods.shown import Shown
from mechbp.methods.telling import frame
from mechbp.randomness import checked_generator

Relabelled = Literal["rows", "tokens"]

LARGEST_NOISE = 2.0
STEPS = 200
"""Noise is raised in steps of LARGEST_NOISE / STEPS; a label that flips and flips back between two of them counts as kept."""


@dataclass(frozen=True, eq=False, repr=False)
class Margin(Shown):
    """How much noise the label of a layer bears."""

    label: Label
    """Without noise."""
    flips_at: Float64[np.ndarray, " draw"]
    """Noise at which the label is first another one; inf where it never is, up to LARGEST_NOISE."""

    @property
    def median(self) -> float:
        """Median over draws of the noise."""
        return float(np.median(self.flips_at))

    def picture(self) -> Picture:
        """Draw for every amount of noise the share of draws whose label is still the same."""
        sizes = LARGEST_NOISE * np.arange(STEPS + 1) / STEPS
        kept = (self.flips_at > sizes[:, None]).mean(axis=1)
        return Picture(
            kind="lines",
            title=f"Noise that the label {self.label!r} bears",
            caption=f"Share of {len(self.flips_at)} directions of noise in which the label is still {self.label!r}; noise in "
            f"units of the mean largest diagonal of OV and the spread of QK, tried up to {LARGEST_NOISE:g}.",
            alt="A falling line: share of noise draws that keep the label, by size of the noise.",
            data={
                "x_title": "noise",
                "y_title": "share of draws with the label",
                "y_range": [0, 1.02],
                "series": [{"name": self.label, "x": sizes, "y": kept, "markers": False}],
            },
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per draw: the noise at which the label flips, infinite where it never does."""
        return frame({"draw": range(len(self.flips_at))}, {"flips_at": self.flips_at})

    def summary(self) -> str:
        """Return the label, the median noise that it bears, and over how many draws."""
        never = int(np.isinf(self.flips_at).sum())
        bears = f"median {self.median:.3g}" if np.isfinite(self.median) else f"median above {LARGEST_NOISE:g}"
        least = self.flips_at.min()
        return (
            f"label {self.label!r} flips at noise: {bears}, "
            f"least {f'{least:.3g}' if np.isfinite(least) else f'above {LARGEST_NOISE:g}'}\n"
            f"n = {len(self.flips_at)} draws of noise, {never} of them never flip it up to {LARGEST_NOISE:g}"
        )


@dataclass(frozen=True, eq=False, repr=False)
class NullScores(Shown):
    """Scores of the best pair where tokens have been relabelled, one per draw."""

    labels: tuple[Label, ...]
    splitting: Float64[np.ndarray, " draw"]
    """NaN where neither head copies any token."""
    suppression: Float64[np.ndarray, " draw"]
    overlap: Float64[np.ndarray, " draw"]

    def picture(self) -> Picture:
        """Draw the distribution of every score over draws, as the share of draws below it."""
        share = np.arange(1, len(self.labels) + 1) / len(self.labels)
        series = [
            {"name": name, "x": np.sort(values), "y": share, "markers": False}  # NaN is sorted to the end
            for name, values in self._scores().items()
        ]
        return Picture(
            kind="lines",
            title="Scores where heads have nothing to do with one another",
            caption=f"Distribution over n = {len(self.labels)} relabellings of the tokens; left of a score lie the draws that "
            "reach less.",
            alt="Rising lines, one per score: share of relabellings at or below it.",
            data={"x_title": "score of the best pair", "y_title": "share of draws at or below", "series": series},
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per draw: label and scores of the best pair."""
        return frame({"draw": range(len(self.labels))}, {"label": np.array(self.labels), **self._scores()})

    def summary(self) -> str:
        """Return how often each label occurs by accident, and the 95 % point of every score."""
        counts = ", ".join(f"{label} {self.labels.count(label)}" for label in dict.fromkeys(self.labels))
        points = ", ".join(
            f"{name} {np.nanquantile(values, 0.95):.3g}" for name, values in self._scores().items() if not np.isnan(values).all()
        )
        return f"labels by accident: {counts}\n95 % points: {points}\nn = {len(self.labels)} relabellings"

    def _scores(self) -> dict[str, Float64[np.ndarray, " draw"]]:
        return {"splitting": self.splitting, "suppression": self.suppression, "overlap": self.overlap}


def margin(
    ov: OV, qk: QK, rng: np.random.Generator, *, draws: int = 20, weights: Float64[np.ndarray, " token"] | None = None
) -> Margin:
    """Return the noise at which the label first flips, for `draws` directions of noise.

    Noise x adds to every entry of OV a normal number of standard deviation x times the mean over tokens of the largest
    |diagonal entry|, and to every entry of QK one of x times the standard deviation over keys above the query. Its direction is
    drawn once, its size raised from 0 in steps. Raises InputError as `modes` does, and for draws < 1.
    """
    generator = _checked("margin", rng, draws)
    label = modes(ov, qk, weights=weights).label
    centred = ov - ov.mean(axis=2, keepdims=True)
    ov_unit = np.abs(np.diagonal(centred, axis1=1, axis2=2)).max(axis=0).mean()
    qk_unit = np.nanstd(scores_above(qk))
    sizes = LARGEST_NOISE * np.arange(1, STEPS + 1) / STEPS
    flips_at = np.full(draws, np.inf)
    for draw in range(draws):
        ov_noise = ov_unit * generator.standard_normal(ov.shape)
        qk_noise = qk_unit * generator.standard_normal(qk.shape)
        noisy = (size for size in sizes if modes(ov + size * ov_noise, qk + size * qk_noise, weights=weights).label != label)
        flips_at[draw] = next(noisy, np.inf)
    return Margin(label, flips_at)


def null_scores(
    ov: OV,
    qk: QK,
    rng: np.random.Generator,
    draws: int,
    *,
    relabelled: Relabelled = "rows",
    weights: Float64[np.ndarray, " token"] | None = None,
) -> NullScores:
    """Return the scores of the best pair after relabelling tokens at random, each head by itself; QK stays.

    relabelled: "rows" permutes what is attended to alone, so that nothing is a copy but by accident; "tokens" permutes rows and
    columns alike, so that every head copies and suppresses as many tokens as before, but not the ones that suit the others.
    Raises InputError as `modes` does, and for draws < 1 or another `relabelled`.
    """
    generator = _checked("null_scores", rng, draws)
    if relabelled not in get_args(Relabelled):
        raise InputError(f"null_scores: relabelled must be 'rows' or 'tokens', got {relabelled!r:.40}.")
    if ov.shape[0] < 2:
        raise InputError(f"null_scores: the scores are those of two heads, got {ov.shape[0]}.")
    found = []
    for _ in range(draws):
        orders = [generator.permutation(ov.shape[1]) for _ in ov]
        columns = [order if relabelled == "tokens" else slice(None) for order in orders]
        shuffled = np.stack([matrix[order][:, column] for matrix, order, column in zip(ov, orders, columns, strict=True)])
        best = modes(shuffled, qk, weights=weights).best
        assert best is not None, "two heads are a pair"
        found.append(best)
    scores = np.array([(best.splitting, best.suppression, best.overlap) for best in found]).T
    return NullScores(tuple(best.label for best in found), *scores)


def _checked(where: str, rng: object, draws: int) -> np.random.Generator:
    if isinstance(draws, bool) or not isinstance(draws, int | np.integer) or draws < 1:
        raise InputError(f"{where}: draws must be an integer >= 1, got {draws!r:.40}.")
    return checked_generator(rng, where)
