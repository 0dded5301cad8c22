"""Does the estimate see the size of weights that no output shows? Sizes and curvature along training, and a stream rescaled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from analyses.shared.sorter import Sorter
from analyses.sorting_development.criteria import CRITERIA
from analyses.sorting_development.trajectory import SIZES, Trajectory, settings_of
from mechbp.measuring.changed import measure_changed
from mechbp.methods.llc.result import LLCEstimate
from mechbp.methods.llc.stream_scale import WRITERS, with_scaled_stream
from mechbp.models.llc_config import LLCConfig
from mechbp.models.runs import Run
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.study import Study

FACTORS = (0.5, 1.0, 2.0)
LISTS, QUICK_LISTS = 500, 100
FEW = {"sampler": "averaged noise", "chains": 2, "batch_size": 64, "n_batches": 16}
UNITS = LLCConfig("units", 300.0, 100.0, burn_in=6, draws=6, coordinates="units", **FEW)
"""Few draws do: the three estimates are the same computation but for rounding."""
ABSOLUTE = LLCConfig("absolute", 1000.0, 10_000.0, burn_in=60, draws=30, **FEW)
"""Flat directions are not forgotten yet at half the stream, whose estimate is too small, and so its ratio to the others."""
QUICK_ABSOLUTE = replace(ABSOLUTE, burn_in=40, draws=6)


@dataclass(frozen=True, eq=False)
class Rescaled:
    """The last step of a run with its residual stream times each of FACTORS."""

    run: Run
    change_nats: float
    """Largest change of a log-probability, where the epsilon of the norms follows."""
    change_kept_epsilon_nats: float
    """The same where it stays."""
    estimates: dict[str, list[LLCEstimate]]
    """By coordinates, in the order of FACTORS."""

    def ratio(self, coordinates: str) -> float | None:
        """Return the largest estimate over the smallest; None unless all are positive."""
        values = [found.estimate for found in self.estimates[coordinates]]
        return max(values) / min(values) if min(values) > 0 else None


def rescaled(study: Study, found: Sequence[Trajectory]) -> Rescaled | None:
    """Rescale the first run with weight decay, or the first of all; None where no run has layer norms."""
    normed = [one for one in found if Sorter.last(one.run).architecture.normalization == "LN"]
    if not normed:
        return None
    run = next((one for one in normed if one.decays), normed[0]).run
    study.stage(f"{run.name}: sizes that no output shows")
    sorter = Sorter.last(run)
    inputs = torch.as_tensor(sorter.lists(study, "rescaled", study.size(LISTS, QUICK_LISTS))[:, :-1])
    models = [with_scaled_stream(sorter.model, factor) for factor in FACTORS]
    others = [_with_epsilon_of(sorter.model, model) for model in models]
    settings = {"units": UNITS, "absolute": QUICK_ABSOLUTE if study.quick else ABSOLUTE}
    return Rescaled(
        run,
        max(_change(sorter, model, inputs) for model in models),
        max(_change(sorter, model, inputs) for model in others),
        {name: [measure_changed(run, model, setting) for model in models] for name, setting in settings.items()},
    )


def _with_epsilon_of(original: torch.nn.Module, scaled: torch.nn.Module) -> torch.nn.Module:
    """A copy of the scaled model with the original's epsilons."""
    import copy

    kept = copy.deepcopy(scaled)
    for one, other in zip(original.modules(), kept.modules(), strict=True):
        if isinstance(getattr(one, "eps", None), float):
            other.eps = one.eps
    return kept


@torch.no_grad()
def _change(sorter: Sorter, model: torch.nn.Module, inputs: torch.Tensor) -> float:
    one, other = (of(inputs)[:, sorter.process.length :].double().log_softmax(dim=-1) for of in (sorter.model, model))
    return float((one - other).abs().max())


def scale_claim(found: Rescaled | None) -> Claim:
    """Counted in units of each tensor's size, sizes that no output shows do not count."""
    return CRITERIA.claim(
        "scale-free",
        id="scale-free",
        statement="Half or twice the residual stream, which the layer norms take out, leaves the estimate in units of each "
        "tensor's size alone and changes the absolute one.",
        reference="the learning coefficient knows no coordinates; an estimate held near the weights by a round Gaussian does",
        measured="no run with layer norms: 0 measured"
        if found is None
        else f"{found.run.name}: outputs move by {found.change_nats:.2g} nats at most\n" + "\n".join(_told(found)),
        control="none"
        if found is None
        else f"{', '.join(WRITERS[:4])} alone, with the epsilon of the norms as it was: outputs move by up to "
        f"{found.change_kept_epsilon_nats:.2g} nats, so small has weight decay made the stream",
        numbers=None
        if found is None
        else {
            "change_nats": found.change_nats,
            "units_ratio": found.ratio("units"),
            "absolute_ratio": found.ratio("absolute"),
        },
        figure="" if found is None else "fig-rescaled",
    )


