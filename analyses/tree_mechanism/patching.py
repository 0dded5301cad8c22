"""What flows where: pairs of sequences that differ in one subtree, and one activation at a time carried from one to the other."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from analyses.tree_mechanism.criteria import CRITERIA
from mechbp.figures.intervals import points
from mechbp.hooks import firing_hooks
from mechbp.methods.patching.metric import Metric
from mechbp.methods.patching.patch import PatchEffects, patch
from mechbp.models.runs import Run
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import listed, panel
from mechbp.study import Study
from mechbp.theory.tree.corruptions import corrupt, sibling_subtree, splice

PATCHED = (
    "blocks.*.hook_resid_pre",
    "blocks.*.hook_resid_mid",
    "blocks.*.hook_resid_post",
    "blocks.*.hook_attn_out",
    "blocks.*.hook_mlp_out",
    "blocks.*.attn.hook_z",
    "blocks.*.attn.hook_pattern",
)
NOISED = ("blocks.*.hook_resid_post",)
QUERY_LEAF = 0
"""The hidden leaf of patching pairs: its sibling subtrees then lie to its right, nearest first."""
WHOLE = "whole sequence"
LEAST_PAIRS = 8
"""Fewer pairs than this say nothing; some grammars leave small subtrees no other symbols that fit the rest."""


def study_patching(study: Study, run: Run) -> tuple[list[Claim], Section]:
    process, task = run.process, run.config.objective.task
    n = study.size(128, 12)
    effects: dict[str, PatchEffects] = {}
    noising: dict[str, PatchEffects] = {}
    left_out: list[str] = []
    for depth in [*range(process.depth, 0, -1), 0]:
        name = WHOLE if depth == 0 else subtree_name(process.depth - depth)
        study.stage(f"{run.name}: patching, {name}")
        clean, corrupted = redrawn_pairs(study, run, depth, n)
        if len(clean) < LEAST_PAIRS:
            left_out.append(name)
            continue
        metric = contrast_metric(run, clean, corrupted)
        sides = (run.task.inputs(process, clean), run.task.inputs(process, corrupted))
        sweep = partial(patch, run.model, *sides, metric)
        effects[name] = sweep(firing_hooks(run.model, PATCHED, sides[0][:1]), rng=study.rng(run.name, "patch", depth))
        noising[name] = sweep(NOISED, direction="noising", rng=study.rng(run.name, "noise", depth))
    place = (f"patching-{run.name}", f"{run.name}: what flows where")
    if not effects:
        return [], Section(
            *place, (), (), "skipped", f"fewer than {LEAST_PAIRS} pairs with different exact answers, whatever is redrawn"
        )
    n_pairs = {len(found.base) for found in effects.values()}
    text = (
        (
            f"Leaf {QUERY_LEAF} is hidden and asked for; clean and corrupted differ in one sibling subtree of its path, redrawn "
            "from its exact law given all symbols outside it. "
            if task == "masked"
            else "The root is asked for; the corrupted sequence takes the leaves below one ancestor of "
            f"leaf {QUERY_LEAF} from another sequence. "
        )
        + "The metric weights the model's log-probabilities by the difference of the two exact posteriors, so it rises as the "
        "answer moves from BP's answer on the corrupted to BP's answer on the clean sequence. Effects are normalised: "
        "0 = unpatched, 1 = the other run.",
        "Denoising patches clean activations into the corrupted run, noising the reverse; "
        f"{min(n_pairs)} to {max(n_pairs)} pairs each."
        + (f" Left out for lack of pairs with different exact answers: {listed(left_out)}." if left_out else ""),
    )
    figures = (
        _patch_figure(run, effects, "hook_resid_post", "residual stream after each block"),
        _patch_figure(run, effects, "hook_attn_out", "attention output"),
        _patch_figure(run, effects, "hook_mlp_out", "MLP output"),
        _patch_figure(run, noising, "hook_resid_post", "residual stream after each block, noising", "noising"),
        _pattern_patch_figure(run, effects),
    )
    claims = [_patch_claim(run, effects)] if len(effects.keys() - {WHOLE}) > 1 else []
    return claims, Section(*place, text, figures)


def redrawn_pairs(study: Study, run: Run, depth: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Clean and corrupted leaves whose exact answers differ; masked tasks hide the query leaf in both."""
    process, task = run.process, run.config.objective.task
    sample = process.sample(4 * n, study.rng(run.name, "clean", depth))
    draw = study.rng(run.name, "corrupted", depth)
    if task == "masked":
        node = (0, 0) if depth == 0 else sibling_subtree(process, QUERY_LEAF, depth)
        pairs = corrupt(process, sample, node, draw).only_changed()
        clean, corrupted = pairs.clean.tokens.copy(), pairs.corrupted.tokens.copy()
        clean[:, QUERY_LEAF] = corrupted[:, QUERY_LEAF] = process.mask_token
    else:
        clean = sample.tokens
        corrupted = splice(process, clean, process.sample(4 * n, draw).tokens, (depth, 0))
    differ = np.abs(_posterior(run, clean) - _posterior(run, corrupted)).max(axis=1) > 0.01
    return clean[differ][:n], corrupted[differ][:n]


def _posterior(run: Run, tokens: np.ndarray) -> np.ndarray:
    """Exact posterior [n, q] of what is asked."""
    if run.config.objective.task == "root":
        return run.task.exact(run.process, tokens)[:, 0]
    return run.process.beliefs(tokens).marginals[run.process.depth][:, QUERY_LEAF]


