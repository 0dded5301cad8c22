"""What the construction is made of: its slots, who reads and writes them, its weights, and where it looks."""

from __future__ import annotations

import numpy as np

import mechbp
from analyses.compiled_bp.criteria import CRITERIA
from analyses.shared.attention_maps import map_layout, map_panels
from mechbp.methods.attention.patterns import mean_pattern
from mechbp.models.compiled.bp import CompiledBP, compile_bp
from mechbp.models.compiled.slots import Slots
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.study import Study


def study_construction(study: Study, compiled: CompiledBP) -> tuple[list[Claim], Section]:
    """Return the claims on attention and slots, and the section on what the model is made of."""
    study.stage("construction")
    tree = compiled.tree
    cfg = compiled.model.cfg
    tokens = tree.sample(study.size(500, 50), study.rng("construction")).tokens
    tokens = np.where(study.rng("hidden").random(tokens.shape) < 0.3, tree.mask_token, tokens)
    patterns = mean_pattern(compiled.model, tokens)
    texts = (
        f"One block per level of the tree, {cfg.n_layers} here, one head, no LayerNorm, bidirectional attention: d_model = "
        f"{cfg.d_model}, d_mlp = {cfg.d_mlp}, float64, act_fn `relu2`. No weight was trained. A token stands for its leaf. "
        "Block m + 1 (block 1 is `blocks.0`) raises what the token knows from its ancestor m levels up to the next: attention "
        "fetches the upward message of that ancestor's sibling, and the MLP multiplies the two and sums over the rules.",
        "Products are differences of squares, x y = ((x + y)² − x² − y²) / 2, one hidden unit per square; all messages are >= "
        "0, so relu² is the square. Units of the wrong orientation are silenced by a flag of the position embedding.",
        "The slots of the residual stream at depth 4 and 4 symbols (`compiled.slot_table()`). Every slot is written once and "
        "never erased: `upward 1` still stands in the last block, where no weight reads it.",
        f"`{compiled.slot_table()}`",
        "Logits are unnormalised probabilities, not logarithms: `compiled.answers(tokens)` divides them by their sum, and their "
        "softmax is not the posterior.",
    )
    figures = (_traffic_figure(compiled), _unit_figure(), _qk_figure(compiled), _map_figure(patterns.mean))
    claims = [_support_claim(patterns.within, tree.depth), _slot_claim(compiled, tokens)]
    return claims, Section("construction", "The construction", texts, figures)


def _traffic_figure(compiled: CompiledBP) -> FigureData:
    reads, writes = traffic(compiled)
    names = list(compiled.slots)
    parts = list(reads)
    return FigureData(
        id="fig-compiled-traffic",
        kind="heatmap",
        title="Which part reads and writes which slot",
        caption="Number of nonzero weights from each slot into a part of the model (reads) and from it into the slot (writes), "
        "read off the weights. Old messages stay readable: a row with one writer keeps its value to the end.",
        alt="Two heatmaps of the number of nonzero weights, reads and writes: slots in rows, parts of the model in columns.",
        data={
            "rows": names,
            "columns": parts,
            "value_title": "nonzero weights (log10 of 1 + count)",
            "panels": [
                {"title": title, "values": np.log10(1 + np.array([[found[part][name] for part in parts] for name in names]))}
                for title, found in (("reads", reads), ("writes", writes))
            ],
        },
    )


def traffic(compiled: CompiledBP) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, int]]]:
    """Return, per part of the model and slot, how many nonzero weights read it and write it."""
    weights = {name: parameter.detach().cpu().numpy() for name, parameter in compiled.model.named_parameters()}
    reads = {"embed": [], "unembed": [weights["unembed.W_U"]]}
    writes = {"embed": [weights["embed.W_E"], weights["pos_embed.W_pos"]], "unembed": []}
    for m in range(compiled.tree.depth):
        attention = f"blocks.{m}.attn"
        mlp = f"blocks.{m}.mlp"
        reads[attention] = [weights[f"{attention}.W_{kind}"][0] for kind in "QKV"]
        writes[attention], writes[mlp] = [weights[f"{attention}.W_O"][0]], [weights[f"{mlp}.W_out"]]
        reads[mlp] = [weights[f"{mlp}.W_in"]]
    order = ["embed", *(part for part in reads if part.startswith("blocks")), "unembed"]

    def counts(matrices: list[np.ndarray], slots: Slots, axis: int) -> dict[str, int]:
        return {s.name: sum(int((np.moveaxis(w, axis, 0)[s.dims] != 0).sum()) for w in matrices) for s in slots.values()}

    return (
        {part: counts(reads[part], compiled.slots, 0) for part in order},
        {part: counts(writes[part], compiled.slots, -1) for part in order},
    )


def _unit_figure() -> FigureData:
    """All hidden units of the smallest model there is: depth 1, two symbols."""
    small = compile_bp(FilteredTree(mechbp.TreeGrammar.random(2, seed=0), 1))
    weights = {name: parameter.detach().cpu().numpy() for name, parameter in small.model.named_parameters()}
    w_in = np.maximum(weights["blocks.0.mlp.W_in"], -1)
    w_out = weights["blocks.0.mlp.W_out"]  # gates of -2^12 shown as -1
    labels = [f"{slot.name}{_index(i, slot.shape)}" for slot in small.slots.values() for i in range(np.prod(slot.shape))]
    read = np.flatnonzero(w_in.any(axis=1))
    written = np.flatnonzero(w_out.any(axis=0))
    units = [str(unit) for unit in range(w_in.shape[1])]
    return FigureData(
        id="fig-compiled-units",
        kind="heatmap",
        title="Every weight of one MLP: two leaves, two symbols",
        caption=f"All {len(units)} hidden units of the model of depth 1 over 2 symbols. Each column of `W_in` reads one number "
        "or the sum of two, and is closed by one flag (−1 stands for the gate's −4,096 or so); `W_out` adds half the rule for "
        "the square of a sum and takes it away for single squares.",
        alt="Heatmaps of input and output weights of one MLP, slots in rows and hidden units in columns.",
        data={
            "rows": [labels[i] for i in read],
            "columns": units,
            "column_title": "hidden unit",
            "value_title": "weight",
            "scale": "diverging",
            "panel_columns": 1,
            "panels": [
                {"title": "W_in", "values": w_in[read]},
                {"title": "W_out", "values": w_out[:, written].T, "rows": [labels[i] for i in written]},
            ],
        },
    )


