"""What attention does: where each block looks on the tree, how near that is to theory, and what replacing it costs."""

from __future__ import annotations

import numpy as np

from analyses.shared.attention_maps import by_head, head_names, map_layout, map_panels, mass_layout
from analyses.shared.tree_attention import CLEAR_LOSS_NATS, climbs, kl_to_exact, needs_levels
from mechbp.methods.attention.comparison import AttentionMatch, compare_patterns
from mechbp.methods.attention.patterns import mean_pattern
from mechbp.methods.statistics.intervals import Interval
from mechbp.models.runs import Run
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import DECIMALS, estimate, panel, points
from mechbp.study import Study
from mechbp.theory.tree.attention import LevelMass, Theory, mass_by_level, theory_pattern
from mechbp.theory.tree.pattern_ablation import AttentionAblation, ablate_attention

REPLACEMENT_NAMES = {
    "block-average": "average by level",
    "mean": "mean over sequences",
    "sibling-subtree": "the construction",
    "relabelled": "the construction, relabelled",
    "uniform": "uniform attention",
}


def study_attention(study: Study, run: Run) -> tuple[list[Claim], Section]:
    study.stage(f"{run.name}: attention")
    process = run.process
    sample = process.sample(study.size(2000, 100), study.rng(run.name, "attention"))
    tokens = run.task.inputs(process, sample.tokens)
    control = mean_pattern(run.untrained(seed=1), tokens, process.n_leaves)
    patterns = mean_pattern(run.model, tokens, process.n_leaves)
    mass = mass_by_level(patterns, study.rng(run.name, "mass"))
    control_mass = mass_by_level(control, study.rng(run.name, "control mass"))
    comparable = run.config.model.n_layers <= process.depth
    reference: Theory = "sibling-subtree" if comparable else "uniform"
    target = theory_pattern(reference, patterns)
    match = compare_patterns(patterns, target, rng=study.rng(run.name, "match"), control=control)
    study.stage(f"{run.name}: replacing attention")
    asked, metric = kl_to_exact(study, run, study.size(1024, 64))
    names = ["block-average", "mean", *(["sibling-subtree", "relabelled"] if comparable else []), "uniform"]
    ablation = ablate_attention(
        run.model, asked, metric, rng=study.rng(run.name, "replace"), replacements=names, n_leaves=process.n_leaves
    )
    text = (
        f"Patterns are means over {len(tokens):,} fully observed sequences, leaf to leaf"
        + (
            f"; the ROOT row and column are dropped and rows renormalised (mass sent to ROOT: {_root_mass(patterns.to_rest)})."
            if patterns.to_rest is not None
            else "."
        ),
        "Levels count from the query: 0 is the leaf itself, h the leaves that meet it h levels up. The paper's construction "
        "puts all mass of block m on level m. The permutation null relabels the leaves of that reference; likeness alone is no "
        "evidence of use, so each pattern is also replaced and the loss measured.",
    )
    figures = (
        _map_figure(run, patterns.mean),
        _mass_figure(run, mass, control_mass),
        _match_figure(run, match, reference),
        _replace_figure(run, ablation),
    )
    section = Section(f"attention-{run.name}", f"{run.name}: what attention does", text, figures)
    return _attention_claims(run, mass, control_mass, match, ablation, comparable), section


def _map_figure(run: Run, mean: np.ndarray) -> FigureData:
    return FigureData(
        id=f"fig-{run.name}-maps",
        kind="heatmap",
        title=f"{run.name}: mean attention",
        caption="Attention from each query leaf (row) to each key leaf (column), mean over sequences; rows sum to 1. In the "
        "paper's construction every leaf looks, in block m, at the sibling of its ancestor m - 1 levels up: squares of 2^(m-1) "
        "leaves on either side of the diagonal.",
        alt="Attention maps of the blocks, leaf to leaf, one panel per block.",
        data=map_layout(mean.shape[-1]) | {"panels": map_panels(mean, DECIMALS)},
    )


