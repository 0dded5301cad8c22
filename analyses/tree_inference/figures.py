"""What a run's answers look like beside the oracles': divergence, accuracy by level, calibration."""

from __future__ import annotations

from analyses.shared.calibration import calibration_axes, calibration_density, calibration_line
from analyses.tree_inference.comparison import Comparison
from mechbp.figures.intervals import points
from mechbp.methods.statistics.answers import calibration
from mechbp.methods.statistics.intervals import Interval
from mechbp.models.runs import Run
from mechbp.report.document import FigureData
from mechbp.study import Study


def divergence_figure(run: Run, own: Comparison, uniform: Comparison) -> FigureData:
    labels = [f"BP_{k}" for k in range(len(own.oracles))]
    rows = [
        ("own data", [a.kl_model_to_bp_nats for a in own.oracles], 0, False),
        ("uniform sequences", [a.kl_model_to_bp_nats for a in uniform.oracles], 1, False),
        ("untrained, own data", [a.kl_model_to_bp_nats for a in own.control], 0, True),
    ]
    series = [{"name": name, **points(values, "x"), "color": color, "control": control} for name, values, color, control in rows]
    clamped = max(a.clamped for a in own.oracles)
    floor = (
        f" Up to {clamped:.0%} of the oracle's probabilities are exact zeros, raised to 1e-12; there the floor sets the number."
        if clamped
        else ""
    )
    return FigureData(
        id=f"fig-{run.name}-divergence",
        kind="dots",
        title=f"{run.name}: which oracle does the model follow?",
        caption=f"Mean KL(model || BP_k) with 95 % bootstrap intervals over {own.n:,} sequences "
        f"({uniform.n:,} uniform ones); smaller is nearer.{floor}",
        alt=f"The divergence is least for BP_{own.nearest_level} on own data "
        f"and for BP_{uniform.nearest_level} on uniform sequences.",
        data={"x_title": "KL(model || BP_k) (nats)", "x_log": True, "categories": labels, "series": series},
    )


def level_figure(run: Run, by_level: list[dict[str, Interval]]) -> FigureData:
    k = run.config.process.filter_level
    names = {"model": "model", "oracle": f"BP_{k}", "untrained": "untrained model"}
    series = [
        {"name": label, **points([row[name] for row in by_level], "y"), "control": name == "untrained"}
        for name, label in names.items()
    ]
    gap = max(abs(float(row["model"].mean - row["oracle"].mean)) for row in by_level)
    return FigureData(
        id=f"fig-{run.name}-levels",
        kind="bars",
        title=f"{run.name}: accuracy on data of every filter level",
        caption=f"Expected accuracy with 95 % intervals, n = {by_level[0]['model'].n:,} sequences per level; ticks mark the best "
        f"possible on that data. Largest difference between the model and BP_{k}: {gap:.3f}.",
        alt=f"Bars of accuracy with intervals by filter level of the data, of the model, BP_{k} and random weights; ticks mark "
        "the best.",
        data={
            "y_title": "accuracy",
            "x_title": "filter level of the data",
            "y_range": [0, 1.05],
            "categories": [f"k = {level}" for level in range(len(by_level))],
            "series": series,
            "references": [{"name": "best possible", "y": [float(row["best"].mean) for row in by_level]}],
        },
    )


def calibration_figures(study: Study, run: Run, own: Comparison, uniform: Comparison) -> list[FigureData]:
    figures = []
    for label, comparison in (("own data", own), ("uniform sequences", uniform)):
        slug = label.replace(" ", "-")
        result = calibration(comparison.exact, comparison.answers, study.rng(run.name, "calibration", label))
        line = calibration_line("mean exact probability per bin", result) | {"color": 1}
        figures.append(
            FigureData(
                id=f"fig-{run.name}-calibration-{slug}",
                kind="scatter",
                title=f"{run.name}: calibration on {label}",
                caption=f"How often each pair of stated and exact probability occurs; {int(result.filled.sum()):,} pairs from "
                f"{comparison.n:,} sequences. Mean |stated - exact| over bins: {result.error:.4f}.",
                alt="Mean exact probability against the probability stated, over a density of pairs; mean deviation "
                f"{result.error:.4f}.",
                data=calibration_axes(f"exact probability, BP_{run.config.process.filter_level}")
                | {"series": [line], "density": calibration_density(result)},
            )
        )
    return figures
