"""The numbers that development is held to, from the stored measurements that the page reads, for `mechbp verify`."""

from __future__ import annotations

from collections.abc import Iterator

from analyses.sorting_development.comparisons import within_runs
from analyses.sorting_development.criteria import CRITERIA
from analyses.sorting_development.falls import JUDGED, falls
from analyses.sorting_development.trajectory import trajectory, unsuitable
from mechbp.models.verify import Check
from mechbp.study import Study


def thresholds(study: Study) -> Iterator[tuple[str, Check]]:
    """Yield how far the learning coefficient falls, and whether it ends below the state of overlap."""
    found = [trajectory(study, run) for run in study.runs if not unsuitable(run)]
    bounds = CRITERIA["interior-maximum"].bounds
    for one in falls(found, JUDGED):
        low = float(one.fall.low)
        reached = low >= bounds["tenth"] and one.loss_change <= bounds["twentieth"]
        what = f"LLC, {one.setting}: falls >= {bounds['tenth']:.0%} at equal loss"
        yield one.one.name, Check.of(what, f"{float(one.fall.mean):.0%}, loss by {one.loss_change:.0%}", reached)
    for pair in within_runs(found):
        if pair.one.specialised:
            what = f"LLC, {pair.setting}: last step less overlap < 0"
            difference = pair.difference
            yield pair.one.name, Check.of(what, f"{float(difference.mean):.1f}", float(difference.high) < 0)
