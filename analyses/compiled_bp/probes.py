"""Probes judged on the compiled model: every message where it stands, nothing where no evidence has come, and what scale does."""

from __future__ import annotations

import numpy as np

from analyses.compiled_bp.criteria import CRITERIA
from mechbp.hooks import capture, to_array
from mechbp.methods.probing.grid import ProbeGrid
from mechbp.methods.probing.probe import probe
from mechbp.models.architectures import untrained_twin
from mechbp.models.compiled.bp import CompiledBP
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import DECIMALS, panel
from mechbp.study import Study
from mechbp.theory.tree.leaves import own_nodes

HELD = "as held"
SHARES = "divided by its sum"


def stages(compiled: CompiledBP) -> list[str]:
    """Return the hooks between blocks: what the first block reads, then every block's output."""
    return ["blocks.0.hook_resid_pre", *(f"blocks.{m}.hook_resid_post" for m in range(compiled.tree.depth))]


def stage_names(compiled: CompiledBP) -> list[str]:
    """Return the stages in plain words."""
    return ["embedding", *(f"block {m} output" for m in range(1, compiled.tree.depth + 1))]


def level_names(compiled: CompiledBP, lowest: int = 0) -> list[str]:
    """Return the levels of nodes, counted from the leaf, in plain words."""
    names = ["leaf", *(f"{m} up" for m in range(1, compiled.tree.depth)), "root"]
    return names[lowest:]


def message_names(compiled: CompiledBP) -> list[str]:
    """Return the upward messages, from the leaf's on, in plain words."""
    return [f"message {name}" if name.endswith(" up") else f"the {name}'s message" for name in level_names(compiled)]


def study_probes(study: Study, compiled: CompiledBP) -> tuple[list[Claim], Section]:
    """Probe every upward message at every stage and position, in the slot's own unit and divided by its sum."""
    study.stage("probes of the compiled model")
    tree = compiled.tree
    rng = study.rng("tools", "probes")
    tokens = rng.integers(tree.vocab_size, size=(study.size(2000, 400), tree.n_leaves))
    tokens = np.where(rng.random(tokens.shape) < 0.2, tree.mask_token, tokens)
    targets = {f"{kind} {m}": values for m in range(1, tree.depth + 1) for kind, values in _targets(compiled, tokens, m).items()}
    untrained = untrained_twin(compiled.model, seed=1)
    grid = probe(
        compiled.model, tokens, targets, stages(compiled), rng=rng, controls="shuffled", control_model=untrained,
        own=own_nodes(targets, tree.n_leaves, tokens.shape[1]),
    )  # fmt: skip
    text = (
        "Ridge probes read the upward message of every node at every stage and position. Sequences are uniform, 20 % masked: "
        "messages of separate subtrees are then independent, so that nothing can be read of a node until evidence below it has "
        "arrived, and chance is R² = 0.",
        "The slots hold messages up to a factor that differs from sequence to sequence. Asked for the message as it is held, "
        "probes are exact. Asked for the same message divided by its sum, which is what belief propagation passes on, a "
        "linear probe must fail: a ratio is not linear. A low R² of normalised messages therefore does not show that a model "
        "lacks them.",
    )
    claims = [_held_claim(compiled, grid), _scale_claim(compiled, grid)]
    return claims, Section("tools-probes", "Probes, where the truth is known", text, (_figure(compiled, grid),))


def _targets(compiled: CompiledBP, tokens: np.ndarray, m: int) -> dict[str, np.ndarray]:
    """Both targets [n, node, .] of level m.

    A target is a distribution: the message as it is held, over the largest sum of any example, and what is left to 1.
    """
    slot = compiled.slots[f"upward {m}"]
    tree = compiled.tree
    held = np.maximum(to_array(slot.of(capture(compiled.model, tokens, slot.readable_from)[slot.readable_from])), 0)
    held = held[:, :: 2**m] / held.sum(axis=-1).max()
    rest = np.maximum(1 - held.sum(axis=-1, keepdims=True), 0)
    return {HELD: np.concatenate([held, rest], axis=-1), SHARES: tree.beliefs(tokens).upward[tree.depth - m]}


