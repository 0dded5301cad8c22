"""One run watched along training: answers on data of every level, attention, and what can be read, at its stored steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analyses.shared.attention_maps import by_head, head_names, map_layout, map_panels, mass_layout
from analyses.shared.probe_maps import OUTPUTS, probe_layout
from analyses.tree_training.ladder import HEADINGS
from analyses.tree_training.ranking import Ranking, agreement_with, ranking_claim, ranking_figures, ranking_of
from analyses.tree_training.rise_fall import Hits, rise_fall_claims
from mechbp.divergence import expected_hits, kl_nats
from mechbp.errors import TooFewSequences
from mechbp.methods.attention.patterns import mean_pattern
from mechbp.methods.probing.grid import ProbeGrid
from mechbp.methods.probing.probe import probe
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.models.answers import model_answers
from mechbp.models.runs import Run
from mechbp.models.tasks.tree import training_evidence
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import DECIMALS, panel, reason, spread
from mechbp.study import Study
from mechbp.theory.tree.attention import mass_by_level
from mechbp.theory.tree.leaves import own_nodes

FRAMES = 9
"""Stored steps shown under the slider; all stored steps stand in the curves, but for quick reports."""
QUICK_FRAMES = 6


@dataclass(frozen=True, eq=False)
class Curves:
    """Scores at every stored step on fixed sequences."""

    steps: tuple[int, ...]
    sequences: list[int]
    accuracy: Interval
    """[level of the data, step]"""
    hits: Hits
    oracle: list[float]
    """Accuracy of the run's own oracle on data of every level."""
    to_oracles: Interval
    """KL(model || BP_k), nats, on the run's own data: [k, step]."""
    ranking: Ranking
    n: int


def study_trajectory(study: Study, run: Run) -> tuple[list[Claim], Section]:
    frames = study.size(FRAMES, QUICK_FRAMES)
    chosen = spread(run.steps, frames)
    curves = _curves(study, run, chosen if study.quick else run.steps)
    names = [f"step {step:,}" for step in chosen]
    masses = []
    maps = []
    readable = []
    unreadable = ""
    sample = run.process.sample(study.size(3000, 400), study.rng(run.name, "probes"))
    masked = run.config.objective.task == "masked"
    evidence = training_evidence(run.config.objective, run.process, sample.tokens, study.rng(run.name, "masks"))
    upward = run.process.beliefs(evidence).upward
    targets = {f"upward {d}": upward[d] for d in run.process.depths}
    inputs = run.task.inputs(run.process, evidence)
    for step in chosen:
        study.stage(f"{run.name}: step {step:,}")
        model = run.at(step)
        patterns = mean_pattern(model, run.task.inputs(run.process, sample.tokens[:500]), run.process.n_leaves)
        masses.append(mass_by_level(patterns, study.rng(run.name, "mass", step)).mass)
        maps.append(patterns.mean)
        try:
            readable.append(
                probe(
                    model, inputs, targets, OUTPUTS,
                    rng=study.rng(run.name, "probe"), controls=("shuffled",), resamples=100,
                    own=own_nodes(targets, run.process.n_leaves, inputs.shape[1]), only_own=True,
                )
            )  # fmt: skip
        except TooFewSequences as error:  # whatever the step, for the sequences are the same
            unreadable = reason(error)
    text = (
        f"`{run.name}` at {len(curves.steps)} stored steps, every step on the same held-out sequences. Step 0, random weights, "
        "is the control. The sliders below move together.",
    )
    figures = [
        _levels_figure(run, curves),
        _staircase_figure(run, curves, chosen, names),
        *(ranking_figures(run, curves.ranking, curves.sequences) if masked else []),
        *([_map_figure(run, maps, names)] if masked else []),
        _mass_figure(run, masses, names),
        _probe_figure(run, readable, list(targets), names, unreadable),
    ]
    title = f"{HEADINGS[run.config.objective.task]}: {run.name}, step by step"
    claims = rise_fall_claims(study, run, curves.hits, len(curves.steps))
    if masked:  # one-hot root posteriors cannot be ranked
        claims.append(ranking_claim(run, curves.ranking))
    return claims, Section(f"trajectory-{run.name}", title, text, tuple(figures))


