"""What can be read where: linear probes of every ancestor's messages and symbols, held out by sequence."""

from __future__ import annotations

import numpy as np

from analyses.shared.probe_maps import OUTPUTS, STREAM, probe_layout
from analyses.shared.tree_probes import writing_blocks
from analyses.tree_mechanism.criteria import CRITERIA
from mechbp.errors import TooFewSequences
from mechbp.hooks import firing_hooks
from mechbp.methods.probing.grid import ProbeGrid
from mechbp.methods.probing.probe import probe
from mechbp.methods.statistics.intervals import Interval
from mechbp.models.runs import Run
from mechbp.models.tasks.tree import training_evidence
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import DECIMALS, panel, reason
from mechbp.study import Study
from mechbp.theory.tree.block_ceilings import block_ceilings
from mechbp.theory.tree.leaves import own_nodes

MESSAGES = ("upward", "downward", "marginals")
CONTROL_TITLES = {"random_init": "random weights", "shuffled": "shuffled targets", "tokens": "token alone"}


def study_probes(study: Study, run: Run) -> tuple[list[Claim], Section, ProbeGrid | None]:
    """Return claims, section and the probes of messages; None where these could not be fitted."""
    study.stage(f"{run.name}: probes")
    place = (f"probes-{run.name}", f"{run.name}: what can be read where")
    process, task = run.process, run.config.objective.task
    n, n_symbols = study.size(8000, 600), study.size(4000, 400)
    sample = process.sample(n, study.rng(run.name, "probes"))
    evidence = training_evidence(run.config.objective, process, sample.tokens, study.rng(run.name, "masks"))
    beliefs = process.beliefs(evidence)
    targets = {f"{name} {d}": getattr(beliefs, name)[d] for name in MESSAGES for d in process.depths}
    control = run.untrained(seed=1)
    inputs = run.task.inputs(process, evidence)
    stream = firing_hooks(run.model, STREAM, inputs[:1])
    try:
        grid = probe(
            run.model, inputs, targets, stream,
            rng=study.rng(run.name, "probe"), control_model=control, own=own_nodes(targets, process.n_leaves, inputs.shape[1]),
            only_own=True,
        )  # fmt: skip
    except TooFewSequences as error:
        return [], Section(*place, (), (), "skipped", reason(error)), None
    study.stage(f"{run.name}: probes of every node")
    everywhere = probe(
        run.model, inputs, {f"upward {d}": beliefs.upward[d] for d in process.depths}, OUTPUTS[1:],
        rng=study.rng(run.name, "everywhere"), control_model=control, controls=("shuffled",), resamples=100,
    )  # fmt: skip
    study.stage(f"{run.name}: symbol probes")
    symbols = {f"symbol {d}": sample.nodes[d][:n_symbols] for d in process.depths if d < process.depth}
    try:
        symbol_grid = probe(
            run.model, run.task.inputs(process, sample.tokens[:n_symbols]), symbols, OUTPUTS,
            rng=study.rng(run.name, "symbols"), control_model=control, controls=("tokens",),
            own=own_nodes(symbols, process.n_leaves, inputs.shape[1]), only_own=True,
        )  # fmt: skip
    except TooFewSequences as error:  # unmasked sequences are fewer than masked ones
        symbol_grid, no_symbols = None, reason(error)
    else:
        no_symbols = ""
    masked = (
        "Probes for messages read masked sequences, drawn as in training, on which messages are soft. "
        if task == "masked"
        else ""
    )
    text = (
        f"{masked}Each probe is a ridge regression from one activation at one position to one message, fitted on "
        f"{grid.n_train:,} sequences and scored on {grid.n_test:,} others. A cell averages over leaf positions, each "
        "reading the message of its own ancestor at that depth (depth 0 is the root). That a message can be read does not "
        "mean that it is used.",
        "Symbol probes are multinomial logistic regressions on fully observed sequences. The block ceiling is the best accuracy "
        "that a token's own aligned block of 2^m leaves allows after block m; it is a hypothesis to test, not a bound.",
    )
    figures = [
        *(_message_figure(run, grid, name) for name in MESSAGES),
        _everywhere_figure(run, everywhere),
        _symbol_figure(run, symbol_grid, no_symbols),
    ]
    return [_probe_claim(run, grid)], Section(*place, text, tuple(figures)), grid


def _message_figure(run: Run, grid: ProbeGrid, message: str) -> FigureData:
    depths = run.process.depths
    sources = {"trained": "model", **{CONTROL_TITLES[name]: name for name in grid.controls}}
    panels = []
    for title, source in sources.items():
        cells = [grid.own_mean("r2", f"{message} {d}", source) for d in depths]
        panels.append(panel(title, Interval.stack(cells, axis=1)))
    last = grid.own_mean("r2", f"{message} {depths[-1]}").mean
    return FigureData(
        id=f"fig-{run.name}-probe-{message}",
        kind="heatmap",
        title=f"{run.name}: {'marginals' if message == 'marginals' else message + ' messages'} of a leaf's own ancestors",
        caption=f"Held-out R² of ridge probes, n = {grid.n_test:,} test sequences, mean over leaf positions; 1 is a message read "
        "without error, 0 its mean. From top to bottom: later in the network. Left to right: from the root to the leaf itself. "
        "Controls: the same architecture with random weights, targets shuffled over sequences, the token at this position alone."
        + (
            " The root's downward message is its prior, the same for all sequences: nothing to read."
            if message == "downward"
            else ""
        ),
        alt=f"R² by stage and depth; at the last depth it ends at {last[-1]:.2f}.",
        data=probe_layout(grid.hooks, depths, run.process.depth, "R²") | {"panels": panels},
    )


