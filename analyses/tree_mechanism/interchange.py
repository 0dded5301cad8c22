"""The headline of the page: which messages a run holds, uses and needs, block by block, by tests against exact inference."""

from __future__ import annotations

import numpy as np

from analyses.tree_mechanism.message_claims import counts, message_claims
from analyses.tree_mechanism.message_grid import (
    LEACE,
    MEANS,
    MISMATCHED,
    PLACEBO,
    PROBE,
    RANDOM_INIT,
    ROTATION,
    MessageGrid,
    stages,
    writing_stage,
)
from analyses.tree_mechanism.messages import fit_handles, study_messages
from mechbp.errors import TooFewSequences
from mechbp.figures.intervals import points
from mechbp.methods.interchange.interchange import NOTHING, WHOLE
from mechbp.methods.probing.grid import ProbeGrid
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.models.runs import Run
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import DECIMALS, panel, reason
from mechbp.study import Study
from mechbp.theory.tree.message_pairs import Message


def study_interchange(study: Study, run: Run, read: ProbeGrid | None) -> tuple[list[Claim], Section, MessageGrid | None]:
    """Return claims, section and tests of upward messages; `read` holds the probes of messages, None if they were not fitted."""
    place = (f"messages-{run.name}", f"{run.name}: which messages it holds, uses and needs")
    if read is None:
        return [], Section(*place, (), (), "skipped", "its messages cannot be probed, see below"), None
    kinds: tuple[Message, ...] = ("upward", "downward") if run.config.objective.task == "masked" else ("upward",)
    try:
        handles = fit_handles(study, run, kinds)
        upward = study_messages(study, run, read, "upward", handles)
        downward = study_messages(study, run, read, "downward", handles) if "downward" in kinds else None
    except TooFewSequences as error:
        return [], Section(*place, (), (), "skipped", reason(error)), None
    q = run.process.vocab_size
    smallest = min(map(len, upward.pairs.values()))
    text = (
        "Three tests of every message, at the positions below its node and at every stage. Present: a ridge probe reads it. "
        f"Used: a {q - 1}-dimensional subspace of another sequence's activation is written into the run, and the model answers "
        "what belief propagation answers when that one message is replaced. Necessary: the message is erased (LEACE), and the "
        "model answers what belief propagation answers without it.",
        "Used and necessary are shares explained, 1 - KL(exact || model) after the edit / the same unedited, exact meaning the "
        "answer with the message replaced or absent: 1 is the exact answer, 0 is no nearer to it than the unedited run. The "
        "subspace holds the conditional means at every stage; where the construction has the message one is learned, too, on "
        "other pairs, one for left and one for right children, by gradient, to move the answer outside the node's subtree as "
        "exact inference says and to leave the answer inside alone. Placebo: a random subspace whose change has the same norm.",
        "Shares flatter: merely destroying the base's own message brings the answer half of the way. Verdicts count from the "
        "rival: used is (share - deletion) / (1 - deletion), with deletion the share explained by the exact answer without the "
        "message on the same pairs; necessary counts from whichever comes nearest of the unedited run, a placebo, another "
        "message and no evidence at all. Intervals cover pairs and three refits of the learned subspace.",
        f"Pairs are independent sequences whose exact answer the message moves by at least 0.02 nats ({smallest} or more per "
        "depth, held out from all fitting); the leaf asked for is hidden in both. What a test cannot show: that the subspace is "
        "the only place that holds the message. Whether probes read from where the model does is a claim of its own above.",
    )
    figures = [_table_figure(study, upward), _kl_figure(study, upward), _handle_figure(study, upward)]
    figures += [
        _stage_figure(study, upward),
        *([_side_figure(study, upward), _table_figure(study, downward)] if downward else []),
    ]
    return message_claims(study, run, upward, downward), Section(*place, text, tuple(figures)), upward


def stage_names(run: Run) -> list[str]:
    """Return the stages in plain words."""
    return ["embedding", *(f"block {layer} output" for layer in range(1, len(stages(run))))]


def _layout(grid: MessageGrid, title: str) -> dict[str, object]:
    depth = grid.run.process.depth
    return {
        "rows": stage_names(grid.run),
        "columns": ["leaf" if d == depth else str(d) for d in grid.depths],
        "row_title": "at",
        "column_title": "message of nodes at depth",
        "value_title": title,
        "cell_text": True,
    }


def _controlled(title: str, values: Interval, control: Interval) -> dict[str, object]:
    return {**panel(title, values), "control": np.round(control.mean, DECIMALS)}


def _table_figure(study: Study, grid: MessageGrid) -> FigureData:
    name = grid.run.name
    up = grid.message == "upward"
    used, necessary = (grid.explained(study, edit) for edit in (MEANS, LEACE))
    return FigureData(
        id=f"fig-{name}-{'messages' if up else 'downward'}",
        kind="heatmap",
        title=f"{name}: {grid.message} messages, present, used and necessary",
        caption="Present: held-out R² of ridge probes. Used: share of the exact change that the model's answer makes when the "
        "message is written along the conditional means. Necessary: the same when the message is erased. 95 % intervals over "
        "pairs in hover and table, with the control: random weights for present, a placebo of the same norm for the others. "
        + (
            "The paper's construction has the message m levels up after block m, uses it in block m + 1 and not later."
            if up
            else "The answer asked for is that of a hidden leaf below the node; the paper's construction holds no downward "
            "messages above the leaf."
        ),
        alt="Tables, stage by depth: R² of probes, share explained by writing the message, share explained by erasing it.",
        data=_layout(grid, "share")
        | {
            "range": [0, 1],
            "panels": [
                _controlled("present: read by a probe", grid.present, grid.present_control),
                _controlled("used: written, and obeyed", used, grid.explained(study, MEANS + PLACEBO)),
                _controlled("necessary: erased, and missed", necessary, grid.explained(study, LEACE + PLACEBO)),
            ],
        },
    )