def _told(found: Rescaled) -> list[str]:
    lines = []
    for name, estimates in found.estimates.items():
        values = ", ".join(f"{one.estimate:.2f} at x{factor:g}" for factor, one in zip(FACTORS, estimates, strict=True))
        lines.append(f"{name}: {values}; largest over smallest {found.ratio(name) or float('inf'):.4g}")
    return lines


def scale_section(found: Sequence[Trajectory], changed: Rescaled | None) -> Section:
    """Return the section with sizes and curvature along training, and the stream rescaled."""
    text = (
        "A layer norm divides the size of what it reads out, so that weight decay may shrink embeddings and what heads write at "
        "no cost; curvature then grows as the inverse square, and an estimate at a fixed localization with it. Sizes and "
        "curvature stand here beside each other along training.",
        "The test: multiply everything that is written to the residual stream by one factor, and the epsilon of both layer norms "
        "by its square. No output changes. An estimate that does is about sizes.",
    )
    figures = [_sizes(found)]
    if settings_of(found):
        figures.append(_curvatures(found))
    if changed is not None:
        figures.append(_rescaled_figure(changed))
    return Section("scale", "Or is it the size of weights?", text, tuple(figures))


def _sizes(found: Sequence[Trajectory]) -> FigureData:
    frames = []
    for one in found:
        steps = [snapshot.step for snapshot in one.trained]
        series = [
            {"name": kind, "x": steps, "y": [snapshot.sizes[kind] or None for snapshot in one.trained], "color": index}
            for index, kind in enumerate(SIZES)
            if kind in one.last.sizes
        ]
        frames.append({"name": one.name, "series": series})
    return FigureData(
        id="fig-sizes",
        kind="lines",
        title="Size of the weights",
        caption="Root mean square of the entries, by kind of weight.",
        alt="Root mean square of weights against training steps, both axes logarithmic, one line per kind; a slider changes the "
        "run.",
        data={
            "x_title": "training steps",
            "x_log": True,
            "y_title": "root mean square",
            "y_log": True,
            "frames": frames,
            "frame_title": "run",
        },
    )


def _curvatures(found: Sequence[Trajectory]) -> FigureData:
    frames = []
    for setting in settings_of(found):
        series = []
        for index, one in enumerate(found):
            records = one.measured(setting)
            if records:
                curvature = [record.curvature if record.curvature > 0 else None for record in records]
                series.append({"name": one.name, "x": [record.step for record in records], "y": curvature, "color": index})
        frames.append({"name": setting, "series": series})
    return FigureData(
        id="fig-curvature",
        kind="lines",
        title="Largest curvature of the loss",
        caption="Largest eigenvalue of the Hessian, in the coordinates of the setting.",
        alt="Largest curvature against training steps, both axes logarithmic, one line per run; a slider changes the setting.",
        data={
            "x_title": "training steps",
            "x_log": True,
            "y_title": "largest curvature",
            "y_log": True,
            "frames": frames,
            "frame_title": "setting",
        },
    )


def _rescaled_figure(found: Rescaled) -> FigureData:
    return FigureData(
        id="fig-rescaled",
        kind="dots",
        title=f"{found.run.name}: the estimate of one function at three sizes",
        caption="Residual stream times each factor, epsilon of the norms times its square. Over the estimate at factor 1; chains "
        f"share batches and noise, {', '.join(_few(one[0]) for one in found.estimates.values())}.",
        alt="Estimate over that of the model as it is, in units of each tensor's size and in absolute coordinates, by factor.",
        data={
            "x_title": "estimate / estimate at factor 1",
            "x_log": True,
            "categories": [f"stream x {factor:g}" for factor in FACTORS],
            "series": [
                {"name": name, "x": [one.estimate / estimates[1].estimate for one in estimates]}
                for name, estimates in found.estimates.items()
                if all(one.estimate > 0 for one in estimates)
            ],
            "references": [{"name": "no change", "x": 1.0}],
        },
    )


def _few(found: LLCEstimate) -> str:
    return f"{found.settings.chains} chains of {found.settings.draws} draws at n beta {found.settings.n_beta:g}"
