"""How many blocks does it take? The same training sets with fewer of them."""

from __future__ import annotations

from analyses.tree_samples.criteria import CRITERIA
from analyses.tree_samples.curves import Curve, accuracy_layout, fewest_seeds, interval_text, paired_lead, seeds_text
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section


def study_blocks(curves: dict[int, Curve]) -> tuple[list[Claim], Section]:
    """Hold the curves of {number of blocks: curve} against each other."""
    sizes = sorted(set.intersection(*(set(curve.sizes) for curve in curves.values())))
    claims = [_blocks_claim(curves, sizes)] if sizes else []
    return claims, _blocks_section(curves)


def _name(layers: int) -> str:
    return f"{layers} blocks" if layers > 1 else f"{layers} block"


def _blocks_claim(curves: dict[int, Curve], sizes: list[int]) -> Claim:
    """Numbers of blocks are compared seed by seed: the same training set, the same test sequences."""
    most = max(curves)
    fewest = min(curves)
    fewer = sorted(set(curves) - {most}, reverse=True)
    behind = {layers: [paired_lead(curves[most], curves[layers], size) for size in sizes] for layers in fewer}
    lines = [
        f"{_name(layers)}: " + ", ".join(curve.accuracy_text(size) for size in sizes) for layers, curve in sorted(curves.items())
    ] + [
        f"{_name(most)} less {_name(layers)}: {', '.join(interval_text(lead, 3) for lead in behind[layers])}" for layers in fewer
    ]
    return CRITERIA.claim(
        "blocks",
        id="samples-blocks",
        statement=f"With {_name(most)} a training set of given size leads farther than with fewer; {most - 1} come within "
        f"{CRITERIA['blocks'].bounds['poor']:g} of them at the largest set, {fewest} alone stays farther below.",
        reference="the paper: 4 layers need the least data, 3 comparable, only 1 poor",
        measured=f"accuracy at {', '.join(f'{size:,}' for size in sizes)}, mean (lowest to highest seed)\n"
        + "\n".join(lines)
        + f"\nn = {fewest_seeds(list(curves.values()), sizes)} seeds or more, paired, "
        f"{curves[most].hits.shape[2]:,} test sequences",
        control=f"always naming the likeliest root: {curves[most].chance:.2f}",
        numbers={
            "ahead_low": [float(lead.low) for leads in behind.values() for lead in leads],
            "next_high": [float(behind[most - 1][-1].high)] if most - 1 in behind else [],
            "shallow_low": [float(behind[fewest][-1].low)] if fewest < most - 1 else [],
            "fewest_seeds": fewest_seeds(list(curves.values()), sizes),
        },
        figure="fig-samples-blocks",
    )


def _blocks_section(curves: dict[int, Curve]) -> Section:
    text = (
        "The same training sets with fewer blocks. In these models the last block must also gather the root's answer at its "
        "query token, so numbers of blocks do not carry over one to one to the paper's read-out.",
    )
    ordered = sorted(curves.items(), reverse=True)
    lines = [curve.series(curve.accuracy, color=i) | {"name": _name(layers)} for i, (layers, curve) in enumerate(ordered)]
    figure = FigureData(
        id="fig-samples-blocks",
        kind="lines",
        title="Root accuracy against the size of the training set, by number of blocks",
        caption="Expected accuracy on unseen sequences; line: mean over seeds, band: lowest and highest; "
        f"{seeds_text(list(curves.values()))}. Standard error over test sequences at most "
        f"{max(c.error for c in curves.values()):.3f}.",
        alt="Lines of root accuracy with bands over seeds against the size of the training set, one per number of blocks, and "
        "BP's accuracy.",
        data=accuracy_layout(lines, [{"name": "BP_0", "y": ordered[0][1].best}]),
    )
    return Section("blocks", "Number of blocks", text, (figure,))