def contrast_metric(run: Run, clean: np.ndarray, corrupted: np.ndarray) -> Metric:
    """Metric: log-probabilities at the query, weighted by the exact clean minus the exact corrupted posterior, per pair."""
    weights = torch.from_numpy(_posterior(run, clean) - _posterior(run, corrupted))
    query = -1 if run.config.objective.task == "root" else QUERY_LEAF

    def contrast(logits: Tensor) -> Tensor:
        return (logits[:, query].double().log_softmax(dim=-1) * weights).sum(dim=-1)

    return contrast


def _patch_figure(run: Run, effects: dict[str, PatchEffects], site: str, label: str, suffix: str = "") -> FigureData:
    place = (
        f"fig-{run.name}-patch-{site.removeprefix('hook_').replace('_', '-')}{f'-{suffix}' if suffix else ''}",
        "heatmap",
        f"{run.name}: patching the {label}",
    )
    first = next(iter(effects.values()))
    if not any(hook.endswith(site) for hook in first.hooks):
        return FigureData(*place, "", "", status="skipped", reason=f"the model has no {site}: its blocks are attention only")
    layers = range(run.config.model.n_layers)
    positions = sorted({cell.position for cell in first.cells if cell.hook.endswith(site)})  # type: ignore[type-var]
    panels = []
    for name, found in effects.items():
        index = [[_cell(found, f"blocks.{layer}.{site}", position) for position in positions] for layer in layers]
        interval = found.normalized_effect
        panels.append(panel(name, interval[np.array(index)]))
    return FigureData(
        *place,
        caption="Normalised effect of patching one position; panels differ in what was redrawn, nearest to the query first. "
        "95 % bootstrap intervals over pairs in hover and table.",
        alt="Normalised effects by block and position, one panel per redrawn subtree.",
        data={
            "rows": [f"block {layer + 1}" for layer in layers],
            "columns": [_position_label(run, p) for p in positions],
            "column_title": "position",
            "value_title": "effect",
            "scale": "diverging",
            "range": [-1, 1],
            "panels": panels,
            "panel_columns": 2,
        },
    )


def _pattern_patch_figure(run: Run, effects: dict[str, PatchEffects]) -> FigureData:
    layers = range(run.config.model.n_layers)
    series = []
    for head in range(run.config.model.n_heads):
        for layer in layers:
            cell = (f"blocks.{layer}.attn.hook_pattern", None, head)
            shares = [found.normalized_effect[found.cells.index(cell)] for found in effects.values()]
            series.append(
                {
                    "name": f"block {layer + 1}" + (f", head {head}" if run.config.model.n_heads > 1 else ""),
                    **points(shares, "y"),
                    "color": layer,
                }
            )
    return FigureData(
        id=f"fig-{run.name}-patch-pattern",
        kind="bars",
        title=f"{run.name}: patching whole attention patterns",
        caption="Normalised effect of giving one head the other run's attention pattern, values untouched. Near 0: where the "
        "head looks does not depend on the symbols, what it moves does.",
        alt="Effects of patching attention patterns, by what was redrawn.",
        data={"y_title": "effect", "categories": list(effects), "series": series},
    )


def _patch_claim(run: Run, effects: dict[str, PatchEffects]) -> Claim:
    """The farther the redrawn subtree, the later its message has arrived at the query position."""
    query = run.process.n_leaves if run.config.objective.task == "root" else QUERY_LEAF
    arrived: dict[str, str] = {}
    n_blocks = run.config.model.n_layers
    blocks: list[int] = []
    for name, found in effects.items():
        if name == WHOLE:
            continue
        share = [
            float(found.normalized_effect.mean[_cell(found, f"blocks.{layer}.hook_resid_post", query)])
            for layer in range(n_blocks)
        ]
        block = next((layer + 1 for layer, value in enumerate(share) if value >= 0.5), None)
        arrived[name] = "never" if block is None else f"block {block} ({share[block - 1]:.2f})"
        blocks.append(n_blocks + 1 if block is None else block)
    early = max(
        float(np.abs(found.normalized_effect.mean[_cell(found, "blocks.0.hook_resid_pre", query)])) for found in effects.values()
    )
    masked = run.config.objective.task == "masked"
    return CRITERIA.claim(
        "patch-order" if masked else "patch-order-root",
        id=f"{run.name}-patch-order",
        statement=f"In {run.name} messages from farther subtrees reach the query position in later blocks."
        if masked
        else f"In {run.name} what a subtree says reaches the ROOT position after the first block, and by the last.",
        reference="the paper's construction: block m joins the sibling subtree m levels up"
        if masked
        else "no published reference: the paper reads the root from all tokens at once",
        measured="first block whose output at the query carries half of the effect: "
        + listed([f"{k}: {v}" for k, v in arrived.items()]),
        control=f"patching the query position before block 1: |effect| at most {early:.3f}",
        numbers={"gap_low": [found.gap.low for found in effects.values()], "blocks": blocks, "n_blocks": n_blocks},
        figure=f"fig-{run.name}-patch-resid-post",
    )


def _position_label(run: Run, position: object) -> str:
    return "ROOT" if position == run.process.n_leaves else str(position)


def subtree_name(height: int) -> str:
    return "1 leaf redrawn" if height == 0 else f"{2**height} leaves redrawn"


def _cell(found: PatchEffects, hook: str, position: int) -> int:
    return next(i for i, cell in enumerate(found.cells) if cell.hook == hook and cell.position == position)