def _mass_figure(run: Run, mass: LevelMass, control: LevelMass) -> FigureData:
    n_layers, n_heads, n_levels = mass.mass.mean.shape
    rows, where = head_names(n_layers, n_heads), by_head(n_layers, n_heads)
    construction = np.zeros((n_layers, n_heads, n_levels))
    for layer in range(n_layers):
        construction[layer, :, min(layer + 1, n_levels - 1)] = 1
    panels = [
        panel("trained", mass.mass[where]),
        panel("random weights", control.mass[where]),
        {"title": "the paper's construction", "values": construction[where]},
        {"title": "uniform attention", "values": np.tile(mass.uniform, (len(rows), 1))},
    ]
    return FigureData(
        id=f"fig-{run.name}-mass",
        kind="heatmap",
        title=f"{run.name}: attention mass by level of the lowest common ancestor",
        caption=f"Share of attention on the leaves at each level, mean over queries and {mass.mass.n:,} sequences; rows sum "
        "to 1. Level h: the leaves that share with the query an ancestor h levels up, but none lower.",
        alt="Attention mass by block and level beside random weights, the construction and uniform attention.",
        data=mass_layout(rows, n_levels) | {"panels": panels, "panel_columns": 2},
    )


def _match_figure(run: Run, match: AttentionMatch, reference: str) -> FigureData:
    assert match.control_js_nats is not None
    n_layers, n_heads = match.js_nats.mean.shape
    null = np.quantile(match.null_nearest_js_nats, 0.05, axis=0)
    series = [
        {"name": "trained", **points(_nearest_heads(match.js_nats), "x")},
        {"name": "random weights", **points(_nearest_heads(match.control_js_nats), "x"), "control": True},
        {"name": "uniform attention", "x": match.uniform_js_nats.min(axis=1), "control": True},
        {"name": "relabelled leaves, 5 % point", "x": null, "control": True},
    ]
    return FigureData(
        id=f"fig-{run.name}-match",
        kind="dots",
        title=f"{run.name}: distance of attention from "
        + ("the paper's construction" if reference == "sibling-subtree" else "uniform attention"),
        caption="Mean Jensen-Shannon divergence of attention rows, from 0 (equal) to log 2 = 0.693 nats (disjoint), with 95 % "
        "intervals. Hollow: controls; 5 % of random relabellings of the leaves come nearer than the triangle. "
        + ("Of every block its nearest head is shown, and so for each control; p allows for that choice. " if n_heads > 1 else "")
        + "Permutation p by block: "
        + ", ".join(f"{p:.3f}" for p in match.p_nearest_js) + ".",
        alt="Distances by block beside random weights, uniform attention and the permutation null.",
        data={
            "x_title": "JS(attention, reference) (nats)",
            "x_range": [0, 0.7],
            "categories": [f"block {layer + 1}" for layer in range(n_layers)],
            "series": series,
        },
    )  # fmt: skip


def _nearest_heads(distances: Interval) -> list[Interval]:
    """The nearest head of every layer."""
    return [distances[layer, head] for layer, head in enumerate(distances.mean.argmin(axis=1))]


def _replace_figure(run: Run, ablation: AttentionAblation) -> FigureData:
    places = sorted({row.layers for row in ablation.rows}, key=lambda layers: (len(layers), layers))
    names = list(dict.fromkeys(row.replacement for row in ablation.rows))
    found = {(row.replacement, row.layers): row.change for row in ablation.rows}
    series = [
        {
            "name": REPLACEMENT_NAMES.get(name, name),
            **points([found[name, place] for place in places], "y"),
            "control": name == "relabelled",
        }
        for name in names
    ]
    return FigureData(
        id=f"fig-{run.name}-replace",
        kind="bars",
        title=f"{run.name}: what replacing attention patterns costs",
        caption="Increase of KL(BP || model) when the patterns of one block, or of all, are replaced: by their average over "
        "pairs at the same level, their mean over sequences, the construction's pattern, the same with its leaves relabelled at "
        "random (control), or uniform attention. Low bars: nothing is lost by the replacement. "
        f"Unedited KL: {estimate(ablation.baseline, 3, 'nats')}, n = {ablation.baseline.n:,}.",
        alt="Loss by block and replacement.",
        data={
            "y_title": "increase of KL(BP || model) (nats)",
            "categories": [f"block {place[0] + 1}" if len(place) == 1 else "all blocks" for place in places],
            "series": series,
        },
    )


