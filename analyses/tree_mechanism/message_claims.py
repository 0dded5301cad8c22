"""The claims about messages: used where the construction has them, then idle, read where used, and nothing else moved."""

from __future__ import annotations

import numpy as np

from analyses.tree_mechanism.messages import (
    LEACE,
    MEANS,
    MISMATCHED,
    PLACEBO,
    PROBE,
    RANDOM_INIT,
    ROTATION,
    MessageGrid,
    writing_stage,
)
from mechbp.methods.interchange.interchange import WHOLE
from mechbp.methods.statistics.intervals import Interval
from mechbp.models.runs import Run
from mechbp.report.claim import Claim
from mechbp.report.parts import estimate
from mechbp.study import Study

READABLE = 0.8
"""R² from which a message counts as present."""
CARRIED = 0.5
"""Share explained above which a message counts as used or necessary, and which its interval has to clear."""
IDLE = 0.2
"""Share below which writing a message changes nothing worth the name."""
FEWEST = 100
"""With fewer pairs than this there is no verdict."""


def message_claims(study: Study, run: Run, upward: MessageGrid, downward: MessageGrid | None) -> list[Claim]:
    """Return the claims of one run."""
    claims = [_table_claim(study, run, upward), _idle_claim(study, run, upward), _probe_claim(study, run, upward)]
    if downward is not None:
        claims += [_side_claim(study, run, upward), _downward_claim(study, run, downward)]
    enough = all(len(pairs) >= FEWEST for pairs in upward.pairs.values())
    return claims if enough else [_short(claim) for claim in claims]


def _at(grid: MessageGrid, table: Interval) -> list[Interval]:
    """The cells where the construction has the message, one per depth."""
    return [table[writing_stage(grid.run, d), column] for column, d in enumerate(grid.depths)]


def _table_claim(study: Study, run: Run, grid: MessageGrid) -> Claim:
    present = _at(grid, grid.present)
    used, missed = (_at(grid, grid.explained(study, edit)) for edit in (ROTATION, LEACE))
    placebos = [_at(grid, grid.explained(study, edit + PLACEBO)) for edit in (ROTATION, LEACE)]
    above = [grid.above_mismatched(study, d) for d in grid.depths]
    passed = [
        (
            float(r.mean) >= READABLE,
            float(u.low) > max(CARRIED, float(up.high)) and float(more.low) > 0,
            float(m.low) > max(CARRIED, float(mp.high)),
        )
        for r, u, m, up, mp, more in zip(present, used, missed, *placebos, above, strict=True)
    ]
    lines = [
        f"{_name(run, d)}: present {float(r.mean):.2f}, used {estimate(u, 2)}, necessary {estimate(m, 2)}"
        for d, r, u, m in zip(grid.depths, present, used, missed, strict=True)
    ]
    controls = [
        f"{_name(run, d)}: present {float(r.mean):.2f}, placebos {float(u.mean):.2f} and {float(m.mean):.2f}, "
        f"{MISMATCHED} {float(grid.control(study, d, MISMATCHED).mean):.2f} (less by {estimate(more, 2)}), "
        f"{RANDOM_INIT} {float(grid.control(study, d, RANDOM_INIT).mean):.2f}"
        for d, r, u, m, more in zip(grid.depths, _at(grid, grid.present_control), *placebos, above, strict=True)
    ]
    share = np.mean(passed)
    return Claim(
        id=f"{run.name}-message-used",
        statement=f"After block m of {run.name} the upward message m levels up is present, used and necessary.",
        reference="the paper's construction; no published test intervenes on messages",
        measured="\n".join(["at the output of block m, m levels up:", *lines, counts(grid)]),
        control="\n".join(controls),
        verdict="holds" if share == 1 else "partly" if share >= 0.5 else "fails",
        figure=f"fig-{run.name}-messages",
    )


def _idle_claim(study: Study, run: Run, grid: MessageGrid) -> Claim:
    """Beyond the block that reads it, even the whole vector below the node moves nothing."""
    whole = grid.explained(study, WHOLE)
    later = {d: whole[writing_stage(run, d) + 1 :, column] for column, d in enumerate(grid.depths)}
    highest = {d: float(np.max(cells.mean)) for d, cells in later.items() if cells.mean.size}
    before = {d: float(cell.mean) for d, cell in zip(grid.depths, _at(grid, whole), strict=True)}
    idle = [float(np.max(cells.high)) < IDLE for cells in later.values() if cells.mean.size]
    return Claim(
        id=f"{run.name}-message-idle",
        statement=f"In {run.name} a message is read in one block: one block later nothing below its node moves the answer.",
        reference="the paper's construction: block m + 1 reads the message m levels up",
        measured="whole vectors below the node, largest share explained after the reading block:\n"
        + "\n".join(f"{_name(run, d)}: {value:.2f}" for d, value in highest.items())
        + f"\n{counts(grid)}",
        control="before the reading block: " + ", ".join(f"{_name(run, d)} {before[d]:.2f}" for d in highest),
        verdict="holds" if all(idle) else "partly" if np.mean(idle) >= 0.5 else "fails",
        figure=f"fig-{run.name}-message-stages",
    )


