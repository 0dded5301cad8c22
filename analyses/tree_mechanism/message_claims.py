"""The claims about messages of one run: used where the construction has them, then idle, and nothing else moved.

Rivals decide. A message counts as used where writing it explains more than destroying the base's own would, by the exact answer
without it; as necessary where erasing it comes nearer to that answer than any rival account of what was erased.
"""

from __future__ import annotations

import numpy as np

from analyses.tree_mechanism.criteria import CRITERIA
from analyses.tree_mechanism.message_grid import (
    MEANS,
    PROBE,
    RANDOM_INIT,
    ROTATION,
    MessageGrid,
    stages,
)
from mechbp.methods.interchange.interchange import WHOLE
from mechbp.methods.statistics.intervals import Interval
from mechbp.models.runs import Run
from mechbp.report.claim import Claim
from mechbp.report.parts import estimate
from mechbp.study import Study


def message_claims(study: Study, run: Run, upward: MessageGrid, downward: MessageGrid | None) -> list[Claim]:
    """Return the claims of a run that is studied in full."""
    claims = [used_claim(study, run, upward), idle_claim(study, run, upward), _means_claim(study, run, upward)]
    if downward is not None:
        claims += [_side_claim(study, run, upward), _downward_claim(study, run, upward, downward)]
    return claims


def used_claim(study: Study, run: Run, grid: MessageGrid) -> Claim:
    """Whether the message m levels up is present, used and necessary after block m."""
    present = _judged(grid, grid.present)
    used, means = ([grid.beyond_deletion(study, d, edit) for d in grid.depths] for edit in (ROTATION, MEANS))
    learned = _judged(grid, grid.explained(study, ROTATION))
    deletion = [grid.deletion(study, d) for d in grid.depths]
    controls = [grid.above_controls(study, d) for d in grid.depths]
    necessary = [grid.necessary(study, d) for d in grid.depths]
    lines = [
        f"{level_name(run, d)}: present {float(r.mean):.2f}, used {estimate(u, 2)} (means {estimate(m, 2)}), "
        f"necessary {estimate(n, 2)} beyond {rival}"
        for d, r, u, m, (rival, n) in zip(grid.depths, present, used, means, necessary, strict=True)
    ]
    shares = [
        f"{level_name(run, d)}: share explained {float(share.mean):.2f}, deletion alone {float(gone.mean):.2f}; beyond "
        + ", ".join(f"{name} {estimate(more, 2)}" for name, more in others.items())
        + (f"; {RANDOM_INIT} {float(grid.control(study, d, RANDOM_INIT).mean):.2f}" if d in grid.random_init else "")
        for d, share, gone, others in zip(grid.depths, learned, deletion, controls, strict=True)
    ]
    return CRITERIA.claim(
        "message-used",
        id=f"{run.name}-message-used",
        statement=f"After block m of {run.name} the upward message m levels up can be read, is obeyed when written, beyond what "
        "deleting the old one explains, and is missed when erased, beyond what any rival account explains.",
        reference="the paper's construction; no published test intervenes on messages",
        measured="\n".join(["used = (share - deletion) / (1 - deletion), after block m, m levels up:", *lines, counts(grid)]),
        control="\n".join(shares),
        numbers={
            "pairs": pair_numbers(grid),
            "present": [float(r.mean) for r in present],
            "used_low": [float(u.low) for u in used],
            "above_controls_low": [min(float(more.low) for more in others.values()) for others in controls],
            "necessary_low": [float(n.low) for _, n in necessary],
        },
        figure=f"fig-{run.name}-handles" if grid.random_init else "fig-message-runs",
    )


def later_shares(study: Study, run: Run, grid: MessageGrid) -> dict[int, Interval]:
    """Return, by depth, the largest share that whole vectors explain after the block that reads the message.

    The last stage is left out: nothing reads it but the answers at its own positions. Depths without such a stage are missing.
    """
    whole = grid.explained(study, WHOLE)
    last = len(stages(run)) - 1
    found = {}
    for column, d in enumerate(grid.depths):
        cells = whole[grid.chosen[d] + 1 : last, column]
        if cells.mean.size:
            found[d] = cells[int(np.argmax(cells.high))]
    return found


def idle_claim(study: Study, run: Run, grid: MessageGrid) -> Claim:
    """Beyond the block that reads it, even the whole vector below the node moves little."""
    later = later_shares(study, run, grid)
    before = dict(zip(grid.depths, _judged(grid, grid.explained(study, WHOLE)), strict=True))
    return CRITERIA.claim(
        "message-idle",
        id=f"{run.name}-message-idle",
        statement=f"In {run.name} a message is read in one block: one block later the vectors below its node explain less than "
        f"{CRITERIA['message-idle'].bounds['idle']} of what the message changes.",
        reference="the paper's construction: block m + 1 reads the message m levels up",
        measured="whole vectors below the node, largest share explained after the reading block and before the last output:\n"
        + "\n".join(f"{level_name(run, d)}: {estimate(share, 2)}" for d, share in later.items())
        + f"\n{counts(grid)}",
        control="before the reading block: " + ", ".join(f"{level_name(run, d)} {float(before[d].mean):.2f}" for d in later),
        numbers={"pairs": pair_numbers(grid), "later_high": [float(share.high) for share in later.values()]} if later else None,
        figure=f"fig-{run.name}-message-stages" if grid.random_init else "fig-message-runs",
    )