def _attention_claims(
    run: Run, mass: LevelMass, control: LevelMass, match: AttentionMatch, ablation: AttentionAblation, comparable: bool
) -> list[Claim]:
    n_layers = run.config.model.n_layers
    mean_level = mass.mean_level
    change = {(row.replacement, row.layers): row.change for row in ablation.rows}
    everywhere = tuple(range(n_layers))
    averaged, uniform = change["block-average", everywhere], change["uniform", everywhere]
    claims = [
        Claim(
            id=f"{run.name}-attention-levels",
            statement=f"Attention of {run.name} climbs the tree: each block looks on average farther up than the one before.",
            reference="the paper: levels climbed layer by layer",
            measured="mean level of the common ancestor, block by block:\n" + ", ".join(f"{v:.2f}" for v in mean_level)
            + f"\nn = {mass.mass.n:,} sequences",
            control="random weights:\n" + ", ".join(f"{v:.2f}" for v in control.mean_level),
            verdict="holds" if climbs(mass) else "partly" if mean_level[-1] > mean_level[0] else "fails",
            figure=f"fig-{run.name}-mass",
        ),
        Claim(
            id=f"{run.name}-attention-causal",
            statement=f"{run.name} needs to look at the right levels, and at nothing finer: averaging its attention over pairs "
            "at the same level costs little, uniform attention costs much.",
            reference="no published reference: the paper shows maps only",
            measured=f"increase of KL, all blocks at once\naveraged by level: {estimate(averaged, 3, 'nats')}\n"
            f"uniform: {estimate(uniform, 3, 'nats')}\n"
            f"n = {averaged.n:,}",
            control=f"unedited KL {estimate(ablation.baseline, 3, 'nats')}"
            + (f"\nwith leaves relabelled: {estimate(change['relabelled', everywhere], 3, 'nats')}" if comparable else ""),
            verdict=needs_levels(averaged, uniform),
            figure=f"fig-{run.name}-replace",
        ),
    ]  # fmt: skip
    if comparable:
        nearer = match.js_nats.mean.min(axis=1) < match.uniform_js_nats.min(axis=1)
        significant = match.p_nearest_js <= 0.05
        theory = change["sibling-subtree", everywhere]
        shown_js = ", ".join(
            f"{a:.2f} ({b:.2f})" for a, b in zip(match.js_nats.mean.min(1), match.uniform_js_nats.min(1), strict=True)
        )
        claims.append(
            Claim(
                id=f"{run.name}-attention-theory",
                statement=f"{run.name} attends as the paper's construction does: block m to the sibling subtree m levels up.",
                reference="the paper offers the construction as an existence proof, not as what training finds",
                measured=f"JS to it by block (uniform attention's in brackets):\n{shown_js} nats\n"
                f"increase of KL when used in all blocks:\n{estimate(theory, 3, 'nats')}",
                control=f"relabelled leaves, by block:\np = {', '.join(f'{p:.3f}' for p in match.p_nearest_js)}",
                verdict="holds"
                if nearer.all() and significant.all() and float(theory.high) < CLEAR_LOSS_NATS
                else "partly"
                if (nearer & significant).sum() * 2 >= len(nearer)
                else "fails",
                figure=f"fig-{run.name}-match",
            )
        )
    return claims


def _root_mass(to_rest: np.ndarray | None) -> str:
    assert to_rest is not None
    return ", ".join(f"block {layer + 1} {value:.2f}" for layer, value in enumerate(to_rest.mean(axis=(0, 2, 3))))
