"""Claim: a transformer trained on tree data answers as exact belief propagation does, on its own data and beyond.

For every run: divergence from BP_k for all filter levels k, on fresh data of the training level and on uniformly random
sequences; accuracy on data of every level beside the oracle's; calibration; and the path of training along the ladder of
oracles. Controls: the same architecture with random weights, and the mismatched oracles themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analyses.tree_inference.criteria import CRITERIA
from mechbp.divergence import expected_hits, kl_nats
from mechbp.methods.statistics.answers import Agreement, agreement, calibration, nearest
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.models.answers import model_answers
from mechbp.models.runs import Run
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import estimate, listed, points
from mechbp.study import Findings, Page, Study
from mechbp.theory.tree.oracle_table import OracleTable, oracle_table

RUNS = ("tree-mlm-k0", "tree-root-k0")


@dataclass(frozen=True, eq=False)
class Comparison:
    """One run's answers held against every oracle, on one kind of sequences."""

    n: int
    oracles: list[Agreement]
    """Trained model against BP_k, k = 0..depth."""
    control: list[Agreement]
    """Untrained model against BP_k."""
    nearest_level: int
    margin: Interval
    """KL(model || BP_k), nats, of the runner-up minus that of the nearest oracle."""
    exact: np.ndarray
    answers: np.ndarray


def study_page(study: Study) -> Findings:
    """Return the claims and sections of the page."""
    sections = []
    claims = []
    for run in study.runs:
        run_claims, run_sections = _study_run(study, run)
        claims += run_claims
        sections += run_sections
    return claims, sections