def _kl_figure(study: Study, grid: MessageGrid) -> FigureData:
    """KL to the exact answers with the message replaced, in nats, where the construction has the message."""
    cells = [(writing_stage(grid.run, d), d) for d in grid.depths]
    edits = {
        NOTHING: "do nothing",
        WHOLE: "whole vector",
        ROTATION: ROTATION,
        MEANS: MEANS,
        PROBE: PROBE,
        ROTATION + PLACEBO: "placebo",
    }
    series = []
    for edit, label in edits.items():
        rng = study.rng(grid.run.name, "message kl", edit)
        values = [bootstrap_mean(grid.written[cell].target_kl_nats[edit], rng) for cell in cells]
        series.append({"name": label, **points(values, "y"), "control": edit in (NOTHING, ROTATION + PLACEBO)})
    rng = study.rng(grid.run.name, "message kl", "deletion")
    gone = [bootstrap_mean(grid.pairs[d].deletion_kl_nats, rng) for d in grid.depths]
    series.append({"name": "exact answer without the message", **points(gone, "y"), "control": True})
    return FigureData(
        id=f"fig-{grid.run.name}-message-kl",
        kind="bars",
        title=f"{grid.run.name}: how far the answer is from belief propagation with the message replaced",
        caption="KL(BP with the source's message || model), nats, with 95 % intervals, after writing at the stage where the "
        "construction has the message: after as many blocks as the node is levels above the leaves. "
        f"{counts(grid)[0].upper()}{counts(grid)[1:]}.",
        alt="Bars by depth, one per edit: KL to the exact answer with the message replaced, in nats.",
        data={
            "y_title": "KL(BP, message replaced || model) (nats)",
            "categories": [_place(grid, d) for d in grid.depths],
            "series": series,
        },
    )


def _handle_figure(study: Study, grid: MessageGrid) -> FigureData:
    """Which subspaces move the answer, at the stage where the construction has the message."""
    at = [(writing_stage(grid.run, d), column) for column, d in enumerate(grid.depths)]
    series = []
    for edit in (WHOLE, ROTATION, MEANS, PROBE, ROTATION + PLACEBO, MEANS + PLACEBO):
        table = grid.explained(study, edit)
        label = f"placebo of {edit.removesuffix(PLACEBO)}" if edit.endswith(PLACEBO) else edit
        series.append({"name": label, **points([table[cell] for cell in at], "x"), "control": edit.endswith(PLACEBO)})
    gone = [grid.deletion(study, d) for d in grid.depths]
    series.append({"name": "exact answer without the message", **points(gone, "x"), "control": True})
    for name in (MISMATCHED, RANDOM_INIT):
        values = [grid.control(study, d, name) for d in grid.depths]
        series.append({"name": name, **points(values, "x"), "control": True})
    return FigureData(
        id=f"fig-{grid.run.name}-handles",
        kind="dots",
        title=f"{grid.run.name}: which subspace carries the message",
        caption="Share of the exact change explained by writing the source's component of a subspace, with 95 % intervals, "
        f"all of {grid.run.process.vocab_size - 1} dimensions but the whole vector. Ridge probe: the directions that read the "
        "message; conditional means: those along which the activation moves with it. Hollow: controls, and "
        "the exact answer without the message, from which the verdicts count.",
        alt="Share of the exact change explained, by depth and subspace, with controls.",
        data={"x_title": "share explained", "categories": [_place(grid, d) for d in grid.depths], "series": series},
    )


def _stage_figure(study: Study, grid: MessageGrid) -> FigureData:
    edits = (WHOLE, PROBE)
    return FigureData(
        id=f"fig-{grid.run.name}-message-stages",
        kind="heatmap",
        title=f"{grid.run.name}: writing the message at every stage",
        caption="Share of the exact change explained. The whole vector of all positions below the node carries everything that "
        "was below, the message or what it is computed from, so it is high until the message has been read and shows when that "
        "is. Controls in hover and table: placebos of the same norm.",
        alt="Share explained by stage and depth: whole vectors and probe directions.",
        data=_layout(grid, "share")
        | {
            "range": [0, 1],
            "panels": [
                panel(edit, grid.explained(study, edit))
                if edit == WHOLE
                else _controlled(edit, grid.explained(study, edit), grid.explained(study, edit + PLACEBO))
                for edit in edits
            ],
        },
    )


def _side_figure(study: Study, grid: MessageGrid) -> FigureData:
    return FigureData(
        id=f"fig-{grid.run.name}-message-side",
        kind="heatmap",
        title=f"{grid.run.name}: what else moves when the message is written",
        caption="Rise of KL(BP || model), nats, at a hidden leaf inside the subtree, whose exact answer does not depend on the "
        "upward message. Leaves have no inside.",
        alt="Rise of KL inside the subtree by stage and depth: whole vectors and conditional means.",
        data=_layout(grid, "nats") | {"panels": [panel(edit, grid.side_effect(study, edit)) for edit in (WHOLE, MEANS)]},
    )


def _place(grid: MessageGrid, depth: int) -> str:
    node = "leaf" if depth == grid.run.process.depth else f"depth {depth}"
    return f"{node}, {stage_names(grid.run)[writing_stage(grid.run, depth)]}"
