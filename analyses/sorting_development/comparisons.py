"""Is a specialised end state simpler than one of overlapping heads: of the same run, and of another at the same loss?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from analyses.sorting_development.criteria import CRITERIA
from analyses.sorting_development.trajectory import NO_RECORDS, Trajectory, settings_of
from mechbp.figures.intervals import points
from mechbp.methods.statistics.intervals import Interval
from mechbp.methods.statistics.repetitions import independent_difference, paired_difference, paired_ratio
from mechbp.models.llc_records import LLCRecord
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import estimate


@dataclass(frozen=True, eq=False)
class Within:
    """The last step of a run against its last one in the state of overlap."""

    one: Trajectory
    setting: str
    overlap: LLCRecord
    last: LLCRecord

    @property
    def difference(self) -> Interval:
        """Last less overlap, over chains that share batches and noise."""
        return paired_difference(*_chains(self.last, self.overlap))

    @property
    def share(self) -> Interval:
        """The same over that of the overlap, so that settings can stand side by side."""
        ratio = paired_ratio(*_chains(self.last, self.overlap))
        mean, low, high = (np.asarray(end - 1) for end in (ratio.mean, ratio.low, ratio.high))
        return Interval(mean, low, high, ratio.n)


@dataclass(frozen=True, eq=False)
class Matched:
    """The last step of a run against another run, in the state of overlap, at the same cross-entropy."""

    one: Trajectory
    other: Trajectory
    setting: str
    last: LLCRecord
    between: tuple[LLCRecord, LLCRecord]
    """Neighbouring measured steps of the other run, both in overlap, between whose cross-entropies that of `last` lies."""

    @property
    def interpolated(self) -> np.ndarray:
        """Estimates of the other run's chains at this cross-entropy, linear in its logarithm."""
        losses = np.log([record.start_loss for record in self.between])
        weight = (np.log(self.last.start_loss) - losses[0]) / (losses[1] - losses[0])
        first, second = _chains(*self.between)
        return (1 - weight) * first + weight * second

    @property
    def difference(self) -> Interval:
        """Last less the other's; step sizes differ between runs, so that chains share nothing."""
        return independent_difference(np.array(self.last.per_chain), self.interpolated)


def _chains(*records: LLCRecord) -> list[np.ndarray]:
    return [np.array(record.per_chain) for record in records]


def within_runs(found: Sequence[Trajectory]) -> list[Within]:
    """Return all comparisons within a run, whatever its last step is labelled."""
    compared = []
    for one in found:
        for setting in settings_of(found):
            overlap = one.last_overlap(setting)
            records = one.measured(setting)
            if overlap is not None and records[-1].step == one.last.step and overlap.step < one.last.step:
                compared.append(Within(one, setting, overlap, records[-1]))
    return compared


def matched_runs(found: Sequence[Trajectory]) -> list[Matched]:
    """Return all comparisons of a run's last step with another run in overlap at the same loss; the last crossing counts."""
    compared = []
    for one in found:
        for setting in settings_of(found):
            records = one.measured(setting)
            if not records or records[-1].step != one.last.step:
                continue
            last = records[-1]
            for other in found:
                crossed = [pair for pair in pairwise(other.measured(setting)) if other is not one and _crosses(other, pair, last)]
                if crossed:
                    compared.append(Matched(one, other, setting, last, crossed[-1]))
    return compared


def _crosses(other: Trajectory, pair: tuple[LLCRecord, LLCRecord], last: LLCRecord) -> bool:
    losses = [record.start_loss for record in pair]
    alike = all(other.at(record.step).modes.label == "overlap" for record in pair)
    return alike and min(losses) <= last.start_loss <= max(losses) and losses[0] != losses[1]


def within_claim(found: Sequence[Trajectory], compared: Sequence[Within]) -> Claim:
    """A specialised last step has the lower estimate."""
    counted = [one for one in compared if one.one.specialised]
    others = [one for one in compared if not one.one.specialised]
    return CRITERIA.claim(
        "specialised-lower",
        id="specialised-lower",
        statement="Within a run the learning coefficient of a specialised end is lower than that of the state of overlap before "
        "it, at three settings.",
        reference="Urdshals and Urdshals 2025: vocabulary-splitting and copy-suppression are simpler than overlapping heads",
        measured="\n".join(map(_within_told, counted)) or _none_counted(found),
        control="runs that do not end specialised: " + ("\n".join(map(_within_told, others)) or "none"),
        numbers={"difference_high": [float(one.difference.high) for one in counted]} if counted else None,
        figure="fig-within" if compared else "",
    )