def _study_run(study: Study, run: Run) -> tuple[list[Claim], list[Section]]:
    task = run.config.objective.task
    process = run.process
    level = run.config.process.filter_level
    name = run.name
    trees = [FilteredTree(process.grammar, process.depth, k) for k in range(process.depth + 1)]
    n = study.size(*{"masked": (2048, 64), "root": (4096, 256), "next-token": (1024, 64)}[task])
    study.stage(f"{name}: data of the training level")
    own = _compare(study, run, trees, process.sample(n, study.rng(name, "own")).tokens, "own")
    study.stage(f"{name}: uniform sequences")
    uniform_tokens = study.rng(name, "uniform").integers(process.vocab_size, size=(n // 2, process.n_leaves))
    uniform = _compare(study, run, trees, uniform_tokens, "uniform")
    study.stage(f"{name}: data of every level")
    by_level = [_on_level(study, run, tree, trees[level], n // 4) for tree in trees]
    study.stage(f"{name}: oracles")
    n_oracle = study.size(20_000, 2000)
    oracles = None if task == "next-token" else oracle_table(trees, n_oracle, study.rng(name, "oracles"), task)
    figures = [
        _divergence_figure(run, own, uniform),
        _level_figure(run, by_level),
        *_calibration_figures(study, run, own, uniform),
        *_training_figures(run, oracles),
    ]
    asked = {"masked": "a hidden leaf, given all others", "root": "the root, given all leaves", "next-token": "the next leaf"}[
        task
    ]
    text = (
        f"`{name}` is asked for {asked}. It was trained on {run.config.objective.targets} of filter level {level}, "
        f"{run.steps[-1] * run.config.training.batch_size:,} sequences in {run.steps[-1]:,} steps, each sequence seen once. "
        "Its blocks are pre-norm with learned positions, unlike the post-norm encoder of the paper.",
        "BP_k is exact inference for data of filter level k. The model's own level is its matched oracle; the others are "
        "what a model would compute that saw only part of the hierarchy.",
    )
    return _claims(run, own, uniform, oracles), [Section(f"run-{name}", name, text, tuple(figures))]


def _compare(study: Study, run: Run, trees: list[FilteredTree], tokens: np.ndarray, label: str) -> Comparison:
    """Hold the trained and an untrained model against every oracle on the same sequences."""
    level = run.config.process.filter_level
    answers = model_answers(run.model, run.task, run.process, tokens)
    few = tokens[: max(64, len(tokens) // 8)]
    control = model_answers(run.untrained(seed=1), run.task, run.process, few)
    exact = [run.task.exact(tree, tokens) for tree in trees]
    to_model = [agreement(e, answers, study.rng(run.name, label, k), truth=exact[level]) for k, e in enumerate(exact)]
    to_control = [agreement(e[: len(few)], control, study.rng(run.name, label, "control", k)) for k, e in enumerate(exact)]
    divergences = np.stack([kl_nats(answers, e).mean(axis=1) for e in exact], axis=1)
    level_found, margin = nearest(divergences, study.rng(run.name, label, "nearest"))
    return Comparison(len(tokens), to_model, to_control, level_found, margin, exact[level], answers)


def _on_level(study: Study, run: Run, tree: FilteredTree, matched: FilteredTree, n: int) -> dict[str, Interval]:
    """Accuracy on data of another level: the model's, the matched oracle's, and the best possible there."""
    tokens = tree.sample(n, study.rng(run.name, "level", tree.filter_level)).tokens
    truth = run.task.exact(tree, tokens)
    oracle = run.task.exact(matched, tokens)
    scored = {
        "model": model_answers(run.model, run.task, run.process, tokens),
        "oracle": oracle,
        "best": truth,
        "untrained": model_answers(run.untrained(seed=1), run.task, run.process, tokens[: n // 4]),
    }
    hits = {name: expected_hits(truth[: len(a)], a).mean(axis=1) for name, a in scored.items()}
    return {name: bootstrap_mean(h, study.rng(run.name, "level", tree.filter_level, name)) for name, h in hits.items()}


def _divergence_figure(run: Run, own: Comparison, uniform: Comparison) -> FigureData:
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


def _level_figure(run: Run, by_level: list[dict[str, Interval]]) -> FigureData:
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


def _calibration_figures(study: Study, run: Run, own: Comparison, uniform: Comparison) -> list[FigureData]:
    figures = []
    for label, comparison in (("own data", own), ("uniform sequences", uniform)):
        slug = label.replace(" ", "-")
        result = calibration(comparison.exact, comparison.answers, study.rng(run.name, "calibration", label))
        shown = result.filled > 0
        line = {
            "name": "mean exact probability per bin",
            "color": 1,
            "x": result.stated[shown],
            "y": result.exact.mean[shown],
            "low": result.exact.low[shown],
            "high": result.exact.high[shown],
        }
        figures.append(
            FigureData(
                id=f"fig-{run.name}-calibration-{slug}",
                kind="scatter",
                title=f"{run.name}: calibration on {label}",
                caption=f"How often each pair of stated and exact probability occurs; {int(result.filled.sum()):,} pairs from "
                f"{comparison.n:,} sequences. Mean |stated - exact| over bins: {result.error:.4f}.",
                alt="Mean exact probability against the probability stated, over a density of pairs; mean deviation "
                f"{result.error:.4f}.",
                data={
                    "x_title": "probability stated by the model",
                    "y_title": f"exact probability, BP_{run.config.process.filter_level}",
                    "identity": True,
                    "x_range": [0, 1],
                    "y_range": [0, 1],
                    "series": [line],
                    "density": {"x_edges": result.edges, "y_edges": result.edges, "counts": result.counts.T},
                },
            )
        )
    return figures


def _training_figures(run: Run, oracles: OracleTable | None) -> list[FigureData]:
    lines = [line for line in run.metrics if 0 < line["step"] <= run.steps[-1]]
    if not lines:
        reason = "the run has no metrics.jsonl"
        name = f"fig-{run.name}-staircase"
        return [FigureData(name, "lines", f"{run.name}: training", "", "", status="skipped", reason=reason)]
    level = run.config.process.filter_level
    depth = run.process.depth
    sequences = [line["sequences"] for line in lines]
    series = [
        {
            "name": f"BP_{k}",
            "x": sequences,
            "y": [max(line[f"kl_model_to_bp{k}_nats"], 1e-4) for line in lines],
            "color": k,
        }
        for k in range(depth + 1)
    ]
    plateaus = []
    marked = ""
    if oracles is not None:
        ladder = oracles.kl_bp_data_to_bp_oracle_nats[:, level]
        plateaus = [{"name": f"BP_{k}", "y": float(ladder[k])} for k in range(depth + 1) if k != level and 1e-4 < ladder[k] < 2]
        marked = f" Marked: KL(BP_{level} || BP_k), where a model would stand that computes BP_k, from {oracles.n:,} sequences."
    return [
        FigureData(
            id=f"fig-{run.name}-staircase",
            kind="lines",
            title=f"{run.name}: which oracle is nearest, along training",
            caption="KL(model || BP_k) on 512 held-out sequences; less than 1e-4 is drawn at 1e-4. The lowest curve names "
            "the oracle most like the model.",
            alt=f"During training the nearest oracle changes in the order {_arrows(_order_along_training(run))}.",
            data={
                "x_title": "training sequences",
                "x_log": True,
                "y_title": "KL(model || BP_k) (nats)",
                "y_log": True,
                "series": series,
            },
        ),
        FigureData(
            id=f"fig-{run.name}-ladder",
            kind="lines",
            title=f"{run.name}: distance from the exact answer, along training",
            caption=f"KL(BP_{level} || model) on 512 held-out sequences.{marked}",
            alt="The model's divergence from BP in nats against training sequences, both axes logarithmic, and reference "
            "lines of mismatched oracles.",
            data={
                "x_title": "training sequences",
                "x_log": True,
                "y_title": f"KL(BP_{level} || model) (nats)",
                "y_log": True,
                "series": [
                    {
                        "name": "model",
                        "x": sequences,
                        "y": [line[f"kl_bp{level}_to_model_nats"] for line in lines],
                        "markers": True,
                    }
                ],
                "references": plateaus,
            },
        ),
    ]


def _order_along_training(run: Run) -> list[int]:
    """The nearest oracles in the order in which training passes them, repeats dropped."""
    found: list[int] = []
    for line in run.metrics:
        level = min(range(run.process.depth + 1), key=lambda k: line[f"kl_model_to_bp{k}_nats"])
        if line["step"] and (not found or found[-1] != level):
            found.append(level)
    return found


def _arrows(order: list[int]) -> str:
    return " → ".join(map(str, order)) or "not recorded"


def _claims(run: Run, own: Comparison, uniform: Comparison, oracles: OracleTable | None) -> list[Claim]:
    level = run.config.process.filter_level
    name = run.name
    task = run.config.objective.task
    matched = own.oracles[level]
    control = own.control[level]
    bounds = CRITERIA["exact"].bounds
    order = _order_along_training(run)
    reference = {"masked": "the paper's masked models reach BP's accuracy", "root": "the paper's root models reach BP's accuracy"}
    return [
        CRITERIA.claim(
            "exact",
            id=f"{name}-exact",
            statement=f"{name} gives the exact posterior: KL(BP_{level} || model) ≤ {bounds['close_nats']} nats and accuracy "
            f"within {bounds['gap']:.0%} of BP's.",
            reference=reference.get(task, "no published reference"),
            measured=f"KL {estimate(matched.kl_bp_to_model_nats, 4, 'nats')}\naccuracy {estimate(matched.accuracy, 3)}, "
            f"BP {float(matched.best_accuracy.mean):.3f}\nn = {own.n:,} sequences",
            control=f"untrained: KL {estimate(control.kl_bp_to_model_nats, 3, 'nats')}\n"
            f"accuracy {float(control.accuracy.mean):.3f}",
            numbers={
                "kl_high_nats": matched.kl_bp_to_model_nats.high,
                "accuracy_gap": matched.best_accuracy.mean - matched.accuracy.mean,
            },
            figure=f"fig-{name}-divergence",
        ),
        CRITERIA.claim(
            "nearest",
            id=f"{name}-nearest",
            statement=f"Of all oracles, {name} follows the one of its training data, BP_{level}, "
            "on that data and on uniform sequences.",
            reference="the paper: small divergence from BP_k in-sample and on uniform inputs",
            measured="\n".join(
                [
                    f"{label}: nearest BP_{c.nearest_level}, ahead by {estimate(c.margin, 3, 'nats')}"
                    for label, c in (("own data", own), ("uniform", uniform))
                ]
            )
            + f"\nn = {own.n:,} and {uniform.n:,}",
            control=f"untrained: nearest BP_{_nearest_by_mean(own.control)}",
            numbers={
                "nearest": [c.nearest_level for c in (own, uniform)],
                "own_level": level,
                "margin_low": [c.margin.low for c in (own, uniform)],
            },
            figure=f"fig-{name}-divergence",
        ),
        CRITERIA.claim(
            "staircase",
            id=f"{name}-staircase",
            statement=f"Training climbs the hierarchy from the leaves: the nearest oracle of {name} goes from "
            f"BP_{run.process.depth} down to BP_{level}, one level after another.",
            reference="the paper: 4 → 3 → 2 → 1 → 0",
            measured=f"order {_arrows(order)}\none training seed, 512 held-out sequences at {len(run.metrics)} steps",
            control=_spread(run, oracles),
            numbers={"order": order, "depth": run.process.depth, "own_level": level} if order else None,
            figure=f"fig-{name}-staircase" if order else "",
        ),
    ]


def _spread(run: Run, oracles: OracleTable | None) -> str:
    """How far the oracles are from each other: no order can be read where they agree."""
    if oracles is None:
        return "spread between the oracles not computed for this task"
    level = run.config.process.filter_level
    spread = oracles.kl_bp_data_to_bp_oracle_nats[:, level]
    others = [f"{spread[k]:.3f} for k = {k}" for k in range(len(spread)) if k != level]
    return f"the oracles are distinct: KL(BP_{level} || BP_k) is {listed(others)} nats"


def _nearest_by_mean(oracles: list[Agreement]) -> int:
    return min(range(len(oracles)), key=lambda k: float(oracles[k].kl_model_to_bp_nats.mean))


PAGE = Page(
    title="Does the network compute the exact answer?",
    lead="Models are compared with exact belief propagation on held-out sequences, in eval mode, every number with a 95 % "
    "bootstrap interval over sequences and a control beside it.",
    runs=RUNS,
    family="tree",
    study=study_page,
    by_run=True,
)