def _everywhere_figure(run: Run, grid: ProbeGrid) -> FigureData:
    """Block m beside the messages of the nodes m levels up: at which positions each of them can be read."""
    depth = run.process.depth
    panels = []
    for block in range(len(grid.hooks)):
        d = max(depth - block - 1, 0)
        d = d if d in run.process.depths else 0
        scores, control = grid.interval("r2", f"upward {d}"), grid.interval("r2", f"upward {d}", "random_init")
        panels.append(
            {
                **panel(f"block {block + 1}: {f'the {2**d} nodes of depth {d}' if d else 'the root'}", scores[block]),
                "control": np.round(control.mean[block], DECIMALS),
                "columns": [str(j) for j in range(2**d)],
            }
        )
    return FigureData(
        id=f"fig-{run.name}-probe-everywhere",
        kind="heatmap",
        title=f"{run.name}: at which positions each node's upward message can be read",
        caption=f"Held-out R² of ridge probes, n = {grid.n_test:,} test sequences. Panel m reads the output of block m for the "
        "messages of the nodes m levels above the leaves: bright blocks on the diagonal are positions below the node. "
        "The same probes on random weights stand in hover and table.",
        alt="R² by position and node, one panel per block.",
        data={
            "rows": ["ROOT" if p == run.process.n_leaves else str(p) for p in range(grid.n_positions)],
            "columns": ["0"],
            "row_title": "read at position",
            "column_title": "node, left to right",
            "value_title": "R²",
            "range": [0, 1],
            "panels": panels,
        },
    )


def _symbol_figure(run: Run, grid: ProbeGrid | None, skipped: str) -> FigureData:
    place = (f"fig-{run.name}-probe-symbols", "heatmap", f"{run.name}: symbols of a leaf's own ancestors")
    if grid is None:
        return FigureData(*place, "", "", status="skipped", reason=skipped)
    depths = [d for d in run.process.depths if d < run.process.depth]
    panels = []
    for title, source in {"trained": "model", "random weights": "random_init", "token alone": "tokens"}.items():
        cells = [grid.own_mean("accuracy", f"symbol {d}", source) for d in depths]
        panels.append(panel(title, Interval.stack(cells, axis=1)))
    unfiltered = FilteredTree(run.process.grammar, run.process.depth)
    ceilings = block_ceilings(unfiltered)[:, depths]
    stages = np.array([0 if hook == "hook_embed" else 1 + int(hook.split(".")[1]) for hook in grid.hooks])
    block = ceilings[np.minimum(stages, run.process.depth)]
    panels.append({"title": "block ceiling", "values": np.round(block, DECIMALS)})
    return FigureData(
        *place,
        caption=f"Held-out accuracy of logistic probes, n = {grid.n_test:,} test sequences, unmasked, mean over leaf positions. "
        "Block ceiling: what the aligned block of 2^m leaves tells after block m (closed form, filter level 0).",
        alt="Accuracy by stage and depth beside random weights, the token alone, and the block ceiling.",
        data=probe_layout(grid.hooks, depths, run.process.depth, "accuracy") | {"panels": panels},
    )


def _probe_claim(run: Run, grid: ProbeGrid) -> Claim:
    """The upward message m levels up is written by block m: its R² rises most there."""
    depth, written = run.process.depth, writing_blocks(run, grid)
    heights, found = list(written), [block for block, _, _ in written.values()]
    rises = [f"{height} up: block {b} ({before:.2f} to {after:.2f})" for height, (b, before, after) in written.items()]
    highest = {
        source: max(float(np.nanmax(grid.own_mean("r2", f"upward {depth - height}", source).mean)) for height in heights)
        for source in ("random_init", "shuffled")
    }
    return CRITERIA.claim(
        "probe-order",
        id=f"{run.name}-probe-order",
        statement=f"Block m of {run.name} writes the upward message of the ancestor m levels up: its R² rises most there.",
        reference="the paper: layer m knows ancestors up to m levels above the leaf",
        measured="\n".join(["largest rise of R², by levels above the leaf:", *rises, f"n = {grid.n_test:,} held-out sequences"]),
        control=f"largest R² anywhere:\nrandom weights {highest['random_init']:.2f}\nshuffled targets {highest['shuffled']:.3f}",
        numbers={"heights": heights, "blocks": found},
        figure=f"fig-{run.name}-probe-upward",
    )
