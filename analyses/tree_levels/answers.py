"""Does the model of every filter level answer as the oracle of that level, on data of every level and on uniform sequences?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analyses.shared.calibration import calibration_axes, calibration_line
from analyses.tree_levels.criteria import CRITERIA
from analyses.tree_levels.groups import Family
from mechbp.divergence import expected_hits, kl_nats
from mechbp.methods.statistics.answers import Agreement, Calibration, agreement, calibration, nearest
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.models.answers import model_answers
from mechbp.models.config import ModelConfig
from mechbp.models.runs import Run
from mechbp.models.tasks.tree import TREE
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import estimate, panel
from mechbp.study import Study

UNIFORM = "uniform"


@dataclass(frozen=True, eq=False)
class RunOnData:
    """One run on one kind of sequences, held against the oracle of the run's own level."""

    trained: Agreement
    untrained: Agreement
    gap: Interval
    """Expected accuracy of the oracle minus the model's, paired by sequence."""
    nearest_level: int
    margin: Interval
    """KL(model || BP_j), nats, of the runner-up oracle minus that of the nearest."""
    to_oracles: Interval
    """Mean KL(model || BP_j), nats, for every j."""
    untrained_nearest: int
    calibration: Calibration
    untrained_error: float
    """Calibration error of random weights."""


def study_answers(study: Study, family: Family) -> tuple[list[Claim], Section]:
    n = study.size(*{"masked": (512, 24), "root": (4096, 128)}[family.task])
    trees = family.trees
    first = family.runs[0].process
    tokens = {f"k = {k}": tree.sample(n, study.rng(family.slug, "level", k)).tokens for k, tree in enumerate(trees)}
    tokens[UNIFORM] = study.rng(family.slug, UNIFORM).integers(first.vocab_size, size=(n, first.n_leaves))
    exact = {kind: [TREE.tasks[family.task].exact(tree, rows) for tree in trees] for kind, rows in tokens.items()}
    controls = _control_answers(family, tokens)
    cells = {}
    for run in family.runs:
        for kind, rows in tokens.items():
            study.stage(f"{run.name}: answers on {kind}")
            cells[run.name, kind] = _run_on_data(study, run, kind, rows, exact[kind], controls[run.config.model, kind])
    kinds = list(tokens)
    text = (
        f"{len(family.runs)} models of one architecture, each trained on data of one filter level k, answer for the "
        f"{family.question} on data of every level and on uniformly random sequences, {n:,} sequences each, the same for all of "
        "them.",
        "Each model is held against BP_k of its own level on the same sequences, matched or not. Accuracies are expected ones "
        "under the exact posterior of the data, free of the noise of sampled answers.",
    )
    figures = (
        _accuracy_figure(family, cells, kinds[:-1], n),
        _divergence_figure(family, cells, kinds, n),
        _choice_figure(family, cells, kinds, n),
        _oracle_figure(family, cells, n),
        _calibration_figure(family, cells, None, n),
        _calibration_figure(family, cells, UNIFORM, n),
    )
    section = Section(f"answers-{family.slug}", f"{family.heading}: answers on data of every level", text, figures)
    return _claims(family, cells, kinds, n), section


