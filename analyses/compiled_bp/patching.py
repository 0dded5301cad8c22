"""Patching and attention judged on the compiled model: effects where the construction sends a difference, and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from analyses.compiled_bp.criteria import CRITERIA
from analyses.compiled_bp.probes import message_names
from mechbp.hooks import layer_of
from mechbp.methods.interchange.answer_heads import proportional_reading
from mechbp.methods.patching.patch import PatchEffects, patch
from mechbp.models.architectures import untrained_twin
from mechbp.models.compiled.bp import CompiledBP
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import DECIMALS
from mechbp.study import Study
from mechbp.theory.tree.attention import compare_attention
from mechbp.theory.tree.corruptions import splice

SITES = {"hook_resid_pre": "residual stream before", "hook_attn_out": "attention output of", "hook_mlp_out": "MLP output of"}
SHOWN = (1, 3)
"""The case drawn: levels of the changed node and of its lowest common ancestor with the query."""


@dataclass(frozen=True, eq=False)
class Case:
    """Pairs that differ below node 0 of one level, patched for one query whose path meets the node's `meets` levels up."""

    level: int
    meets: int
    effects: PatchEffects
    untrained: PatchEffects
    """The same sweep on random weights."""

    @property
    def query(self) -> int:
        """Leaf asked for: the first one whose lowest common ancestor with the node is `meets` levels up."""
        return 2 ** (self.meets - 1)

    def predicted(self) -> np.ndarray:
        """Return, cell by cell, whether the construction carries the difference from there to the query."""
        cells = self.effects.cells
        return np.array([_carries(cell.hook, int(cell.position or 0), self) for cell in cells])  # type: ignore[arg-type]

    def found(self, effects: PatchEffects) -> np.ndarray:
        """Return, cell by cell, whether patching it moves any example's metric."""
        return np.abs(effects.normalized).max(axis=0) > CRITERIA["tools-patching"].bounds["no_effect"]


def study_flow(study: Study, compiled: CompiledBP) -> tuple[list[Claim], Section]:
    """Patch differences of every level for every place of the query, and compare attention with the theory."""
    depth = compiled.tree.depth
    cases = [_case(study, compiled, level, meets) for level in range(depth) for meets in range(level + 1, depth + 1)]
    text = (
        "Clean and corrupted sequences differ below one node only. The construction says which cells carry that difference "
        "to the answer asked for: the residual stream below the node's ancestor until the block at which the query's path "
        "meets it, from then on the query's own position; attention and MLP outputs accordingly. Every other cell must have "
        "an effect of exactly zero, on every example.",
        "A patch replaces a whole vector, so it says where the difference travels, not in which slot or as what variable.",
    )
    shown = next(case for case in cases if (case.level, case.meets) == SHOWN)
    claims = [_patching_claim(cases), _attention_claim(study, compiled)]
    return claims, Section("tools-flow", "Patching and attention, where the truth is known", text, (_figure(compiled, shown),))


def _case(study: Study, compiled: CompiledBP, level: int, meets: int) -> Case:
    study.stage(f"patching the compiled model, level {level}, query {meets} up")
    tree = compiled.tree
    n = study.size(64, 12)
    rng = study.rng("tools", "patching", level, meets)
    query = 2 ** (meets - 1)
    clean, donors = (tree.sample(n, rng).tokens for _ in range(2))
    corrupted = splice(tree, clean, donors, (tree.depth - level, 0))
    hidden = rng.random(clean.shape) < 0.2
    hidden[:, query] = True
    clean[hidden] = corrupted[hidden] = tree.mask_token
    answers = [torch.from_numpy(tree.leave_one_out(tokens)[:, query]) for tokens in (clean, corrupted)]
    weights = answers[0] - answers[1]

    def metric(logits: Tensor) -> Tensor:
        return (weights * proportional_reading(logits[:, query])).sum(dim=-1)

    hooks = [f"blocks.*.{site}" for site in SITES]
    untrained = untrained_twin(compiled.model, seed=1)
    return Case(level, meets, *(patch(model, clean, corrupted, metric, hooks, rng=rng) for model in (compiled.model, untrained)))


def _carries(hook: str, position: int, case: Case) -> bool:
    """Whether a difference below node 0 passes here on its way to the query (see the page's text)."""
    block = layer_of(hook) or 0
    top = case.meets - 1
    if hook.endswith("hook_resid_pre"):
        return position == case.query if block > top else position >> max(block, case.level) == 0
    if hook.endswith("hook_mlp_out"):  # writes the ancestor block + 1 levels up
        return position == case.query if block >= top else position >> max(block + 1, case.level) == 0
    if block == top:
        return position == case.query
    inside = position >> case.level == 0
    beside = position >> block == 1  # reads its own node's halves, or the changed sibling
    return block < top and (inside if block < case.level else beside)


