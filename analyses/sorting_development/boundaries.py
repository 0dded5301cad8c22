"""Where stage 2 ends: the maximum of the smoothed learning coefficient, and how much it depends on the smoothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analyses.sorting_development.criteria import CRITERIA
from analyses.sorting_development.trajectory import NO_RECORDS, Trajectory
from mechbp.methods.statistics.smoothed_maximum import SmoothedMaximum, smoothed_maximum
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.study import Study

LENGTH_SCALES = (0.2, 0.4, 0.8)
"""Decades."""
SETTING = "units"
LEAST_STEPS = 5


@dataclass(frozen=True, eq=False)
class Boundary:
    """The end of stage 2 of one run, smoothing by smoothing."""

    one: Trajectory
    maxima: tuple[SmoothedMaximum, ...]

    @property
    def spread(self) -> float | None:
        """Latest over earliest; None where a smoothing has no maximum between the first and the last step."""
        where = [found.where for found in self.maxima]
        return max(where) / min(where) if all(found.interior for found in self.maxima) else None


def boundaries(study: Study, found: Sequence[Trajectory]) -> list[Boundary]:
    """Smooth the estimates of every run that has enough of them."""
    ends = []
    for one in found:
        records = one.measured(SETTING)
        if len(records) >= LEAST_STEPS:
            steps = np.array([record.step for record in records], dtype=float)
            values = np.array([record.per_chain for record in records]).T
            draw = study.rng(one.name, "boundaries")
            ends.append(Boundary(one, tuple(smoothed_maximum(steps, values, scale, draw) for scale in LENGTH_SCALES)))
    return ends


def boundaries_claim(ends: Sequence[Boundary]) -> Claim:
    """The end of stage 2 does not hang on how the curve is smoothed."""
    return CRITERIA.claim(
        "boundaries",
        id="boundaries",
        statement="Where stage 2 ends, the maximum of the smoothed learning coefficient, depends on the smoothing by no more "
        "than a factor of two.",
        reference="Urdshals and Urdshals 2025: three stages that recur; how boundaries were drawn is not published",
        measured="\n".join(f"{one.one.name}: {'; '.join(map(_told, one.maxima))}" for one in ends) or f"0 runs: {NO_RECORDS}",
        control="the end of stage 1: " + "; ".join(map(_first_told, ends)) if ends else "none",
        numbers={"spread": [one.spread for one in ends]} if ends else None,
        figure="fig-boundaries" if ends else "",
    )


def _first_told(one: Boundary) -> str:
    """Where stage 1 ends, and whether stage 2 could end after it."""
    first = one.one.stage.step
    if first is None:
        return f"{one.one.name} at 0 of {len(one.one.trained)} stored steps"
    later = sum(found.interior and found.where > first for found in one.maxima)
    return f"{one.one.name} step {first:,}, which {later} of {len(one.maxima)} maxima come after"


def _told(found: SmoothedMaximum) -> str:
    where = f"step {found.where:,.0f} [{found.low:,.0f}, {found.high:,.0f}]" if found.interior else "no maximum inside"
    return f"{found.length_scale:g} decades {where}"


def boundaries_section(ends: Sequence[Boundary]) -> Section:
    """Return the section with one row per run and smoothing."""
    title = "When stages end"
    if not ends:
        return Section("boundaries", title, (), (), "skipped", f"setting {SETTING!r}: {NO_RECORDS}")
    text = (
        "The curve of the learning coefficient is smoothed by a Gaussian process on the logarithm of the step, with a fixed "
        "length scale and noise of largest likelihood. Intervals: chains drawn anew.",
    )
    figure = FigureData(
        id="fig-boundaries",
        kind="dots",
        title="Step at which the smoothed learning coefficient is largest",
        caption="By length scale of the smoothing, in decades of steps; bars: 95 % over resampled chains. A maximum at the first "
        "or the last step is none and is left out. Open: the end of stage 1.",
        alt="Step of the largest smoothed learning coefficient per run, one point per length scale, beside the end of stage 1.",
        data={
            "x_title": "training steps",
            "x_log": True,
            "categories": [one.one.name for one in ends],
            "series": [
                *(
                    _series(f"{scale:g} decades", [one.maxima[index] for one in ends])
                    for index, scale in enumerate(LENGTH_SCALES)
                ),
                {"name": "end of stage 1", "x": [one.one.stage.step for one in ends], "control": True},
            ],
        },
    )
    return Section("boundaries", title, text, (figure,))


def _series(name: str, maxima: Sequence[SmoothedMaximum]) -> dict[str, object]:
    ends = {"x": "where", "low": "low", "high": "high"}
    found = {key: [getattr(one, end) if one.interior else None for one in maxima] for key, end in ends.items()}
    return {"name": name, **found}