def _means_claim(study: Study, run: Run, grid: MessageGrid) -> Claim:
    """Conditional means and a probe's directions as handles of the same messages, on the same pairs."""
    inner = [d for d in grid.depths if d < run.process.depth] or grid.depths
    means, probe = ([grid.beyond_deletion(study, d, edit) for d in inner] for edit in (MEANS, PROBE))
    apart = [grid.beyond(study, d, MEANS, PROBE) for d in inner]
    return CRITERIA.claim(
        "message-means",
        id=f"{run.name}-message-means",
        statement=f"Messages of {run.name} are written along the conditional means, not along the directions from which a ridge "
        "probe reads them: these explain less than deleting the message does.",
        reference="what studies that steer along probe directions take for granted is the opposite",
        measured="\n".join(
            [
                "(share - deletion) / (1 - deletion) after block m, m levels up:",
                *(
                    f"{level_name(run, d)}: means {estimate(m, 2)}, probe {estimate(p, 2)}"
                    for d, m, p in zip(inner, means, probe, strict=True)
                ),
                counts(grid),
            ]
        ),
        control="means beyond the probe, same pairs: "
        + ", ".join(f"{level_name(run, d)} {estimate(more, 2)}" for d, more in zip(inner, apart, strict=True)),
        numbers={
            "pairs": pair_numbers(grid),
            "means_low": [float(m.low) for m in means],
            "probe_high": [float(p.high) for p in probe],
            "means_above_probe_low": [float(more.low) for more in apart],
        },
        figure=f"fig-{run.name}-handles",
    )


def _side_claim(study: Study, run: Run, grid: MessageGrid) -> Claim:
    depths = [d for d in grid.depths if grid.pairs[d].bystander is not None]
    whole = dict(zip(grid.depths, _judged(grid, grid.side_effect(study, WHOLE)), strict=True))
    means = dict(zip(grid.depths, _judged(grid, grid.side_effect(study, MEANS)), strict=True))
    learned = {d: grid.learnt_side_effect(study, d) for d in depths}
    numbers = {
        "pairs": pair_numbers(grid),
        "learned_high_nats": [float(learned[d].high) for d in depths],
        "whole_low_nats": [float(whole[d].low) for d in depths],
    }
    return CRITERIA.claim(
        "message-side",
        id=f"{run.name}-message-side",
        statement=f"Writing an upward message of {run.name} in a learned subspace moves the leaves below its node by less than "
        "a tenth of what writing the whole vector does.",
        reference="belief propagation: an upward message never reaches what is below its node",
        measured="rise of KL at a hidden leaf below the node, learned subspace:\n"
        + "\n".join(f"{level_name(run, d)}: {estimate(learned[d], 3, 'nats')}" for d in depths)
        + f"\n{counts(grid)}",
        control="\n".join(
            f"{name}: " + ", ".join(f"{float(table[d].mean):.2f} nats" for d in depths)
            for name, table in {"whole vector": whole, "conditional means": means}.items()
        ),
        numbers=numbers if depths else None,
        figure=f"fig-{run.name}-message-side",
    )


def _downward_claim(study: Study, run: Run, upward: MessageGrid, grid: MessageGrid) -> Claim:
    used = [grid.beyond_deletion(study, d, ROTATION) for d in grid.depths]
    placebo = [grid.above_controls(study, d)["placebo"] for d in grid.depths]
    at = [f"block {grid.chosen[d]} output" if grid.chosen[d] else "embedding" for d in grid.depths]
    return CRITERIA.claim(
        "message-downward",
        id=f"{run.name}-message-downward",
        statement=f"{run.name} holds downward messages, of inner nodes too, before its last output, and obeys them below the "
        "node beyond what deleting them explains.",
        reference="the paper's construction keeps no downward messages above the leaf: it folds them into the answer",
        measured="(share - deletion) / (1 - deletion) at the stage chosen on other pairs, learned subspace:\n"
        + "\n".join(f"{level_name(run, d)}: {stage} {estimate(u, 2)}" for d, stage, u in zip(grid.depths, at, used, strict=True))
        + f"\n{counts(grid)}",
        control="beyond a placebo of the same norm: "
        + ", ".join(f"{level_name(run, d)} {estimate(more, 2)}" for d, more in zip(grid.depths, placebo, strict=True)),
        numbers={
            "upward_pairs": pair_numbers(upward),
            "used_low": [float(u.low) for u in used],
            "above_placebo_low": [float(more.low) for more in placebo],
        },
        figure=f"fig-{run.name}-downward",
    )


def _judged(grid: MessageGrid, table: Interval) -> list[Interval]:
    """The cells where the messages are judged, one per depth."""
    return [table[grid.chosen[d], column] for column, d in enumerate(grid.depths)]


def level_name(run: Run, depth: int) -> str:
    """Return "3 up", or "leaf"."""
    up = run.process.depth - depth
    return f"{up} up" if up else "leaf"


def counts(grid: MessageGrid) -> str:
    """Return how many pairs were tested, in words."""
    sizes = sorted(set(pair_numbers(grid)))
    return f"n = {sizes[0]}" + (f" to {sizes[-1]}" if len(sizes) > 1 else "") + " held-out pairs per depth"


def pair_numbers(grid: MessageGrid) -> list[int]:
    """Return how many pairs were tested, by depth."""
    return [len(pairs) for pairs in grid.pairs.values()]
