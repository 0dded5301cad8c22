"""Loss, accuracy and the sharing of values between heads along training: does a state of overlap come first, and go?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analyses.sorting_development.criteria import CRITERIA
from analyses.sorting_development.trajectory import Snapshot, Trajectory
from mechbp.methods.statistics.chance_overlap import ChanceOverlap, chance_overlap
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section

SCORES = {
    "copied by both (OL)": "overlap",
    "overlap of strengths": "soft_overlap",
    "splitting (VS)": "splitting",
    "suppression (CS)": "suppression",
}


@dataclass(frozen=True, eq=False)
class Sharing:
    """How two heads share the values where stage 1 ends and at the last step."""

    one: Trajectory
    early: Snapshot | None
    """Where stage 1 ends; None where no step meets its rule."""

    @property
    def lost(self) -> float | None:
        """OL at the end of stage 1 less that at the last step."""
        return None if self.early is None else self.early.score("overlap") - self.one.last.score("overlap")


def sharing(one: Trajectory) -> Sharing:
    """Find the end of stage 1."""
    return Sharing(one, None if one.stage.step is None else one.at(one.stage.step))


def chance(snapshot: Snapshot) -> ChanceOverlap | None:
    """Return OL where each head of the pair copies as many values, but which ones is random; None for one head."""
    if snapshot.modes.best is None:
        return None
    first, second = (int(snapshot.modes.copies[head].sum()) for head in snapshot.modes.best.heads)
    return chance_overlap(snapshot.modes.copies.shape[1], first, second)


def stages_claim(found: Sequence[Sharing]) -> Claim:
    """Heads first copy the same values, and later fewer of the same."""
    return CRITERIA.claim(
        "stages",
        id="stages",
        statement="When a model has just learned to sort, its heads copy the same values; later they share fewer.",
        reference="Urdshals and Urdshals 2025: stages of learning, of overlapping heads, and of specialised ones",
        measured="\n".join(map(_told, found)),
        control="\n".join(_null_told(one) for one in found),
        numbers={
            "overlap": [None if one.early is None else one.early.score("overlap") for one in found],
            "overlap_lost": [one.lost for one in found],
        },
        figure="fig-sharing",
    )


def _told(found: Sharing) -> str:
    one, stage = found.one, found.one.stage
    if found.early is None:
        return f"{one.name}: 0 of {len(one.trained)} stored steps meet the rule of stage 1"
    rules = f"by accuracy {_step(stage.by_accuracy)}, by loss {_step(stage.by_loss)}"
    return (
        f"{one.name}: both heads copy {found.early.score('overlap'):.2f} of the values at step {found.early.step:,} ({rules}), "
        f"{one.last.score('overlap'):.2f} at step {one.last.step:,}, where the label is {one.last.modes.label!r} "
        f"(VS {_score(one.last, 'splitting')}, CS {_score(one.last, 'suppression')})"
    )


def _null_told(found: Sharing) -> str:
    places = [("then", found.early), ("at the last step", found.one.last)]
    known = [(where, null) for where, at in places if at is not None and (null := chance(at)) is not None]
    parts = [f"{null.mean:.2f} [{null.low:.2f}, {null.high:.2f}] {where}" for where, null in known]
    told = f"; heads that copy as many values, chance which: {', '.join(parts)}" if parts else ""
    return f"{found.one.name}: untrained {found.one.snapshots[0].score('overlap'):.2f}{told}"


def _step(step: int | None) -> str:
    return "none" if step is None else f"{step:,}"


def _score(snapshot: Snapshot, name: str) -> str:
    value = snapshot.score(name)
    return "undefined" if np.isnan(value) else f"{value:.2f}"


def stages_section(found: Sequence[Sharing]) -> Section:
    """Return the section with loss, errors and the scores of modes."""
    text = (
        "Stage 1 ends at the first stored step with cross-entropy at most twice the least of the run, or accuracy of .99. "
        "Confidence may grow without end once everything is right, and cross-entropy then falls for as long as training goes on: "
        "only the second rule says when such a run had learned to sort.",
        "A head copies a value if the value's OV row has its largest entry on the diagonal. OL is the share of values that two "
        "heads copy, VS the share of the values copied that one head alone copies, CS the share that one head copies times the "
        "share that the other suppresses. The overlap of strengths counts how much either adds instead of whether. Two heads "
        "that each copy most values must copy many of the same: what chance alone would have them share stands beside OL.",
    )
    return Section("stages", "Learning to sort, and after", text, (_losses([one.one for one in found]), _sharing_figure(found)))


def _losses(found: Sequence[Trajectory]) -> FigureData:
    def series(key: str, value) -> list[dict[str, object]]:
        lines = [(one, [line for line in one.run.metrics if line["step"]]) for one in found]
        return [
            {
                "name": one.name,
                "x": [line["step"] for line in told],
                "y": [value(line[key]) for line in told],
                "color": index,
                "markers": False,
            }
            for index, (one, told) in enumerate(lines)
        ]

    return FigureData(
        id="fig-losses",
        kind="lines",
        title="Cross-entropy and wrong answers",
        caption="On lists that training has not seen. The exact answer is certain, so that all cross-entropy is the model's own. "
        "Steps without a wrong answer are left out.",
        alt="Cross-entropy and share of wrong answers against training steps, both axes logarithmic, one line per run.",
        data={
            "x_title": "training steps",
            "x_log": True,
            "y_title": "nats, or share of answers",
            "y_log": True,
            "frames": [
                {"name": "wrong answers", "series": series("accuracy", lambda v: 1 - v if v < 1 else None)},
                {"name": "cross-entropy", "series": series("cross_entropy_nats", lambda v: v if v > 0 else None)},
            ],
            "frame_title": "shown",
        },
    )


def _sharing_figure(found: Sequence[Sharing]) -> FigureData:
    frames = []
    for sharing_of in found:
        one = sharing_of.one
        steps = [snapshot.step for snapshot in one.trained]
        series = [
            {
                "name": name,
                "x": steps,
                "y": [None if np.isnan(snapshot.score(key)) else snapshot.score(key) for snapshot in one.trained],
                "color": index,
            }
            for index, (name, key) in enumerate(SCORES.items())
        ]
        frames.append({"name": one.name, "series": [*series, _null_series(one)]})
    return FigureData(
        id="fig-sharing",
        kind="lines",
        title="How two heads share the values",
        caption="Scores of the pair of heads that stands for the layer. Dotted: what both would copy if each copied as many "
        "values as it does, chance which; band: 95 %.",
        alt="Share of values copied by both heads, overlap of strengths, splitting and suppression against training steps; a "
        "slider changes the run.",
        data={
            "x_title": "training steps",
            "x_log": True,
            "y_title": "share of values, or score",
            "y_range": [0.0, 1.0],
            "frames": frames,
            "frame_title": "run",
        },
    )


def _null_series(one: Trajectory) -> dict[str, object]:
    nulls = [chance(snapshot) for snapshot in one.trained]
    ends = {"y": "mean", "low": "low", "high": "high"}
    lines = {key: [None if null is None else getattr(null, end) for null in nulls] for key, end in ends.items()}
    steps = [snapshot.step for snapshot in one.trained]
    return {"name": "OL by chance", "x": steps, **lines, "color": 0, "control": True}