def _probe_claim(study: Study, run: Run, grid: MessageGrid) -> Claim:
    probes, means, learned = (_at(grid, grid.explained(study, edit)) for edit in (PROBE, MEANS, ROTATION))
    inner = [i for i, d in enumerate(grid.depths) if d < run.process.depth] or list(range(len(grid.depths)))
    as_good = [float(probes[i].mean) >= float(learned[i].mean) / 2 for i in inner]
    lines = [
        f"{_name(run, grid.depths[i])}: probe {estimate(probes[i], 2)}, means {estimate(means[i], 2)}, "
        f"learned {estimate(learned[i], 2)}"
        for i in inner
    ]
    placebo = _at(grid, grid.explained(study, PROBE + PLACEBO))
    return Claim(
        id=f"{run.name}-message-probe",
        statement=f"The directions from which a probe reads a message of {run.name} are those that the model uses: writing along "
        "them moves the answer at least half as far as a learned subspace does.",
        reference="what probing studies take for granted",
        measured="\n".join(["share explained after block m, m levels up:", *lines, counts(grid)]),
        control="placebo of the probe: " + ", ".join(f"{float(placebo[i].mean):.2f}" for i in inner),
        verdict="holds" if all(as_good) else "partly" if any(as_good) else "fails",
        figure=f"fig-{run.name}-handles",
    )


def _side_claim(study: Study, run: Run, grid: MessageGrid) -> Claim:
    depths = [d for d in grid.depths if grid.pairs[d].bystander is not None]
    learned, whole = (_at(grid, grid.side_effect(study, edit)) for edit in (ROTATION, WHOLE))
    chosen = [grid.depths.index(d) for d in depths]
    spared = [float(learned[i].high) < 0.1 * float(whole[i].low) for i in chosen]
    return Claim(
        id=f"{run.name}-message-side",
        statement=f"Writing an upward message of {run.name} moves what it should and leaves the leaves below its node alone.",
        reference="belief propagation: an upward message never reaches what is below its node",
        measured="rise of KL at a hidden leaf below the node, learned subspace:\n"
        + "\n".join(f"{_name(run, grid.depths[i])}: {estimate(learned[i], 3, 'nats')}" for i in chosen)
        + f"\n{counts(grid)}",
        control="whole vector: " + ", ".join(f"{float(whole[i].mean):.2f} nats" for i in chosen),
        verdict="not run" if not chosen else "holds" if all(spared) else "partly" if any(spared) else "fails",
        figure=f"fig-{run.name}-message-side",
    )


def _downward_claim(study: Study, run: Run, grid: MessageGrid) -> Claim:
    used, placebo = grid.explained(study, ROTATION), grid.explained(study, ROTATION + PLACEBO)
    best = [int(np.argmax(used.mean[:, column])) for column in range(len(grid.depths))]
    cells = [used[stage, column] for column, stage in enumerate(best)]
    carried = [
        float(cell.low) > max(CARRIED, float(placebo[stage, column].high))
        for column, (stage, cell) in enumerate(zip(best, cells, strict=True))
    ]
    return Claim(
        id=f"{run.name}-message-downward",
        statement=f"{run.name} holds the downward messages of inner nodes too, and uses them below the node.",
        reference="the paper's construction keeps no downward messages above the leaf: it folds them into the answer",
        measured="best stage, share explained by a learned subspace:\n"
        + "\n".join(
            f"{_name(run, d)}: {f'block {stage} output' if stage else 'embedding'} {estimate(cell, 2)}"
            for d, stage, cell in zip(grid.depths, best, cells, strict=True)
        )
        + f"\n{counts(grid)}",
        control="placebo: " + ", ".join(f"{float(placebo.mean[stage, column]):.2f}" for column, stage in enumerate(best)),
        verdict="holds" if all(carried) else "partly" if any(carried) else "fails",
        figure=f"fig-{run.name}-downward",
    )


def _name(run: Run, depth: int) -> str:
    up = run.process.depth - depth
    return f"{up} up" if up else "leaf"


def counts(grid: MessageGrid) -> str:
    """Return how many pairs were tested, in words."""
    sizes = sorted({len(pairs) for pairs in grid.pairs.values()})
    return f"n = {sizes[0]}" + (f" to {sizes[-1]}" if len(sizes) > 1 else "") + " held-out pairs per depth"


def _short(claim: Claim) -> Claim:
    return Claim(claim.id, claim.statement, claim.reference, claim.measured, claim.control, "short", claim.figure)
