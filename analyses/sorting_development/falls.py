"""From the largest estimate of a run to its last: how far the learning coefficient falls, and what the loss does meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analyses.sorting_development.trajectory import Trajectory
from mechbp.methods.statistics.intervals import Interval
from mechbp.methods.statistics.repetitions import paired_ratio
from mechbp.models.llc_records import LLCRecord

JUDGED = ("units", "absolute")
"""Settings, in this order for each run."""


@dataclass(frozen=True, eq=False)
class Fall:
    """From the largest estimate of a run, before its last step, to the last."""

    one: Trajectory
    setting: str
    peak: LLCRecord
    last: LLCRecord

    @property
    def fall(self) -> Interval:
        """1 - last / largest, over chains that share batches and noise."""
        ratio = paired_ratio(np.array(self.last.per_chain), np.array(self.peak.per_chain))
        mean, low, high = (np.asarray(1 - end) for end in (ratio.mean, ratio.high, ratio.low))
        return Interval(mean, low, high, ratio.n)

    @property
    def loss_change(self) -> float:
        """Relative change of cross-entropy between both, on the batches of the measurement, up or down."""
        return abs(self.last.start_loss / self.peak.start_loss - 1)


def falls(found: Sequence[Trajectory], settings: Sequence[str]) -> list[Fall]:
    """Return how far estimates fall, settings in this order for each run; what was not measured is absent."""
    fallen = []
    for one in found:
        for setting in settings:
            records = one.measured(setting)
            if len(records) > 2:
                fallen.append(Fall(one, setting, max(records[1:-1], key=lambda record: record.estimate), records[-1]))
    return fallen
