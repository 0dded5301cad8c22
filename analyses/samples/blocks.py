"""How many blocks does it take? The same training sets with fewer of them."""

from __future__ import annotations

import numpy as np

from analyses.samples.curves import Curve
from mechbp.report.document import Claim, FigureData, Section

POOR = 0.1
"""A model is poor if its accuracy stays this much below the best; within it, comparable."""


def study_blocks(curves: dict[int, Curve]) -> tuple[list[Claim], Section]:
    """Hold the curves of {number of blocks: curve} against each other."""
    return [_blocks_claim(curves)], _blocks_section(curves)


def _blocks_claim(curves: dict[int, Curve]) -> Claim:
    most, fewest = max(curves), min(curves)
    sizes = sorted(set.intersection(*(set(curve.sizes) for curve in curves.values())))
    at = {layers: [float(curve.mean[curve.sizes.index(size)]) for size in sizes] for layers, curve in curves.items()}
    best = np.max(list(at.values()), axis=0)
    deepest = bool((best - at[most] < 0.02).all())
    comparable = most - 1 in at and bool((np.array(at[most]) - at[most - 1] < POOR)[-1])
    poor = at[most][-1] - at[fewest][-1] > POOR
    lines = [f"{layers} blocks: " + ", ".join(f"{value:.3f}" for value in values) for layers, values in sorted(at.items())]
    return Claim(
        id="samples-blocks",
        statement=f"{most} blocks need the fewest sequences, {most - 1} are comparable at the largest set, and {fewest} alone "
        "stays poor.",
        reference="the paper: 4 layers need the least data, 3 comparable, only 1 poor",
        measured="accuracy at " + ", ".join(f"{size:,}" for size in sizes) + "\n" + "\n".join(lines),
        control=f"always naming the likeliest root: {curves[most].chance:.2f}",
        verdict="holds" if deepest and comparable and poor else "partly" if deepest + comparable + poor > 0 else "fails",
        figure="fig-samples-blocks",
    )


def _blocks_section(curves: dict[int, Curve]) -> Section:
    text = (
        "The same training sets with fewer blocks. In these models the last block must also gather the root's answer at its "
        "query token, so numbers of blocks do not carry over one to one to the paper's read-out.",
    )
    ordered = sorted(curves.items(), reverse=True)
    figure = FigureData(
        id="fig-samples-blocks",
        kind="lines",
        title="Root accuracy against the size of the training set, by number of blocks",
        caption="Expected accuracy on unseen sequences; line: mean over seeds, band: lowest and highest. Standard error over "
        f"test sequences at most {max(c.error for c in curves.values()):.3f}.",
        alt="Models with fewer blocks need more sequences or do not reach the optimum.",
        data={
            "x_title": "training sequences",
            "x_log": True,
            "y_title": "root accuracy",
            "y_range": [0.2, 1.02],
            "series": [
                curve.series(curve.accuracy, color=i) | {"name": f"{layers} block{'s' * (layers > 1)}"}
                for i, (layers, curve) in enumerate(ordered)
            ],
            "references": [{"name": "BP_0", "y": ordered[0][1].best}],
        },
    )
    return Section("blocks", "Number of blocks", text, (figure,))
