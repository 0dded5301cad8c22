"""What attention does: where each block looks on the tree, how near that is to theory, and what replacing it costs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from analyses.shared.attention_maps import by_head, head_names, map_layout, map_panels, mass_layout
from analyses.shared.tree_attention import kl_to_exact, one_question
from analyses.tree_mechanism.criteria import CRITERIA
from mechbp.figures.intervals import points
from mechbp.methods.attention.comparison import AttentionMatch, compare_patterns
from mechbp.methods.attention.patterns import mean_pattern
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.models.runs import Run
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import DECIMALS, estimate, panel
from mechbp.study import Study
from mechbp.theory.tree.attention import LevelMass, Theory, mass_by_level, theory_pattern
from mechbp.theory.tree.oracle_distances import AskedOnce, Lead, answers_with_patterns, lead_of, oracle_distances
from mechbp.theory.tree.pattern_ablation import AblationRow, AttentionAblation, ablate_attention, stand_ins

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
    asked = one_question(study, run, study.size(1024, 64))
    names = ["block-average", "mean", *(["sibling-subtree", "relabelled"] if comparable else []), "uniform"]
    chosen = {"replacements": names, "n_leaves": process.n_leaves}
    ablation = ablate_attention(run.model, asked.shown, kl_to_exact(asked), rng=study.rng(run.name, "replace"), **chosen)
    patterns_of = stand_ins(run.model, asked.shown, rng=study.rng(run.name, "replace"), **chosen)
    leads = _leads(study, run, asked, patterns_of)
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
    claims = [_levels_claim(run, mass, control_mass), _causal_claim(run, ablation, leads, study.rng(run.name, "paired"))]
    return claims + ([_theory_claim(run, match, ablation, leads, study.rng(run.name, "theory"))] if comparable else []), section


def _leads(study: Study, run: Run, asked: AskedOnce, patterns_of: Mapping[str, np.ndarray]) -> dict[str, Lead]:
    """By how much the oracle of the run's own level is the nearest, as the model is ("") and with each replacement everywhere."""
    draw = study.rng(run.name, "leads")

    def lead(patterns: np.ndarray | None) -> Lead:
        return lead_of(asked.own, oracle_distances(answers_with_patterns(run.model, asked, patterns), asked.oracles), draw)

    return {"": lead(None)} | {name: lead(patterns) for name, patterns in patterns_of.items()}


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


def _levels_claim(run: Run, mass: LevelMass, control: LevelMass) -> Claim:
    return CRITERIA.claim(
        "attention-levels",
        id=f"{run.name}-attention-levels",
        statement=f"Attention of {run.name} climbs the tree: each block looks on average farther up than the one before.",
        reference="the paper: levels climbed layer by layer",
        measured="mean level of the common ancestor, block by block:\n" + ", ".join(f"{v:.2f}" for v in mass.mean_level)
        + f"\nn = {mass.mass.n:,} sequences",
        control="random weights:\n" + ", ".join(f"{v:.2f}" for v in control.mean_level),
        numbers={"mean_level": mass.mean_level},
        figure=f"fig-{run.name}-mass",
    )  # fmt: skip