def _curves(study: Study, run: Run, steps: tuple[int, ...]) -> Curves:
    task = run.config.objective.task
    process = run.process
    own = run.config.process.filter_level
    n = study.size(*{"masked": (128, 16), "root": (1024, 64)}[task])
    trees = [FilteredTree(process.grammar, process.depth, k) for k in range(process.depth + 1)]
    data = [tree.sample(n, study.rng(run.name, "level", k)).tokens for k, tree in enumerate(trees)]
    exact = [run.task.exact(tree, tokens) for tree, tokens in zip(trees, data, strict=True)]
    oracles = [run.task.exact(tree, data[own]) for tree in trees]
    hits = np.empty((n, len(trees), len(steps)))
    divergences = np.empty((n, len(trees), len(steps)))
    agreed = np.empty((n, 2, len(trees), len(steps)))
    for at, step in enumerate(steps):
        study.stage(f"{run.name}: answers at step {step:,}")
        model = run.at(step)
        for k, tokens in enumerate(data):
            answers = model_answers(model, run.task, process, tokens)
            hits[:, k, at] = expected_hits(exact[k], answers).mean(axis=1)
            if k == own:
                divergences[..., at] = np.stack([kl_nats(answers, oracle).mean(axis=1) for oracle in oracles], axis=1)
                agreed[..., at] = agreement_with(oracles, answers)
    of_oracles = {
        name: _hits(run, exact, data, [trees[level] for level in levels])
        for name, levels in {
            "own": [own] * len(trees),
            "next": [min(own + 1, process.depth)] * len(trees),
            "best": range(len(trees)),
        }.items()
    }
    return Curves(
        steps=steps,
        sequences=[step * run.config.training.batch_size for step in steps],
        accuracy=bootstrap_mean(hits, study.rng(run.name, "accuracy")),
        hits=Hits(hits, **of_oracles),
        oracle=of_oracles["own"].mean(axis=0).tolist(),
        to_oracles=bootstrap_mean(divergences, study.rng(run.name, "divergence")),
        ranking=ranking_of(study, run, agreed),
        n=n,
    )


def _hits(run: Run, exact: list[np.ndarray], data: list[np.ndarray], trees: list[FilteredTree]) -> np.ndarray:
    """Expected hits of one oracle per kind of data, [sequence, level]."""
    answers = [run.task.exact(tree, tokens) for tree, tokens in zip(trees, data, strict=True)]
    return np.stack([expected_hits(e, a).mean(axis=1) for e, a in zip(exact, answers, strict=True)], axis=1)


def _levels_figure(run: Run, curves: Curves) -> FigureData:
    own = run.config.process.filter_level
    series = [
        {
            "name": f"data of level {k}",
            "x": curves.sequences[1:],
            "y": curves.accuracy.mean[k, 1:],
            "low": curves.accuracy.low[k, 1:],
            "high": curves.accuracy.high[k, 1:],
            "color": k,
        }
        for k in range(len(curves.oracle))
    ]
    return FigureData(
        id=f"fig-{run.name}-levels",
        kind="lines",
        title=f"{run.name}: accuracy on data of every filter level, along training",
        caption=f"Expected accuracy with 95 % intervals over {curves.n:,} sequences per level; lines mark where BP_{own} stands "
        "on the same sequences.",
        alt="Lines of accuracy with intervals against training sequences on a logarithmic axis, one per level of the data, "
        "and the oracle's as references.",
        data={
            "x_title": "training sequences",
            "x_log": True,
            "y_title": "accuracy",
            "series": series,
            "references": [{"name": f"BP_{own}, level {k}", "y": value} for k, value in enumerate(curves.oracle)],
        },
    )