def _few(tokens: np.ndarray) -> slice:
    """The sequences that random weights answer too."""
    return slice(max(32, len(tokens) // 8))


def _control_answers(family: Family, tokens: dict[str, np.ndarray]) -> dict[tuple[ModelConfig, str], np.ndarray]:
    """What random weights of every architecture answer on every kind of sequences."""
    found = {}
    for run in {run.config.model: run for run in family.runs}.values():
        untrained = run.untrained(seed=1)
        for kind, rows in tokens.items():
            found[run.config.model, kind] = model_answers(untrained, run.task, run.process, rows[_few(rows)])
    return found


def _run_on_data(
    study: Study, run: Run, kind: str, tokens: np.ndarray, exact: list[np.ndarray], untrained: np.ndarray
) -> RunOnData:
    own = exact[run.config.process.filter_level]
    truth = own if kind == UNIFORM else exact[int(kind.removeprefix("k = "))]
    answers = model_answers(run.model, run.task, run.process, tokens)
    few = _few(tokens)
    draw = study.rng(run.name, kind)
    lost = expected_hits(truth, own) - expected_hits(truth, answers)
    divergences = np.stack([kl_nats(answers, oracle).mean(axis=1) for oracle in exact], axis=1)
    level_found, margin = nearest(divergences, draw)
    return RunOnData(
        trained=agreement(own, answers, draw, truth=truth),
        untrained=agreement(own[few], untrained, draw, truth=truth[few]),
        gap=bootstrap_mean(lost.mean(axis=1), draw),
        nearest_level=level_found,
        margin=margin,
        to_oracles=bootstrap_mean(divergences, draw),
        calibration=calibration(own, answers, draw, bins=20),
        untrained_error=calibration(own[few], untrained, draw, bins=20).error,
        untrained_nearest=int(np.argmin([kl_nats(untrained, oracle[few]).mean() for oracle in exact])),
    )


def _grid(family: Family, cells: dict, kinds: list[str], source: str, field: str) -> Interval:
    """One score [run, kind]."""
    rows = [
        Interval.stack([getattr(getattr(cells[run.name, kind], source), field) for kind in kinds], axis=0) for run in family.runs
    ]
    return Interval.stack(rows, axis=0)


def _accuracy_figure(family: Family, cells: dict, kinds: list[str], n: int) -> FigureData:
    panels = [
        panel("trained models", _grid(family, cells, kinds, "trained", "accuracy")),
        panel("BP of the model's level", _grid(family, cells, kinds, "trained", "best_accuracy")),
        panel("random weights", _grid(family, cells, kinds, "untrained", "accuracy")),
    ]
    return FigureData(
        id=f"fig-{family.slug}-accuracy",
        kind="heatmap",
        title=f"{family.heading}: accuracy of every model on data of every level",
        caption=f"Expected accuracy, n = {n:,} sequences per column; the first two panels share the sequences. On the diagonal "
        "data and model agree in level; there BP is the best that any predictor can do.",
        alt="Three heatmaps of expected accuracy, of trained models, of BP at their levels and of random weights: training "
        "level in rows, level of the data in columns.",
        data=_layout(family, kinds, "accuracy", panels) | {"range": [0, 1]},
    )


def _divergence_figure(family: Family, cells: dict, kinds: list[str], n: int) -> FigureData:
    clamped = max(cell.trained.clamped for cell in cells.values())
    floor = (
        f" Up to {clamped:.0%} of an oracle's probabilities are zero, raised to 1e-12; there the floor, not the model, sets "
        "KL(model || BP_k)."
        if clamped
        else ""
    )
    panels = [
        panel("KL(BP_k || model)", _grid(family, cells, kinds, "trained", "kl_bp_to_model_nats")),
        panel("KL(model || BP_k)", _grid(family, cells, kinds, "trained", "kl_model_to_bp_nats")),
        panel("random weights, KL(BP_k || model)", _grid(family, cells, kinds, "untrained", "kl_bp_to_model_nats")),
    ]
    return FigureData(
        id=f"fig-{family.slug}-divergence",
        kind="heatmap",
        title=f"{family.heading}: divergence of every model from BP of its own level",
        caption=f"Mean KL in nats, both ways, n = {n:,} sequences per column. Colours end at 1 nat; cells tell more.{floor}",
        alt="Three heatmaps of divergence in nats, both ways for trained models and one way for random weights: training "
        "level in rows, kind of sequences in columns.",
        data=_layout(family, kinds, "KL (nats)", panels) | {"range": [0, 1]},
    )


def _choice_figure(family: Family, cells: dict, kinds: list[str], n: int) -> FigureData:
    panels = [
        panel("same choice", _grid(family, cells, kinds, "trained", "same_choice")),
        panel("rank correlation", _grid(family, cells, kinds, "trained", "spearman")),
        panel("random weights, same choice", _grid(family, cells, kinds, "untrained", "same_choice")),
    ]
    return FigureData(
        id=f"fig-{family.slug}-choice",
        kind="heatmap",
        title=f"{family.heading}: agreement of every model with BP of its own level",
        caption="Share of queries on which model and BP_k name the same symbol first, and Spearman's correlation of the two "
        f"probability vectors of a query; n = {n:,} sequences per column."
        + (" One-hot posteriors tie three symbols, which bounds the correlation." if family.task == "root" else ""),
        alt="Three heatmaps, equal choices and rank correlation of trained models and equal choices of random weights: "
        "training level in rows, kind of sequences in columns.",
        data=_layout(family, kinds, "agreement", panels) | {"range": [0, 1]},
    )


def _oracle_figure(family: Family, cells: dict, n: int) -> FigureData:
    own = Interval.stack([cells[run.name, _own(run)].to_oracles for run in family.runs], axis=0)
    uniform = Interval.stack([cells[run.name, UNIFORM].to_oracles for run in family.runs], axis=0)
    return FigureData(
        id=f"fig-{family.slug}-oracles",
        kind="heatmap",
        title=f"{family.heading}: which oracle does each model follow?",
        caption=f"Mean KL(model || BP_j), nats, on data of the model's own level and on uniform sequences, n = {n:,} each. The "
        "smallest entry of a row is the oracle that the model is nearest to.",
        alt="Two heatmaps of divergence in nats, on own data and on uniform sequences: the training level in rows, the level "
        "of the oracle in columns.",
        data=_layout(
            family,
            [f"BP_{j}" for j in range(family.depth + 1)],
            "KL(model || BP_j) (nats)",
            [panel("own data", own), panel("uniform sequences", uniform)],
        )
        | {"range": [0, 1], "column_title": "oracle"},
    )


def _calibration_figure(family: Family, cells: dict, kind: str | None, n: int) -> FigureData:
    """Calibration of every run on one kind of sequences, None for those of its own level."""
    found = [cells[run.name, kind or _own(run)] for run in family.runs]
    series = [calibration_line(f"trained at {label}", cell.calibration) for label, cell in zip(family.labels, found, strict=True)]
    errors = ", ".join(f"{m.calibration.error:.3f}" for m in found)
    controls = ", ".join(f"{m.untrained_error:.2f}" for m in found)
    where = "uniform sequences" if kind else "data of their own level"
    return FigureData(
        id=f"fig-{family.slug}-calibration-{'uniform' if kind else 'own'}",
        kind="scatter",
        title=f"{family.heading}: calibration on {where}",
        caption=f"Mean probability under BP_k where the model states a probability, in 20 bins, with 95 % intervals over {n:,} "
        f"sequences. Mean |stated - exact| over bins: {errors}; random weights: {controls}.",
        alt="Mean exact probability against the probability stated, one line with intervals per model, and the diagonal.",
        data=calibration_axes("exact probability, BP_k") | {"series": series},
    )


def _layout(family: Family, columns: list[str], value: str, panels: list[dict]) -> dict:
    return {
        "rows": family.labels,
        "columns": columns,
        "row_title": "trained at",
        "column_title": "data",
        "value_title": value,
        "cell_text": True,
        "panels": panels,
    }


def _own(run: Run) -> str:
    return f"k = {run.config.process.filter_level}"


def _claims(family: Family, cells: dict, kinds: list[str], n: int) -> list[Claim]:
    exactly = f"{family.task}-exact"
    bounds = CRITERIA[exactly].bounds
    within = CRITERIA["mismatched"].bounds["within"]
    own = {label: cells[run.name, _own(run)] for label, run in zip(family.labels, family.runs, strict=True)}
    gaps = {(run.name, kind): cells[run.name, kind].gap for run in family.runs for kind in kinds[:-1]}
    widest = max(gaps, key=lambda cell: abs(float(gaps[cell].mean)))
    inside = np.mean([abs(float(gap.mean)) <= within for gap in gaps.values()])
    apart = [abs(float(m.untrained.accuracy.mean - m.untrained.best_accuracy.mean)) for m in own.values()]
    follows = [cells[run.name, kind] for run in family.runs for kind in (_own(run), UNIFORM)]
    wanted = [run.config.process.filter_level for run in family.runs for _ in range(2)]
    right = [m.nearest_level == k and float(m.margin.low) > 0 for m, k in zip(follows, wanted, strict=True)]
    tightest = min(follows, key=lambda m: float(m.margin.mean))
    untrained = [m.untrained.kl_bp_to_model_nats for m in own.values()]
    return [
        CRITERIA.claim(
            exactly,
            id=f"{family.slug}-exact",
            statement=f"Trained at any filter level, the {family.question} model gives the exact posterior of its own data: "
            f"KL(BP_k || model) ≤ {bounds['close_nats']} nats, accuracy within {bounds['gap']:.1%} of BP's.",
            reference="the paper: in-sample accuracy reaches BP_k at every k",
            measured="\n".join(
                f"{label}: KL {estimate(m.trained.kl_bp_to_model_nats, 4)}, accuracy {float(m.trained.accuracy.mean):.3f} "
                f"(BP {float(m.trained.best_accuracy.mean):.3f})"
                for label, m in own.items()
            )
            + f"\nn = {n:,} sequences each",
            control="random weights: KL " + ", ".join(f"{float(kl.mean):.2f}" for kl in untrained) + " nats",
            numbers={
                "kl_nats": [m.trained.kl_bp_to_model_nats.mean for m in own.values()],
                "accuracy_gap": [m.gap.mean for m in own.values()],
            },
            figure=f"fig-{family.slug}-divergence",
        ),
        CRITERIA.claim(
            "mismatched",
            id=f"{family.slug}-mismatched",
            statement=f"On data of every other level too, the {family.question} models are as right as BP of their own level, "
            f"within {100 * within:g} %: they infer under the wrong assumption, exactly.",
            reference="the paper: k_train > 0 lands on the mismatched BP of k_train",
            measured=f"{inside:.0%} of {len(gaps)} cells within {100 * within:g} %\nwidest: {widest[0]} on {widest[1]}, "
            f"BP - model = {estimate(gaps[widest], 3)}\nn = {n:,} sequences per cell",
            control=f"random weights on own data: {min(apart):.2f} to {max(apart):.2f} below",
            numbers={"gaps": [gap.mean for gap in gaps.values()]},
            figure=f"fig-{family.slug}-accuracy",
        ),
        CRITERIA.claim(
            "follows",
            id=f"{family.slug}-follows",
            statement=f"Of all oracles, every {family.question} model is nearest to that of its own level, on its own data and "
            "on uniform sequences.",
            reference="the paper: small divergence from BP_k in-sample and on uniform inputs",
            measured=f"{sum(right)} of {len(right)} comparisons, interval of the margin above 0\nnarrowest: BP_"
            f"{tightest.nearest_level}, ahead by {estimate(tightest.margin, 4, 'nats')}\nn = {n:,} sequences each",
            control="random weights, own data: nearest " + ", ".join(f"BP_{m.untrained_nearest}" for m in own.values()),
            numbers={
                "nearest": [m.nearest_level for m in follows],
                "own_level": wanted,
                "margin_low": [m.margin.low for m in follows],
            },
            figure=f"fig-{family.slug}-oracles",
        ),
    ]