def _causal_claim(run: Run, ablation: AttentionAblation, leads: Mapping[str, Lead], draw: np.random.Generator) -> Claim:
    change = _everywhere(ablation)
    averaged, uniform = change["block-average"], change["uniform"]
    extra = bootstrap_mean(uniform.per_example - averaged.per_example, draw)
    relabelled = f"\nwith leaves relabelled: {estimate(change['relabelled'].change, 3, 'nats')}" if "relabelled" in change else ""
    return CRITERIA.claim(
        "attention-causal",
        id=f"{run.name}-attention-causal",
        statement=f"{run.name} needs to look at the right levels, and at nothing finer: with its attention averaged over pairs "
        f"at the same level it still answers like BP_{run.config.process.filter_level} and no other oracle; with uniform "
        "attention it does not.",
        reference="no published reference: the paper shows maps only",
        measured=_nearest_oracles(leads, {"": "as it is", "block-average": "averaged by level", "uniform": "uniform"})
        + f"\nincrease of KL, all blocks at once\naveraged by level: {estimate(averaged.change, 3, 'nats')}\n"
        f"uniform: {estimate(uniform.change, 3, 'nats')}\nuniform - averaged: {estimate(extra, 3, 'nats')}\n"
        f"n = {averaged.change.n:,}",
        control=f"unedited KL {estimate(ablation.baseline, 3, 'nats')}" + relabelled,
        numbers={
            "averaged_lead_low_nats": leads["block-average"].low,
            "uniform_lead_high_nats": leads["uniform"].high,
            "uniform_extra_low_nats": extra.low,
        },
        figure=f"fig-{run.name}-replace",
    )


def _theory_claim(
    run: Run, match: AttentionMatch, ablation: AttentionAblation, leads: Mapping[str, Lead], draw: np.random.Generator
) -> Claim:
    change = _everywhere(ablation)
    theory = change["sibling-subtree"]
    extra = {name: bootstrap_mean(change[name].per_example - theory.per_example, draw) for name in ("uniform", "relabelled")}
    nearest, uniform = match.js_nats.mean.min(axis=1), match.uniform_js_nats.min(axis=1)
    shown_js = ", ".join(f"{a:.2f} ({b:.2f})" for a, b in zip(nearest, uniform, strict=True))
    return CRITERIA.claim(
        "attention-theory",
        id=f"{run.name}-attention-theory",
        statement=f"The paper's construction, block m looking at the sibling subtree m levels up, is what {run.name} needs of "
        f"attention: with that pattern in all blocks it still answers like BP_{run.config.process.filter_level} and no other "
        "oracle, and every block's own pattern is nearer to it than uniform attention and relabelled leaves are.",
        reference="the paper offers the construction as an existence proof, not as what training finds",
        measured=_nearest_oracles(leads, {"": "as it is", "sibling-subtree": "the construction"})
        + f"\nincrease of KL with it in all blocks: {estimate(theory.change, 3, 'nats')}\n"
        f"uniform costs {estimate(extra['uniform'], 3, 'nats')} more, relabelled {estimate(extra['relabelled'], 3)}\n"
        f"JS to it by block (uniform attention's in brackets):\n{shown_js} nats\nn = {theory.change.n:,}",
        control=f"relabelled leaves, by block:\np = {', '.join(f'{p:.3f}' for p in match.p_nearest_js)}",
        numbers={
            "nearest_js_nats": nearest,
            "uniform_js_nats": uniform,
            "p": match.p_nearest_js,
            "theory_lead_low_nats": leads["sibling-subtree"].low,
            "rivals_extra_low_nats": [extra[name].low for name in ("uniform", "relabelled")],
        },
        figure=f"fig-{run.name}-replace",
    )


def _everywhere(ablation: AttentionAblation) -> dict[str, AblationRow]:
    """What each replacement does where all blocks have it at once."""
    n_layers = max(len(row.layers) for row in ablation.rows)
    return {row.replacement: row for row in ablation.rows if len(row.layers) == n_layers}


def _nearest_oracles(leads: Mapping[str, Lead], names: Mapping[str, str]) -> str:
    """One clause per pattern: the oracle nearest by KL(BP || model) and by KL(model || BP)."""
    clauses = []
    for key, name in names.items():
        found = leads[key].nearest
        clauses.append(f"{name} " + " and ".join(f"BP_{k}" for k in dict.fromkeys(found)))
    return "nearest oracle (both ways): " + ", ".join(clauses)


def _root_mass(to_rest: np.ndarray | None) -> str:
    assert to_rest is not None
    return ", ".join(f"block {layer + 1} {value:.2f}" for layer, value in enumerate(to_rest.mean(axis=(0, 2, 3))))