def _patching_claim(cases: list[Case]) -> Claim:
    predicted, found, untrained = (
        np.concatenate(parts)
        for parts in zip(
            *((case.predicted(), case.found(case.effects), case.found(case.untrained)) for case in cases), strict=True
        )
    )
    outside = max(float(np.abs(case.effects.normalized[:, ~case.predicted()]).max()) for case in cases)
    inside = min(float(np.abs(case.effects.normalized[:, case.predicted()]).max(axis=0).min()) for case in cases)
    return CRITERIA.claim(
        "tools-patching",
        id="tools-patching",
        statement="Patching finds exactly the cells through which a difference reaches the answer.",
        reference=f"by construction: {predicted.sum()} of {predicted.size:,} cells of {len(cases)} cases, components by position",
        measured=f"{(predicted & found).sum()} of {predicted.sum()} found, {(~predicted & found).sum()} others\n"
        f"largest effect elsewhere {outside:.0e}, smallest of the cells found {inside:.0e} (normalised)\n"
        f"n = {min(len(case.effects.base) for case in cases)} pairs per case",
        control=f"random weights: {(~predicted & untrained).sum():,} of the {(~predicted).sum():,} other cells have an effect",
        numbers={"smallest_inside": inside, "largest_outside": outside},
        figure="fig-tools-patching",
    )


def _attention_claim(study: Study, compiled: CompiledBP) -> Claim:
    study.stage("attention of the compiled model")
    rng = study.rng("tools", "attention")
    tokens = compiled.tree.sample(study.size(200, 50), rng).tokens
    untrained = untrained_twin(compiled.model, seed=1)
    match = compare_attention(compiled.model, tokens, "sibling-subtree", rng=rng, control_model=untrained)
    assert match.control_cosine is not None and match.control_js_nats is not None
    cosine = float(match.cosine.mean.min())
    distance = float(match.js_nats.mean.max())
    return CRITERIA.claim(
        "tools-attention",
        id="tools-attention",
        statement="The comparison of attention with the sibling-subtree theory gives the best score in every block.",
        reference="by construction: cosine 1, divergence 0",
        measured=f"smallest cosine 1 - {max(1 - cosine, 0):.0e}, largest divergence {distance:.0e} nats, p at most "
        f"{match.p_js.max():.3f}\nn = {len(tokens)} sequences, 4 blocks",
        control=f"random weights: cosine {match.control_cosine.mean.min():.2f} to {match.control_cosine.mean.max():.2f}, "
        f"divergence {match.control_js_nats.mean.min():.2f} to {match.control_js_nats.mean.max():.2f} nats",
        numbers={"cosine_gap": 1 - cosine, "js_nats": distance, "p": match.p_js.max()},
        figure="fig-compiled-maps",
    )


def _figure(compiled: CompiledBP, case: Case) -> FigureData:
    cells = case.effects.cells
    rows = [(f"blocks.{m}.{site}", f"{words} block {m + 1}") for site, words in SITES.items() for m in range(compiled.tree.depth)]

    def table(values: np.ndarray) -> np.ndarray:
        by_cell = {(cell.hook, cell.position): value for cell, value in zip(cells, values, strict=True)}
        return np.array([[by_cell[hook, position] for position in range(compiled.tree.n_leaves)] for hook, _ in rows])

    return FigureData(
        id="fig-tools-patching",
        kind="heatmap",
        title=f"Where the {message_names(compiled)[case.level].removeprefix('the ')} travels",
        caption=f"Leaves 0 and 1 are redrawn, leaf {case.query} is asked for. Left: share of the answer's change that "
        f"patching one position brings about (n = {len(case.effects.base)} pairs). Right: cells through which the "
        "construction sends it. Four tokens that hold the same message share its effect; once the query has it, the effect "
        "is one position's.",
        alt="Two heatmaps, measured effects and the cells known to carry them: parts of the model in rows, the leaf patched "
        "in columns.",
        data={
            "rows": [words for _, words in rows],
            "columns": [str(position) for position in range(compiled.tree.n_leaves)],
            "column_title": "leaf patched",
            "value_title": "normalised effect",
            "range": [0, 1],
            "panels": [
                {"title": "measured", "values": np.round(table(case.effects.normalized_effect.mean), DECIMALS)},
                {"title": "known", "values": table(case.predicted().astype(float))},
            ],
        },
    )
