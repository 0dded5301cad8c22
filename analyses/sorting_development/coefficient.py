"""The local learning coefficient along training: does it rise, stay, and fall while the loss stays?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analyses.sorting_development.confidence import Confidence, told
from analyses.sorting_development.criteria import CRITERIA
from analyses.sorting_development.falls import Fall
from analyses.sorting_development.trajectory import NO_RECORDS, Trajectory, settings_of
from mechbp.figures.intervals import points
from mechbp.methods.llc.result import RHAT_LIMIT
from mechbp.methods.statistics.intervals import seed_mean
from mechbp.models.llc_config import LLCConfig
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import estimate


def coefficient_claim(found: Sequence[Trajectory], fallen: Sequence[Fall], equal: Sequence[Confidence]) -> Claim:
    """The estimate has a maximum inside training and ends below it at the same loss."""
    return CRITERIA.claim(
        "interior-maximum",
        id="interior-maximum",
        statement="The learning coefficient has a maximum within training and ends at least a tenth below it, while "
        "cross-entropy stays.",
        reference="Urdshals and Urdshals 2025: the coefficient rises, stays, and falls while accuracy stays; at its settings, "
        "which are not known",
        measured="\n".join(
            f"{one.one.name}, {one.setting}: largest {one.peak.estimate:.1f} at step {one.peak.step:,}, "
            f"{one.last.estimate:.1f} at step {one.last.step:,}: {estimate(one.fall)} lower; cross-entropy "
            f"{one.peak.start_loss:.4g} to {one.last.start_loss:.4g} nats, a change of {one.loss_change:.0%}"
            for one in fallen
        )
        or f"0 of {len(found)} runs: {NO_RECORDS}",
        control=told(equal) or "equal confidence: 0 measured",
        numbers={
            "fall_low": [float(one.fall.low) for one in fallen],
            "loss_change": [one.loss_change for one in fallen],
        }
        if fallen
        else None,
        figure=f"fig-llc-{fallen[0].setting}" if fallen else "",
    )


def coefficient_section(found: Sequence[Trajectory]) -> Section:
    """Return the section with a figure per setting, and the estimate against the loss."""
    settings = settings_of(found)
    if not settings:
        return Section("coefficient", "The learning coefficient along training", (), (), "skipped", NO_RECORDS)
    text = (
        "The local learning coefficient says how fast the volume of parameters that are nearly as good shrinks with the loss: "
        "lambda = n beta (E L(w) - L(w*)), w drawn near the weights w* of a stored step by stochastic gradient Langevin "
        "dynamics. Values compare at equal settings only, so that every setting has a figure of its own. Chains share batches "
        "and noise from step to step; intervals are Student's over chains.",
        "Early steps are no minima, and late ones without weight decay are far below the loss that the temperature resolves. "
        "What was known when settings and thresholds were chosen: few draws at four steps of two runs. In absolute coordinates "
        "the largest curvature grew two hundredfold with weight decay, since decay shrinks weights that a layer norm reads and "
        "then divides out; in units of each tensor's size it stayed between .08 and 1. Without decay, cross-entropy went to "
        "1e-4 and the curvature with it.",
        _cautions(found),
        *[f"`{name}: {_settings(config)}`" for name, config in _configs(found).items()],
    )
    figures = [_curves(found, setting) for setting in settings]
    return Section("coefficient", "The learning coefficient along training", text, (*figures, _against_loss(found, settings[0])))


def _cautions(found: Sequence[Trajectory]) -> str:
    """How many estimates speak against themselves, and how far chains disagree, setting by setting."""
    told = []
    for setting in settings_of(found):
        records = [record for one in found for record in one.measured(setting)]
        warned = sum(bool(record.cautions) for record in records)
        largest = max((record.rhat for record in records if record.rhat is not None), default=None)
        spread = "" if largest is None else f", R-hat up to {largest:.2f}"
        told.append(f"{setting} {warned} of {len(records)}{spread}")
    return (
        f"Estimates that come with a caution: {'; '.join(told)}. An R-hat above {RHAT_LIMIT:g} says that chains still drift or "
        "disagree, and counts as one; so does a chain below 0, as at weights that are no minimum."
    )


def _configs(found: Sequence[Trajectory]) -> dict[str, LLCConfig]:
    """The settings that were measured; the first run that has one says what it is."""
    return {setting.name: setting for one in reversed(found) for setting in one.run.config.llc if setting.name in one.records}


def _settings(config: LLCConfig) -> str:
    relative = "relative to each tensor's size" if config.coordinates == "units" else "absolute"
    return (
        f"n beta {config.n_beta:g}, localization {config.localization:g} ({relative}), sampler {config.sampler!r}, "
        f"{config.chains} chains of {config.draws} draws, batches of {config.batch_size}"
    )


def _curves(found: Sequence[Trajectory], setting: str) -> FigureData:
    series = []
    for index, one in enumerate(found):
        if records := one.measured(setting):
            intervals = [seed_mean(np.array(record.per_chain)) for record in records]
            steps = [record.step for record in records]
            series.append({"name": one.name, "x": steps, **points(intervals, "y"), "color": index})
    return FigureData(
        id=f"fig-llc-{setting}",
        kind="lines",
        title=f"Learning coefficient along training, setting {setting}",
        caption=f"{_settings(_configs(found)[setting])}. Bands: 95 % over chains.",
        alt="Estimated learning coefficient against training steps on a logarithmic axis, one line per run.",
        data={"x_title": "training steps", "x_log": True, "y_title": "learning coefficient", "series": series},
    )


def _against_loss(found: Sequence[Trajectory], setting: str) -> FigureData:
    series = []
    for index, one in enumerate(found):
        records = one.measured(setting)
        if records:
            intervals = [seed_mean(np.array(record.per_chain)) for record in records]
            loss = [record.start_loss for record in records]
            series.append({"name": one.name, "x": loss, **points(intervals, "y"), "color": index})
    return FigureData(
        id="fig-llc-against-loss",
        kind="lines",
        title="Learning coefficient against cross-entropy",
        caption=f"The same estimates, setting {setting}; training goes from right to left. Where runs of other modes lie on one "
        "line, the loss alone tells their estimate.",
        alt="Estimated learning coefficient against cross-entropy on a logarithmic axis, one line per run.",
        data={"x_title": "cross-entropy (nats)", "x_log": True, "y_title": "learning coefficient", "series": series},
    )
