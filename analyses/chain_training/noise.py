"""Does noise in the gradient bring attention nearer to the law? Batches of several sizes, at equal steps and at equal words."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from analyses.chain_training.courses import Courses, Family
from analyses.chain_training.criteria import CRITERIA
from analyses.chain_training.turning import LAW
from mechbp.figures.intervals import points
from mechbp.methods.statistics.intervals import seed_mean
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import estimate


def batch_size(item: Courses) -> int:
    """Return the words of a batch."""
    return item.group.runs[0].config.training.batch_size


def equal_steps(item: Courses) -> int:
    """Return the steps of a training."""
    return item.group.runs[0].config.training.steps


KINDS: dict[str, tuple[str, Callable[[Courses], int]]] = {
    "noise-steps": ("steps", equal_steps),
    "noise-words": ("words", lambda item: item.words),
}
"""Criterion -> what is equal."""


def alike(found: Family, equal: Callable[[Courses], int]) -> list[Courses]:
    """Return the largest set of runs on tokens that are equal in this and differ in their batches, smallest batch first."""
    sets: dict[int, dict[int, Courses]] = {}
    for item in found.sampled:
        sets.setdefault(equal(item), {})[batch_size(item)] = item
    best = max(sets.values(), key=len, default={})
    return [best[size] for size in sorted(best)] if len(best) > 1 else []


def noise_section(found: list[Family]) -> Section:
    """Return the section with one figure per setting that has batches of several sizes."""
    text = (
        "The gradient of a small batch is noisier. At an equal number of steps small batches have also seen fewer words; at an "
        "equal number of words they have taken more steps. If noise keeps attention near the law, the smaller batch should be "
        "nearer in both.",
    )
    figures = [_figure(item) for item in found if any(alike(item, equal) for _, equal in KINDS.values())]
    if not figures:
        return Section("noise", "Noise", text, (), "skipped", "no setting was trained with batches of several sizes")
    return Section("noise", "Noise", text, tuple(figures))


def _figure(found: Family) -> FigureData:
    arms = sorted({id(item): item for _, equal in KINDS.values() for item in alike(found, equal)}.values(), key=batch_size)
    means = [_powers(item, LAW) for item in arms]
    return FigureData(
        id=f"fig-{found.name}-noise",
        kind="dots",
        title=f"{found.title}: distance from the law by size of batch, at the end of training",
        caption="Geometric means over seeds with Student's t interval. Exact answers have no noise at all.",
        alt="1 - R² of the law of attention and share of the nats missed, on a logarithmic axis, by size of batch and steps.",
        data={
            "x_title": "missed", "x_log": True,
            "categories": [_label(item) for item in arms] + (["exact answers"] if found.exact else []),
            "series": [
                {"name": "1 - R² of the law", **points(means + _exact(found, LAW), "x")},
                {"name": "share missed as it is", **points([_powers(i, "missed") for i in arms] + _exact(found, "missed"), "x")},
            ],
        },
    )  # fmt: skip


class _Ends:
    """An interval of logarithms, as numbers again."""

    def __init__(self, values: np.ndarray) -> None:
        means = seed_mean(values)
        single = len(values) == 1
        self.mean = np.power(10.0, means.mean)
        self.low = self.mean if single else np.power(10.0, means.low)
        self.high = self.mean if single else np.power(10.0, np.minimum(means.high, 4))


def _powers(item: Courses, name: str) -> _Ends:
    return _Ends(item.log(name)[:, -1])


def _exact(found: Family, name: str) -> list[_Ends]:
    return [_powers(found.exact, name)] if found.exact else []


def _label(item: Courses) -> str:
    return f"batches of {batch_size(item):,}, {equal_steps(item):,} steps"


def noise_claims(found: Family) -> list[Claim]:
    """Return, at equal steps and at equal words, whether the smaller batch is nearer to the law."""
    claims = []
    for key, (what, equal) in KINDS.items():
        arms = alike(found, equal)
        if not arms:
            continue
        common = [seed for seed in arms[0].seeds if all(seed in item.seeds for item in arms)]
        table = np.array([[item.of_seed(item.log(LAW), seed)[-1] for seed in common] for item in arms])
        if len(common) < 2:
            continue
        gain = table[-1] - table[0]
        claims.append(
            CRITERIA.claim(
                key,
                id=f"{arms[0].group.name}-{key}",
                statement=f"At an equal number of {what} attention is the nearer to the law the smaller the batch "
                f"({found.title}, {equal(arms[0]):,} {what}).",
                reference="none",
                measured="\n".join(
                    f"{_label(item)}: R² {', '.join(f'{value:.3f}' for value in 1 - item.curve(LAW)[:, -1])}, "
                    f"missed {item.curve('missed')[:, -1].mean():.2%}"
                    for item in arms
                )
                + f"\nlargest less smallest batch, 1 - R²: {estimate(seed_mean(gain), 2)} decades, {len(common)} seeds",
                control="exact answers, R²: " + _exact_r2(found),
                numbers={
                    "batches": [batch_size(item) for item in arms],
                    "law_missed": table.mean(axis=1),
                    "gain": gain,
                    "gain_low": seed_mean(gain).low,
                },
                figure=f"fig-{found.name}-noise",
            )
        )
    return claims


def _exact_r2(found: Family) -> str:
    if found.exact is None:
        return "no run"
    return ", ".join(f"{value:.3f}" for value in 1 - found.exact.curve(LAW)[:, -1])
