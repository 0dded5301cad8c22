"""Is it noise that keeps attention near the law, or only that a noisy run stops farther from the optimum?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from analyses.chain_training.courses import Family
from analyses.chain_training.criteria import CRITERIA
from analyses.chain_training.turning import LAW
from mechbp.methods.statistics.intervals import seed_mean
from mechbp.methods.statistics.turning_point import at_level
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import estimate

KL = "kl_nats"


@dataclass(frozen=True, eq=False)
class Gaps:
    """Decades of 1 - R² of the law, on exact answers above on tokens, one entry per seed: means over kinds of training."""

    gap: Float64[np.ndarray, " seed"]
    """At the end of both trainings."""
    left: Float64[np.ndarray, " seed"]
    """With the run on exact answers where it was as far from the optimum as the one on tokens is at its end."""
    equal_steps: Float64[np.ndarray, " seed"]
    """With the one on tokens after as many steps as the one on exact answers took; NaN where it does not store any so early."""
    n_runs: int


def gaps(found: Family) -> Gaps | None:
    """Compare every run on tokens with the one on exact answers of its seed; None where fewer than two seeds have both.

    Runs on tokens that end farther from the optimum than the other's first step, or nearer than its last, have no counterpart.
    """
    item = found.exact
    if item is None:
        return None
    pairs: dict[int, list[tuple[float, float, float]]] = {}
    for arm in found.sampled:
        for seed in set(arm.seeds) & set(item.seeds):
            theirs = arm.of_seed(arm.log(LAW), seed)[-1]
            distance = arm.of_seed(arm.log(KL), seed)[-1]
            path = item.of_seed(item.log(LAW), seed)
            there = at_level(item.of_seed(item.log(KL), seed), path, distance)
            if np.isfinite(there):
                then = _after(arm.steps, arm.of_seed(arm.log(LAW), seed), item.steps[-1])
                pairs.setdefault(seed, []).append((path[-1] - theirs, there - theirs, path[-1] - then))
    if len(pairs) < 2:
        return None
    means = np.array([_means(np.array(pairs[seed])) for seed in sorted(pairs)])
    return Gaps(means[:, 0], means[:, 1], means[:, 2], sum(map(len, pairs.values())))


def _after(steps: Sequence[int], values: Float64[np.ndarray, " step"], step: int) -> float:
    """The value after so many steps, straight between the logarithms of stored ones; NaN before the first and after the last."""
    return float(np.interp(np.log(step), np.log(steps), values, left=np.nan, right=np.nan))


def _means(rows: Float64[np.ndarray, "run number"]) -> Float64[np.ndarray, " number"]:
    """Means over runs, of the known ones."""
    known = np.isfinite(rows)
    with np.errstate(invalid="ignore"):
        return np.where(known, rows, 0).sum(axis=0) / known.sum(axis=0)


def _told(values: np.ndarray) -> str:
    known = values[np.isfinite(values)]
    if len(known) < 2:
        return "fewer than 2 seeds store steps"
    return f"{estimate(seed_mean(known), 2)} decades, {len(known)} seeds that store steps"


def distance_section(found: list[Family]) -> Section:
    """Return the section with one figure per setting."""
    text = (
        "A run on sampled tokens ends farther from the exact answer than one on exact answers. If all runs lie on one curve of "
        "the law against the distance from the optimum, whatever their noise and their step, then distance explains it; where "
        "noisy runs lie below the path of the others, noise has a part of its own.",
        "Runs on exact answers pass a given distance while their rate of learning is still high, those on tokens stand there at "
        "the end of its decay.",
    )
    return Section("distance", "Noise, or distance from the optimum?", text, tuple(map(_figure, found)))


def _figure(found: Family) -> FigureData:
    series = []
    for color, item in enumerate(found.every):
        paths = dict(zip(item.seeds, zip(item.curve(KL), item.curve(LAW), strict=True), strict=True))
        if item.first is not None:
            paths |= {item.first.seeds[0]: (item.first.curve(KL)[0], item.first.curve(LAW)[0])}
        steps = item.group.runs[0].config.training.steps
        series.append(
            {
                "name": f"{item.group.training}, {steps:,} steps",
                "x": _apart([np.maximum(kl, 1e-9) for kl, _ in paths.values()]),
                "y": _apart([np.clip(law, 1e-6, 1e4) for _, law in paths.values()]),
                "markers": True,
                "color": color,
                "dash": "solid" if color == 0 else "dot",
            }
        )
    return FigureData(
        id=f"fig-{found.name}-distance",
        kind="lines",
        title=f"{found.title}: the law of attention against the distance from the optimum",
        caption="One line per run, one point per stored step, training goes to the left; a kind of training has one colour for "
        "all its seeds. Words of the page's length.",
        alt="1 - R² of the law of attention against KL(exact || model), both axes logarithmic, one line per run.",
        data={"x_title": "KL(exact || model) (nats per token)", "y_title": "1 - R² of the law", "x_log": True, "y_log": True,
              "series": series},
    )  # fmt: skip


def _apart(paths: Sequence[Float64[np.ndarray, " step"]]) -> list[float | None]:
    """Join paths, with a gap between any two."""
    return [value for path in paths for value in (*(float(v) for v in path), None)][:-1]


def distance_claims(found: Family) -> list[Claim]:
    """Return whether distance explains most of the gap between exact answers and tokens, and whether noise adds to it."""
    if found.exact is None or not found.paired:
        return []
    measured = gaps(found)
    name = found.exact.group.name
    half = None if measured is None else measured.left - measured.gap / 2
    shown = "fewer than 2 seeds have runs of both kinds that pass the same distance"
    if measured is not None:
        shown = (
            f"gap at the end: {estimate(seed_mean(measured.gap), 2)} decades of 1 - R²\nleft at equal distance: "
            f"{estimate(seed_mean(measured.left), 2)} decades\nleft at equal steps: "
            f"{_told(measured.equal_steps)}\n{len(measured.gap)} seeds, {measured.n_runs} runs on tokens"
        )
    return [
        CRITERIA.claim(
            "distance",
            id=f"{name}-distance",
            statement="Distance from the optimum explains more than half of how much farther from the law "
            f"{name} ends than runs on sampled tokens.",
            reference="none",
            measured=shown,
            control="the same runs at the ends of their training",
            numbers=None if measured is None or half is None else {
                "gap": measured.gap, "left": measured.left,
                "gap_low": seed_mean(measured.gap).low, "half_high": seed_mean(half).high,
            },
            figure=f"fig-{found.name}-distance",
        ),
        CRITERIA.claim(
            "noise-left",
            id=f"{name}-noise-left",
            statement=f"Noise has a part of its own: at equal distance from the optimum runs on sampled tokens are nearer to the "
            f"law than {name}.",
            reference="none",
            measured=shown,
            control="0: all runs on one curve",
            numbers=None if measured is None else {"left": measured.left, "left_low": seed_mean(measured.left).low},
            figure=f"fig-{found.name}-distance",
        ),
        CRITERIA.claim(
            "steps-left",
            id=f"{name}-steps-left",
            statement=f"Nor is it the number of steps: after as many steps as {name} took, runs on sampled tokens are nearer to "
            "the law than it is.",
            reference="none",
            measured=shown,
            control="0: the law is approached with steps alone, whatever the noise",
            numbers=None if measured is None or len(known := measured.equal_steps[np.isfinite(measured.equal_steps)]) < 2 else {
                "equal_steps": known, "equal_steps_low": seed_mean(known).low,
            },
            figure=f"fig-{found.name}-distance",
        ),
    ]  # fmt: skip