def _index(i: int, shape: tuple[int, ...]) -> str:
    return "[" + ", ".join(str(part) for part in np.unravel_index(i, shape)) + "]"


def _qk_figure(compiled: CompiledBP) -> FigureData:
    depth = compiled.tree.depth
    flags = np.r_[compiled.slots["left turns"].dims, compiled.slots["right turns"].dims]
    names = [f"{side} {turn}" for side in ("L", "R") for turn in range(depth)]
    panels = []
    for m in range(depth):
        attention = compiled.model.blocks[m].attn
        product = (attention.W_Q[0] @ attention.W_K[0].T).detach().cpu().numpy()  # type: ignore[operator]
        panels.append({"title": f"block {m + 1}", "values": product[np.ix_(flags, flags)] / 1024})
    return FigureData(
        id="fig-compiled-qk",
        kind="heatmap",
        title="How attention finds the sibling subtree",
        caption="The bilinear form W_Q W_Kᵀ between flags of query (rows) and key (columns), in units of 1,024; all other "
        "entries are 0. L t and R t say that the path from the root turns left or right at depth t. Block m rewards the turns "
        "above its own that query and key share and punishes sharing its own turn: the maximum is reached below the sibling.",
        alt="Heatmaps of the product of query and key weights, one per block, flags of the turns in rows and columns.",
        data={
            "rows": names,
            "columns": names,
            "value_title": "W_Q W_Kᵀ / 1,024",
            "scale": "diverging",
            "panel_columns": 2,
            "panels": panels,
        },
    )


def _map_figure(mean: np.ndarray) -> FigureData:
    return FigureData(
        id="fig-compiled-maps",
        kind="heatmap",
        title="Attention of every block",
        caption="The same for every sequence. Block m + 1 looks at the 2^m leaves below the sibling of the query's ancestor m "
        "levels up, with weights of exactly 2^-m.",
        alt="Heatmaps of attention, one per block, query leaves in rows and key leaves in columns.",
        data=map_layout(mean.shape[-1]) | {"panels": map_panels(mean, 4)},
    )


def _support_claim(patterns: np.ndarray, depth: int) -> Claim:
    support = [(patterns[:, m] > 0).sum(axis=-1) for m in range(depth)]
    return CRITERIA.claim(
        "compiled-support",
        id="compiled-support",
        statement="Block m + 1 attends to exactly 2^m tokens, the sibling subtree, with weights of exactly 2^-m.",
        reference="the paper's Eqs. 20 and 21: uniform on the sibling subtree in the limit of sharp attention",
        measured=f"tokens attended to, by block: {', '.join(_range(counts) for counts in support)}\n"
        f"n = {len(patterns):,} sequences, every query",
        control=f"uniform attention: {2**depth} in every block",
        numbers={
            "stated_tokens": [2**m for m in range(depth)],
            "fewest_tokens": [counts.min() for counts in support],
            "most_tokens": [counts.max() for counts in support],
            "weight_error": [_weight_error(patterns[:, m], 2.0**-m) for m in range(depth)],
        },
        figure="fig-compiled-maps",
    )


def _weight_error(weights: np.ndarray, stated: float) -> float:
    """How far the worst weight is from both 0 and the one stated."""
    return float(np.minimum(np.abs(weights), np.abs(weights - stated)).max())


def _range(counts: np.ndarray) -> str:
    return str(counts.min()) if counts.min() == counts.max() else f"{counts.min()} to {counts.max()}"


def _slot_claim(compiled: CompiledBP, tokens: np.ndarray) -> Claim:
    tree = compiled.tree
    leaf = np.arange(compiled.tree.n_leaves)
    upward = tree.beliefs(tokens).upward
    acts = mechbp.capture(compiled.model, tokens, ["blocks.*.hook_resid_*"])
    errors = []
    controls = []
    for m in range(tree.depth + 1):
        exact = upward[tree.depth - m]
        for name, node in ((f"upward {m}", leaf >> m), (f"sibling {m}", leaf >> m ^ 1)):
            if name in compiled.slots:
                held = compiled.slots[name]
                found = held.of(acts[held.readable_from]).cpu().numpy()
                found = found / found.sum(axis=-1, keepdims=True)
                errors.append(np.abs(found - exact[:, node]).max())
                controls.append(np.abs(found - np.roll(exact, 1, axis=0)[:, node]).max())
    return CRITERIA.claim(
        "compiled-slots",
        id="compiled-slots",
        statement="Every named slot holds the upward message of its name at every token, up to scale.",
        reference="the paper's Eqs. 17 to 19",
        measured=f"largest error of a message divided by its sum, over {len(errors)} slots: {max(errors):.0e}\n"
        f"n = {len(tokens):,} sequences, 30 % masked",
        control=f"against the message of another sequence: at least {min(controls):.1f} in every slot",
        numbers={"errors": errors, "controls": controls},
        figure="fig-compiled-traffic",
    )