def _within_told(one: Within) -> str:
    return (
        f"{one.one.name} ({one.one.last.modes.label}), {one.setting}: {estimate(one.difference, 1)} from step "
        f"{one.overlap.step:,} ({one.overlap.estimate:.1f}) to {one.last.step:,} ({one.last.estimate:.1f}); cross-entropy "
        f"{one.overlap.start_loss:.4g} to {one.last.start_loss:.4g} nats"
    )


def _none_counted(found: Sequence[Trajectory]) -> str:
    labels = ", ".join(f"{one.name} {one.last.modes.label!r}" for one in found)
    return f"0 runs to compare; labels of the last steps: {labels}" + ("" if settings_of(found) else f"; {NO_RECORDS}")


def matched_claim(found: Sequence[Trajectory], compared: Sequence[Matched]) -> Claim:
    """A specialised last step has the lower estimate than overlap elsewhere, at the same loss."""
    counted = [one for one in compared if one.one.specialised]
    others = [one for one in compared if not one.one.specialised]
    return CRITERIA.claim(
        "matched-loss",
        id="matched-loss",
        statement="A specialised end has the lower learning coefficient also than a run of overlapping heads with the same "
        "cross-entropy.",
        reference="a smaller loss alone changes the estimate; at the same loss it cannot",
        measured="\n".join(map(_matched_told, counted)) or _none_counted(found),
        control="runs that do not end specialised: " + ("\n".join(map(_matched_told, others)) or "none"),
        numbers={"difference_high": [float(one.difference.high) for one in counted]} if counted else None,
        figure="fig-matched" if compared else "",
    )


def _matched_told(one: Matched) -> str:
    steps = " and ".join(f"{record.step:,}" for record in one.between)
    return (
        f"{one.one.name} ({one.one.last.modes.label}), {one.setting}: {estimate(one.difference, 1)} against {one.other.name} "
        f"between steps {steps}, both at {one.last.start_loss:.4g} nats: {one.last.estimate:.1f} and "
        f"{one.interpolated.mean():.1f}"
    )


def comparisons_section(within: Sequence[Within], matched: Sequence[Matched]) -> Section:
    """Return the section with both comparisons, whatever the labels."""
    title = "Are specialised heads simpler?"
    if not within and not matched:
        why = f"no step in the state of overlap has a measurement beside one of the last step; {NO_RECORDS}"
        return Section("comparisons", title, (), (), "skipped", why)
    text = (
        "A run's last step is compared with its last step labelled overlap, chain by chain; and with another run, in overlap, "
        "where that has the same cross-entropy on the same batches. The first comparison leaves confidence free to differ, the "
        "second does not. Both are shown for every run, with its last label; claims count those labelled splitting, "
        "suppression or both.",
    )
    figures = []
    if within:
        figures.append(_within_figure(within))
    if matched:
        figures.append(_matched_figure(matched))
    return Section("comparisons", title, text, tuple(figures))


def _within_figure(compared: Sequence[Within]) -> FigureData:
    return FigureData(
        id="fig-within",
        kind="dots",
        title="Last step against the last state of overlap, same run",
        caption="Estimate of the last step over that of the last step in overlap, less 1; 95 % intervals over chains that share "
        "batches and noise. In parentheses: label of the last step.",
        alt="Relative difference of the learning coefficient between the last step and the last state of overlap, one row per "
        "run and setting.",
        data={
            "x_title": "relative difference",
            "categories": [f"{one.one.name} ({one.one.last.modes.label}), {one.setting}" for one in compared],
            "series": [{"name": "last / overlap - 1", **points([one.share for one in compared], "x")}],
            "references": [{"name": "equal", "x": 0.0}],
        },
    )


def _matched_figure(compared: Sequence[Matched]) -> FigureData:
    def relative(one: Matched) -> Interval:
        found = one.difference
        mean, low, high = (np.asarray(end / one.interpolated.mean()) for end in (found.mean, found.low, found.high))
        return Interval(mean, low, high, found.n)

    return FigureData(
        id="fig-matched",
        kind="dots",
        title="Last step against overlap in another run, same cross-entropy",
        caption="Difference over the other run's estimate, interpolated between its stored steps; 95 % intervals, chains of both "
        "runs independent.",
        alt="Relative difference of the learning coefficient at matched cross-entropy, one row per pair of runs and setting.",
        data={
            "x_title": "relative difference",
            "categories": [
                f"{one.one.name} ({one.one.last.modes.label}) against {one.other.name}, {one.setting}" for one in compared
            ],
            "series": [{"name": "last / overlap elsewhere - 1", **points([relative(one) for one in compared], "x")}],
            "references": [{"name": "equal", "x": 0.0}],
        },
    )
