"""Repeat the beginning of a stored measurement, in the time of a page instead of hours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from mechbp.errors import InputError
from mechbp.measuring.plan import Measurer, Plan
from mechbp.methods.llc.result import LLCEstimate
from mechbp.models.llc_records import LLCRecord, read_llc
from mechbp.models.runs import Run

ROUNDING = 0.1
"""How far the same draws may take two machines apart, as a share of the width of the interval."""


@dataclass(frozen=True, eq=False)
class Recheck:
    """A stored measurement, and the same one taken anew with fewer draws."""

    stored: LLCRecord
    found: LLCEstimate

    @property
    def same_draws(self) -> bool:
        """Whether the record holds the chain means of exactly these draws: both then agree but for rounding."""
        return self.found.settings.draws in (self.stored.early_draws, self.stored.setting.draws)

    @property
    def stored_interval(self) -> tuple[float, float]:
        """95 % interval over chains of what is stored: of the same draws where they are known, else of all."""
        early = self.found.settings.draws == self.stored.early_draws
        return _interval(self.stored.early_per_chain if early else self.stored.per_chain)

    @property
    def found_interval(self) -> tuple[float, float]:
        """95 % interval over chains of what was found."""
        return _interval(self.found.per_chain.tolist())

    @property
    def agrees(self) -> bool:
        """Whether both intervals are the same but for rounding, or, where the draws are not the same, whether they meet."""
        (low, high), (other_low, other_high) = self.stored_interval, self.found_interval
        if self.same_draws:
            return max(abs(low - other_low), abs(high - other_high)) <= ROUNDING * (high - low)
        return low <= other_high and other_low <= high


def recheck(run: Run, setting: str, step: int, draws: int | None = None) -> Recheck:
    """Measure one stored step anew, with the same batches and noise and `draws` draws.

    None takes the first tenth, whose chain means are stored: cheap, and equal but for rounding. Raises InputError where the
    step has not been measured, CheckpointError where the measurement is damaged or stale.
    """
    records = read_llc(run).get(setting, {})
    if step not in records:
        held = ", ".join(map(str, records)) or "none"
        raise InputError(f"recheck: run {run.name} has no measurement {setting!r:.40} at step {step}; measured are {held}.")
    stored = records[step]
    plan = Plan(stored.setting, stored.step_size, stored.burn_in, {step: stored.curvature})
    found = Measurer(run, stored.setting).estimate(plan, step, stored.early_draws if draws is None else draws)
    return Recheck(stored, found)


def _interval(per_chain: Sequence[float]) -> tuple[float, float]:
    half = student.ppf(0.975, len(per_chain) - 1) * np.std(per_chain, ddof=1) / np.sqrt(len(per_chain))
    return float(np.mean(per_chain) - half), float(np.mean(per_chain) + half)