def _staircase_figure(run: Run, curves: Curves, chosen: tuple[int, ...], names: list[str]) -> FigureData:
    frames = []
    for step, name in zip(chosen, names, strict=True):
        until = max(2, curves.steps.index(step) + 1)  # the axis is logarithmic, so step 0 has no place on it
        series = [
            {
                "name": f"BP_{k}",
                "x": curves.sequences[1:until],
                "y": np.maximum(curves.to_oracles.mean[k, 1:until], 1e-4),
                "color": k,
                "markers": True,
            }
            for k in range(len(curves.oracle))
        ]
        frames.append({"name": name, "series": series})
    low = max(1e-4, float(curves.to_oracles.mean[:, 1:].min()) / 1.5)
    return FigureData(
        id=f"fig-{run.name}-staircase",
        kind="lines",
        title=f"{run.name}: distance to every oracle, up to a step",
        caption=f"KL(model || BP_k), nats, mean over {curves.n:,} sequences of the run's own level; below 1e-4 drawn at 1e-4.",
        alt="Lines of the divergence from every oracle against training sequences, both axes logarithmic, drawn up to the "
        "step of the slider.",
        data={
            "x_title": "training sequences",
            "x_log": True,
            "x_range": [curves.sequences[1] / 1.2, curves.sequences[-1] * 1.2],
            "y_title": "KL(model || BP_k) (nats)",
            "y_log": True,
            "y_range": [low, float(curves.to_oracles.mean[:, 1:].max()) * 1.5],
            "frames": frames,
            "frame_title": "training step",
        },
    )


def _map_figure(run: Run, maps: list[np.ndarray], names: list[str]) -> FigureData:
    frames = [{"name": name, "panels": map_panels(mean, 2)} for name, mean in zip(names, maps, strict=True)]
    return FigureData(
        id=f"fig-{run.name}-maps",
        kind="heatmap",
        title=f"{run.name}: mean attention at a step",
        caption="Attention from each query leaf (row) to each key leaf (column), mean over 500 sequences; rows sum to 1.",
        alt="Heatmaps of mean attention, query leaves in rows and key leaves in columns, one per block, with a slider over "
        "training steps.",
        data=map_layout(maps[0].shape[-1]) | {"frames": frames, "frame_title": "training step"},
    )


def _mass_figure(run: Run, masses: list[Interval], names: list[str]) -> FigureData:
    layers, heads, n_levels = masses[0].mean.shape
    frames = [
        {"name": name, "panels": [panel("mass", mass[by_head(layers, heads)])]} for name, mass in zip(names, masses, strict=True)
    ]
    return FigureData(
        id=f"fig-{run.name}-mass",
        kind="heatmap",
        title=f"{run.name}: attention mass by level at a step",
        caption="Share of attention on the leaves that meet the query h levels up, mean over queries and 500 sequences.",
        alt="Heatmap of the share of attention with a slider over training steps: blocks in rows, levels of the common "
        "ancestor in columns.",
        data=mass_layout(head_names(layers, heads), n_levels) | {"frames": frames, "frame_title": "training step"},
    )


def _probe_figure(run: Run, grids: list[ProbeGrid], targets: list[str], names: list[str], skipped: str) -> FigureData:
    place = (f"fig-{run.name}-readable", "heatmap", f"{run.name}: upward messages that can be read at a step")
    if skipped:
        return FigureData(*place, "", "", status="skipped", reason=skipped)
    readable = [Interval.stack([grid.own_mean("r2", target) for target in targets], axis=1) for grid in grids]
    start = np.round(readable[0].mean, DECIMALS)
    frames = [
        {"name": name, "panels": [panel("upward messages", found) | {"control": start}]}
        for name, found in zip(names, readable, strict=True)
    ]
    return FigureData(
        *place,
        caption="Held-out R² of ridge probes for the messages of a leaf's own ancestors, "
        f"n = {grids[0].n_test:,} test sequences, mean over leaf positions. Control, in hover and table: the same at step 0.",
        alt="Heatmap of held-out R² with a slider over training steps: stages of the network in rows, depths of the ancestor "
        "in columns.",
        data=probe_layout(grids[0].hooks, run.process.depths, run.process.depth, "R²")
        | {"frames": frames, "frame_title": "training step"},
    )