def known_cells(compiled: CompiledBP, m: int, stage: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which cells [position, node] of level m hold the message at a stage, and which cannot know anything of it.

    A token holds its own ancestor's message from block m on, and the ancestor's sibling's from the next. Of leaves it has seen,
    after s blocks, those below its ancestor s levels up; of a node all of whose leaves lie elsewhere it knows nothing.
    """
    position = np.arange(compiled.tree.n_leaves)[:, None]
    node = np.arange(2 ** (compiled.tree.depth - m))[None]
    own = position >> m == node
    beside = (position >> m) ^ 1 == node
    holds = (own & (stage >= m)) | (beside & (stage >= m + 1))
    top = max(m, stage)
    return holds, position >> top != node >> (top - m)


def _held_claim(compiled: CompiledBP, grid: ProbeGrid) -> Claim:
    present = []
    absent = []
    shuffled = []
    for m in range(1, compiled.tree.depth + 1):
        found = grid.model.cells["r2"][f"{HELD} {m}"].mean
        control = grid.controls["shuffled"].cells["r2"][f"{HELD} {m}"].mean
        for stage in range(len(grid.hooks)):
            holds, blind = known_cells(compiled, m, stage)
            present.append(found[stage][holds])
            absent.append(found[stage][blind])
            shuffled.append(control[stage][holds])
    there, elsewhere, null = (np.concatenate(values) for values in (present, absent, shuffled))
    untrained = max(
        float(grid.own_mean("r2", f"{HELD} {m}", "random_init").mean.max()) for m in range(2, compiled.tree.depth + 1)
    )
    return CRITERIA.claim(
        "tools-probes",
        id="tools-probes",
        statement="Probes read every upward message, as it is held, exactly where the construction holds it, and nothing of it "
        "where no evidence of it has arrived.",
        reference=f"by construction: R² of 1 in {len(there):,} cells and of 0 in {len(elsewhere):,}",
        measured=f"smallest R² where it is held: 1 - {max(1 - there.min(), 0):.0e}\n"
        f"largest R² where nothing has arrived: {elsewhere.max():.3f}, mean {elsewhere.mean():.3f}\n"
        f"n = {grid.n_test:,} held-out sequences",
        control=f"shuffled messages, where they are held: mean R² {null.mean():.3f}, largest {null.max():.3f}; random weights, "
        f"own ancestors of two or more levels up: at most {untrained:.2f}",
        numbers={
            "largest_missing_r2": 1 - there.min(),
            "largest_absent_r2": elsewhere.max(),
            "largest_shuffled_r2": null.max(),
        },
        figure="fig-tools-probes",
    )


def _scale_claim(compiled: CompiledBP, grid: ProbeGrid) -> Claim:
    depth = compiled.tree.depth
    found = {kind: [grid.own_mean("r2", f"{kind} {m}") for m in range(1, depth + 1)] for kind in (HELD, SHARES)}
    return CRITERIA.claim(
        "tools-probes-scale",
        id="tools-probes-scale",
        statement="A linear probe of normalised messages misses messages that are held up to scale, though every one is there.",
        reference="by construction: every message is held exactly, up to a factor",
        measured="R² at the block that writes it, message divided by its sum: "
        + ", ".join(
            f"{name} {float(interval.mean[m]):.2f}"
            for m, (name, interval) in enumerate(zip(level_names(compiled, 1), found[SHARES], strict=True), start=1)
        )
        + f"\nn = {grid.n_test:,} held-out sequences",
        control="the same messages as they are held: "
        + ", ".join(f"{float(interval.mean[m]):.2f}" for m, interval in enumerate(found[HELD], start=1)),
        numbers={"r2_high": [float(interval.high[m]) for m, interval in enumerate(found[SHARES], start=1)]},
        figure="fig-tools-probes",
    )


def _figure(compiled: CompiledBP, grid: ProbeGrid) -> FigureData:
    panels = []
    for kind in (HELD, SHARES):
        rows = [grid.own_mean("r2", f"{kind} {m}") for m in range(1, compiled.tree.depth + 1)]
        control = [grid.own_mean("r2", f"{kind} {m}", "shuffled").mean for m in range(1, compiled.tree.depth + 1)]
        stacked = type(rows[0]).stack(rows, axis=1)
        panels.append({**panel(f"the message {kind}", stacked), "control": np.round(np.stack(control, axis=1), DECIMALS)})
    return FigureData(
        id="fig-tools-probes",
        kind="heatmap",
        title="What probes read of each token's own ancestors",
        caption="R² on held-out sequences, mean over positions, with 95 % intervals and shuffled messages as control in "
        "hover and table. The message m levels up is written by block m and never erased: the truth is 1 from there on in "
        "both panels. Before, part of the evidence has arrived.",
        alt="Heatmaps of held-out R², of messages as held and divided by their sums: stages in rows, messages in columns.",
        data={
            "rows": stage_names(compiled),
            "columns": level_names(compiled, 1),
            "row_title": "at",
            "column_title": "message of the ancestor",
            "value_title": "R²",
            "range": [0, 1],
            "cell_text": True,
            "panels": panels,
        },
    )
